"""Each diagnosis on a handful of invented rows: it is made when it should, and not on a healthy run."""

from __future__ import annotations

from typing import Any

import pytest

from ziggurat.stages.doctor import DoctorLimits, diagnose, weak_reward_model

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


@pytest.mark.parametrize(
    ("later", "name", "fatal"),
    [
        ({"kl": 19.0}, "KL blow-up", True),
        ({"share_commonest": 0.7}, "passing to everything", True),
        ({"share_ending": 0.6}, "repeated ending", True),
        ({"share_distinct": 0.2}, "mode collapse", True),
        ({"share_ended": 0.3}, "truncated rollouts", True),
        ({"length": 17.0, "reward_length_correlation": 0.6}, "length hack", False),
        ({"entropy": 0.1}, "entropy collapse", False),
        ({"explained_variance": -0.1}, "value lag", False),
        ({"reward_std": 0.0}, "zero reward variance", True),
    ],
)
def test_each_symptom_is_named(later: dict[str, Any], name: str, fatal: bool) -> None:
    found = diagnose(run(later), DoctorLimits())
    assert [(one.name, one.fatal) for one in found] == [(name, fatal)]
    assert found[0].sentence.endswith(".")
    assert found[0].cure.endswith(".")


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
