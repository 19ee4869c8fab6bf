"""Each diagnosis on a handful of invented rows: it is made when it should, and not on a healthy run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ziggurat.settings import Config, flatten
from ziggurat.stages.doctor import SYMPTOMS, Diagnosis, DoctorLimits, diagnose, weak_reward_model
from ziggurat.stages.ppo_config import PPOConfig
from ziggurat.stages.pretrain_config import PretrainConfig
from ziggurat.stages.reward_config import RewardConfig
from ziggurat.stages.sft_config import SftConfig

DOCS = Path(__file__).resolve().parents[2] / "docs"

HEALTHY: dict[str, Any] = {
    "kl": 2.0,
    "kl_target": 6.0,
    "share_commonest": 0.1,
    "commonest": "I do not know.",
    "share_ending": 0.2,
    "ending": "know.",
    "share_distinct": 0.8,
    "share_ended": 1.0,
    "length": 10.0,
    "reward": 0.0,
    "reward_std": 1.0,
    "reward_length_correlation": 0.1,
    "entropy": 1.0,
    "explained_variance": 0.5,
    "policy_trained": True,
}


def run(later: dict[str, Any], count: int = 20) -> list[dict[str, Any]]:
    """Four healthy rows, then `count` rows with `later` in them."""
    return [{**HEALTHY, "step": s, **(later if s >= 4 else {})} for s in range(4 + count)]


def names(rows: list[dict[str, Any]], **limits: float) -> list[str]:
    return [found.name for found in diagnose(rows, DoctorLimits(**limits))]


def test_a_healthy_run_has_no_diagnosis() -> None:
    for end in range(25):
        assert names(run({}, 20)[:end]) == []


SHOWN: list[tuple[dict[str, Any], str, bool]] = [
    ({"kl": 19.0}, "KL blow-up", True),
    ({"share_commonest": 0.7}, "passing to everything", True),
    ({"share_ending": 0.6}, "repeated ending", True),
    ({"share_distinct": 0.2}, "mode collapse", True),
    ({"share_ended": 0.3}, "truncated rollouts", True),
    ({"length": 17.0, "reward_length_correlation": 0.6}, "length hack", False),
    ({"entropy": 0.1}, "entropy collapse", False),
    ({"explained_variance": -0.1}, "value lag", False),
    ({"reward_std": 0.0}, "zero reward variance", True),
]


@pytest.mark.parametrize(("later", "name", "fatal"), SHOWN)
def test_each_symptom_is_named(later: dict[str, Any], name: str, fatal: bool) -> None:
    found = diagnose(run(later), DoctorLimits())
    assert [(one.name, one.fatal) for one in found] == [(name, fatal)]
    assert found[0].sentence.endswith(".")
    assert found[0].cure.endswith(".")


def test_a_reward_function_scores_what_was_cut_off_so_that_it_is_not_fatal() -> None:
    """A real model writes long answers: nearly none ended within 96 tokens, and the run stopped at its third step."""
    scored = {"share_ended": 0.3, "reward_function": 0.5}
    assert [one.fatal for one in diagnose(run(scored), DoctorLimits())] == [False]
    assert [one.fatal for one in diagnose(run({**scored, "reward_model": 0.1}), DoctorLimits())] == [True]


def test_one_bad_step_is_no_kl_blow_up() -> None:
    rows = run({})
    rows[-1]["kl"] = 100.0
    assert names(rows) == []


def test_a_policy_that_always_passed_much_is_not_ill() -> None:
    """The rise counts: 65 % at the start and 70 % now is how this policy is."""
    rows = [{**HEALTHY, "step": s, "share_commonest": 0.65 if s < 4 else 0.7} for s in range(10)]
    assert names(rows) == []


def test_longer_answers_are_no_hack_unless_reward_follows_length() -> None:
    assert names(run({"length": 17.0, "reward_length_correlation": 0.1})) == []


def gold_rows(golds: list[float], rewards: list[float]) -> list[dict[str, Any]]:
    return [
        {**HEALTHY, "step": s, "gold": g, "reward": r}
        for s, (g, r) in enumerate(zip(golds, rewards, strict=True))
    ]


def test_proxy_up_while_gold_falls() -> None:
    rows = gold_rows([0.5, 0.8, 0.7, 0.6], [0.0, 1.0, 1.5, 2.0])
    assert names(rows) == ["proxy up, gold down"]
    assert names(rows[:3]) == []  # one lower check may be chance


def test_gold_and_proxy_falling_together_is_another_illness() -> None:
    assert names(gold_rows([0.5, 0.8, 0.7, 0.6], [0.0, 1.0, 0.5, 0.2])) == []


def test_missing_and_null_fields_are_no_symptom() -> None:
    assert names([{"step": s} for s in range(30)]) == []
    assert names([{"step": s, "reward_std": None, "kl": None, "gold": None} for s in range(30)]) == []


def test_a_weak_reward_model_is_known_before_the_first_step() -> None:
    limits = DoctorLimits()
    assert weak_reward_model({"pairs": {"value": 0.62, "low": 0.55}, "passed": True}, limits) is not None
    assert weak_reward_model({"pairs": {"value": 0.9, "low": 0.88}, "passed": True}, limits) is None
    failed = weak_reward_model(
        {"pairs": {"value": 0.9, "low": 0.88}, "passed": False, "reasons": ["x"]}, limits
    )
    assert failed is not None
    assert "x" in failed.sentence


def settings_of(*configs: type[Config]) -> set[str]:
    """Every setting, as `--set` writes it: sections too."""
    dotted = {key for config in configs for key in flatten(config().model_dump())}
    return dotted | {key.rsplit(".", 1)[0] for key in dotted if "." in key}


def test_every_cure_names_settings_that_exist() -> None:
    """A word with a dot or an underscore in a cure is a setting of PPO, under the key that `--set` takes."""
    found = [diagnosis for later, _, _ in SHOWN for diagnosis in diagnose(run(later), DoctorLimits())]
    found += diagnose(gold_rows([0.5, 0.8, 0.7, 0.6], [0.0, 1.0, 1.5, 2.0]), DoctorLimits())
    assert len({diagnosis.name for diagnosis in found}) == len(SYMPTOMS), "every symptom is shown"
    weak = weak_reward_model({"passed": False}, DoctorLimits())
    assert isinstance(weak, Diagnosis)
    named = {
        word
        for diagnosis in [*found, weak]
        for word in re.findall(r"\b[a-z]+(?:[._][a-z]+)+\b|\bbeta\b", diagnosis.cure)
    }
    assert named - settings_of(PPOConfig) == set()
    assert named >= {"policy.lr_adam", "critic.lr_adam", "beta", "max_new_tokens"}
    assert not any("learning rate" in diagnosis.cure for diagnosis in found), (
        "a cure names the setting itself"
    )


@pytest.mark.parametrize("page", ["stages", "rlhf", "training"])
def test_every_cure_in_the_docs_names_settings_that_exist(page: str) -> None:
    """In the tables, what stands in backticks behind "raise", "lower", "higher", "set" or "add" is a setting."""
    known = settings_of(PretrainConfig, SftConfig, RewardConfig, PPOConfig)
    known |= {key.rsplit(".", 1)[-1] for key in known}
    rows = [
        line for line in (DOCS / f"{page}.md").read_text(encoding="utf-8").splitlines() if line[:1] == "|"
    ]
    named = {
        word.split(":")[0]
        for row in rows
        for word in re.findall(r"(?:raise|lower|higher|more|set|add|use|at) `([a-z][^`]*)`", row)
        if not word.startswith("ziggurat")
    }
    assert named, "the page's tables name cures"
    assert named - known == set()
