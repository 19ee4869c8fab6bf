"""The report card on comparisons whose right answers are worked by hand."""

from __future__ import annotations

import math

import pytest

from ziggurat.records import Comparison, Message
from ziggurat.stages.report_card import (
    CardLimits,
    best_of_n,
    calibration,
    calibration_error,
    length_correlations,
    pair_accuracy,
    report_card,
)

LIMITS = CardLimits(min_accuracy=0.5, min_share_of_ceiling=0.9, min_kind_accuracy=0.6)


def comparison(number: int, ranks: list[int]) -> Comparison:
    return Comparison(
        id=str(number),
        prompt=[Message(role="user", content=f"question {number}")],
        completions=[f"answer {i}" for i in range(len(ranks))],
        ranks=ranks,
    )


def test_pair_accuracy_leaves_ties_out_and_halves_equal_scores() -> None:
    """Ranks 1 2 2 with scores 1 0 1: pair (0,1) right, pair (0,2) equal: (1 + 0.5) / 2."""
    assert pair_accuracy([[1.0, 0.0, 1.0]], [[1, 2, 2]]) == 0.75


def test_best_of_n_is_exact_over_all_subsets() -> None:
    """Scores 0 1 2 rank the answers rightly (ranks 3 2 1).

    n=1: mean reward 1, and a random one beats a random other half the time. n=2: subsets {0,1} {0,2} {1,2} have bests
    1, 2, 2: reward 5/3; answer 1 beats one of two others, answer 2 both: (0.5 + 1 + 1) / 3. n=3: always answer 2.
    """
    curve = best_of_n([comparison(1, [3, 2, 1])], [[0.0, 1.0, 2.0]])
    assert [point["reward"] for point in curve] == pytest.approx([1.0, 5 / 3, 2.0])
    assert [point["wins"] for point in curve] == pytest.approx([0.5, 2.5 / 3, 1.0])


def test_calibration_of_a_sure_and_right_model() -> None:
    """Two pairs of logit 2, sigmoid 0.8808: predicted 0.88, came true in 100 %; the error is 0.1192."""
    bins = calibration([2.0, 2.0])
    assert [(b["low"], b["n"], b["observed"]) for b in bins] == [(0.1, 2, 0.0), (0.8, 2, 1.0)]
    assert calibration_error(bins) == pytest.approx(1 - 1 / (1 + math.exp(-2)))


def test_calibration_of_extreme_logits_loses_no_pair() -> None:
    assert sum(b["n"] for b in calibration([800.0, -800.0])) == 4


def test_length_correlation_is_within_prompts() -> None:
    """The reward follows length inside each prompt; that prompt 2 has long answers and low rewards is no matter."""
    two = [comparison(1, [1, 2]), comparison(2, [1, 2])]
    found = length_correlations(two, [[9.0, 8.0], [2.0, 1.0]], [[2, 1], [50, 40]])
    assert found["reward"] == pytest.approx(1.0)
    assert found["labels"] == pytest.approx(1.0)


def card(scores: list[list[float]], ceiling: float | None = None) -> dict[str, object]:
    comparisons = [comparison(i, [1, 2]) for i in range(len(scores))]
    return report_card(
        comparisons,
        scores,
        [[1, 1] for _ in scores],
        reward_scale=2.0,
        limits=LIMITS,
        kind_of_pair=lambda c, i, j: "even" if int(c.id) % 2 == 0 else "odd",
        labelling_ceiling=ceiling,
    )


def test_a_good_card_passes_and_knows_its_share_of_the_ceiling() -> None:
    found = card([[1.0, 0.0]] * 95 + [[0.0, 1.0]] * 5, ceiling=0.95)
    assert found["passed"] is True
    assert found["share_of_ceiling"] == pytest.approx(1.0)


def test_a_card_at_chance_fails_with_its_reason() -> None:
    found = card([[1.0, 0.0]] * 20 + [[0.0, 1.0]] * 20)
    assert found["passed"] is False
    assert "lower bound" in str(found["reasons"])


def test_one_bad_kind_fails_the_card() -> None:
    """All even pairs right, all odd ones wrong, is 50 % overall with a pattern that an average would hide."""
    found = card([[1.0, 0.0] if i % 2 == 0 else [0.0, 1.0] for i in range(60)])
    assert any("on odd" in reason for reason in found["reasons"])  # type: ignore[attr-defined]
    assert found["kinds"]["even"]["value"] == 1.0  # type: ignore[index]


def test_no_held_out_pairs_is_a_failed_card_not_a_crash() -> None:
    assert card([])["passed"] is False
