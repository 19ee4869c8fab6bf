"""Rounds: a callable ranks, or people do with files; each round trains on its own policy's completions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import alphabet
import pytest

from ziggurat.errors import UsageError
from ziggurat.records import Comparison, Message, read_records, write_records
from ziggurat.runs import Run
from ziggurat.stages.align import align, align_config

SMALL: dict[str, Any] = {
    "rounds": 2,
    "k": 4,
    "max_new_tokens": 6,
    "reward": {
        "batch_comparisons": 4,
        "epochs": 4.0,
        "scale_samples": 32,
        "min_accuracy": 0.0,
        "min_kind_accuracy": 0.0,
        "train": {"lr_adam": 3e-3, "dtype": "fp32", "threads": 1},
    },
    "ppo": {
        "train": {"steps": 5, "eval_every_steps": 5, "dtype": "fp32"},
        "rollouts_per_step": 32,
        "max_new_tokens": 6,
        "critic_warmup_steps": 1,
        "policy": {"lr_adam": 3e-3},
        "critic": {"lr_adam": 3e-3},
        "kl_target": 0.0,
        "allow_weak_reward_model": True,
        "stop_when_fatal": False,
    },
}


def rank(prompt: Sequence[Message], completions: list[str]) -> Comparison | None:
    worth = [-alphabet.likes(text) for text in completions]
    ranks = [1 + sum(other < mine for other in worth) for mine in worth]
    name = f"{prompt[-1].content} {completions}"
    return Comparison(
        id=name, prompt=list(prompt), completions=list(completions), ranks=ranks, labeller="rule"
    )


@pytest.mark.slow
def test_two_rounds_rank_the_policy_of_each_round(letters_sft: Path, tmp_path: Path) -> None:
    told: list[tuple[int, str, str]] = []
    last = align(
        align_config(letters_sft, ("test", SMALL)),
        letters_sft,
        alphabet.prompts(),
        tmp_path / "align-1",
        rank=rank,
        on_round=lambda n, r, p: told.append((n, r.name, p.name)),
    )
    assert last == tmp_path / "ppo-2"
    assert told == [(1, "reward-1", "ppo-1"), (2, "reward-2", "ppo-2")]
    rounds = (Run.open(tmp_path / "align-1").report or {})["rounds"]
    made = [len(list(read_records(tmp_path / f"align-1/round-{n}/ranked.jsonl", Comparison))) for n in (1, 2)]
    assert [one["comparisons"] for one in rounds] == [made[0], made[0] + made[1]]
    parents = [Run.open(tmp_path / f"ppo-{n}").manifest["parent"]["path"] for n in (1, 2)]
    assert parents[0] == str(letters_sft.resolve())
    assert parents[1] == str((tmp_path / "ppo-1/model").resolve())
    assert Run.open(tmp_path / "ppo-2").manifest["reference"]["path"] == str(letters_sft.resolve())


FAST: dict[str, dict[str, Any]] = {
    "dpo": {"epochs": 2.0, "train": {"lr_adam": 3e-3, "dtype": "fp32", "threads": 1}},
    "kto": {"epochs": 3.0, "batch_ratings": 8, "train": {"lr_adam": 3e-3, "dtype": "fp32", "threads": 1}},
    "raft": {"epochs": 6.0, "n": 8, "max_new_tokens": 6, "allow_weak_reward_model": True},
    "grpo": {
        "train": {"steps": 20, "eval_every_steps": 20, "dtype": "fp32", "threads": 1},
        "prompts_per_step": 8,
        "group": 4,
        "max_new_tokens": 6,
        "policy": {"lr_adam": 3e-3},
        "allow_weak_reward_model": True,
        "stop_when_fatal": False,
    },
}
FAST["raft"]["train"] = FAST["dpo"]["train"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto", "raft", "grpo"])
def test_rounds_with_every_method_say_whether_they_beat_the_round_before(
    letters_sft: Path, tmp_path: Path, method: str
) -> None:
    settings = {"method": method, method: FAST[method]}
    config = align_config(letters_sft, ("test", SMALL), ("--set", settings))
    last = align(config, letters_sft, alphabet.prompts(), tmp_path / "align-1", rank=rank)
    assert last == tmp_path / f"{method}-2"
    assert (tmp_path / "reward-2").exists() == (method in ("raft", "grpo"))
    rounds = (Run.open(tmp_path / "align-1").report or {})["rounds"]
    first, second = (one["against_before"] for one in rounds)
    assert first["judge"] == "the labeller"
    assert max(first["value"], second["value"]) > 0.5
    for one in (first, second):
        assert 0 <= one["low"] <= one["value"] <= one["high"] <= 1
        assert one["beats"] == (one["low"] > 0.5)
    assert Run.open(tmp_path / f"{method}-2").manifest["parent"]["path"] == str(
        (tmp_path / f"{method}-1/model").resolve()
    )


@pytest.mark.slow
def test_people_rank_with_files_and_resume(letters_sft: Path, tmp_path: Path) -> None:
    config = align_config(
        letters_sft, ("test", SMALL), ("--set", {"rounds": 1, "ppo": {"train": {"steps": 1}}})
    )
    out = tmp_path / "align-1"
    with pytest.raises(UsageError, match=r"round 1: \d+ prompts with completions wait in .*to_rank\.jsonl"):
        align(config, letters_sft, alphabet.prompts(), out)
    import json

    waiting = [json.loads(line) for line in (out / "round-1/to_rank.jsonl").read_text().splitlines()]
    ranked = [rank([Message(**m) for m in row["prompt"]], row["completions"]) for row in waiting]
    write_records(out / "round-1/ranked.jsonl", [one for one in ranked if one is not None])
    assert align(config, letters_sft, alphabet.prompts(), out, resume=True) == tmp_path / "ppo-1"
    (found,) = (Run.open(out).report or {})["rounds"]
    assert found["against_before"]["judge"] == "the reward model of this round"
