"""RAFT: best of n by hand, the choice, and the taste for b learned from the policy's own best answers."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import alphabet
import pytest
from test_grpo import LIKES, taste

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import DataError, UsageError
from ziggurat.runs import Run
from ziggurat.stages.raft import ballot_of, best_of_curve, prepare, raft, raft_config, read_chosen, votes

SMALL: dict[str, Any] = {
    "n": 6,
    "max_new_tokens": 6,
    "epochs": 12.0,
    "batch_answers": 8,
    "reward_function": LIKES,
    "train": {"lr_adam": 3e-3, "dtype": "fp32", "threads": 1},
}


def test_the_best_of_k_is_exact() -> None:
    """A group 0 1 2: the best of two random ones is 1, 2 or 2."""
    assert best_of_curve([[2.0, 0.0, 1.0]], 3) == pytest.approx([1.0, 5 / 3, 2.0])
    assert best_of_curve([[1.0], [3.0, 5.0]], 2) == pytest.approx([(1 + 4) / 2, (1 + 5) / 2])


def test_a_completion_scores_the_share_that_votes_as_it_does() -> None:
    assert votes(["4", "4", "5", None]) == [0.5, 0.5, 0.25, 0.0]
    number = ballot_of("last_number")
    assert [number(text) for text in ("3 + 4 = 7.", "so 1,200", "-2.5 it is", "none")] == [
        "7",
        "1200",
        "-2.5",
        None,
    ]


def test_without_labels_it_learns_what_its_own_answers_agree_on(letters_sft: Path, tmp_path: Path) -> None:
    """Self-improvement: the vote is on the first letter, so afterwards answers to a prompt agree more on it."""
    (tmp_path / "first.py").write_text("def letter(text):\n    return text[:1] or None\n")
    settings = {"reward_function": "", "vote": f"{tmp_path / 'first.py'}:letter", "n": 16}
    config = raft_config(letters_sft, ("test", SMALL), ("--set", settings))
    run = Run.open(raft(config, letters_sft, alphabet.prompts(), tmp_path / "raft-1"))
    assert (run.report or {})["numbers"]["reward_of_best_of_16"] > 0.3

    def agreement(folder: Path) -> float:
        params = SamplingParams(temperature=1.0, max_tokens=6, seed=3, n=8)
        answers = Chat.load(folder, as_trained=True).complete_many(
            [p.prompt for p in alphabet.prompts()], params
        )
        groups = [[text[:1] for text in answers[i : i + 8]] for i in range(0, len(answers), 8)]
        return statistics.fmean(max(map(group.count, group)) / 8 for group in groups)

    assert agreement(run.model_path) > agreement(letters_sft) + 0.1


def test_it_learns_its_own_best_answers(letters_sft: Path, tmp_path: Path) -> None:
    config = raft_config(letters_sft, ("test", SMALL))
    run = Run.open(raft(config, letters_sft, alphabet.prompts(), tmp_path / "raft-1"))
    chosen = read_chosen(run.path / "chosen.jsonl")
    assert chosen is not None
    assert len(chosen["answers"]) == len(alphabet.prompts())
    for one in chosen["answers"]:
        assert one["score"] == alphabet.likes(one["text"])
        assert one["row"][one["start"] :][-1] == alphabet.tokenizer().end_id
    numbers = (run.report or {})["numbers"]
    assert numbers["reward_of_best_of_6"] > numbers["reward_of_one"] + 0.2
    before, after = (taste(Chat.load(path, as_trained=True)) for path in (letters_sft, run.model_path))
    assert after > max(0.5, before)


def test_what_was_chosen_is_kept_for_a_resumed_run(letters_sft: Path, tmp_path: Path) -> None:
    config = raft_config(letters_sft, ("test", SMALL), ("--set", {"epochs": 1.0}))
    out = raft(config, letters_sft, alphabet.prompts(), tmp_path / "raft-1")
    before = (out / "chosen.jsonl").read_bytes(), (out / "model/model.safetensors").read_bytes()
    raft(config, letters_sft, alphabet.prompts(), out, resume=True)
    assert ((out / "chosen.jsonl").read_bytes(), (out / "model/model.safetensors").read_bytes()) == before


def test_answers_below_min_score_are_left_out(letters_sft: Path, tmp_path: Path) -> None:
    config = raft_config(letters_sft, ("test", SMALL), ("--set", {"min_score": 2.0}))
    with pytest.raises(DataError, match=r"no completion of 30 prompts ended by itself and scored min_score"):
        raft(config, letters_sft, alphabet.prompts(), tmp_path / "raft-1")
    none = raft_config(letters_sft, ("test", {**SMALL, "reward_function": ""}))
    with pytest.raises(UsageError, match="raft needs a reward"):
        prepare(none, letters_sft, alphabet.prompts())
