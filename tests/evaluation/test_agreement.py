"""Agreement against published examples, hand calculations, scipy, statsmodels and scikit-learn."""

from __future__ import annotations

import math
import random
import warnings
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import cohen_kappa_score

from ziggurat.evaluation.agreement import (
    ENOUGH,
    cohen_kappa,
    fleiss_kappa,
    krippendorff,
    mean_difference,
    overlapping,
    prevalence,
    raw_agreement,
    too_few,
    weighted_kappa,
)
from ziggurat.evaluation.consensus import majority, median, ranked_pairs
from ziggurat.evaluation.rank_agreement import (
    edit_distance,
    kendall,
    pair_agreement,
    ranking_alpha,
    tau_b,
    with_reference,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its imports
    from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

PUBLISHED = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
"""Krippendorff (2011), section C: four observers, twelve units, missing data."""


def published() -> list[dict[Any, Any]]:
    rows = [line.split() for line in PUBLISHED.split("\n") if line]
    return [{who: int(row[unit]) for who, row in enumerate(rows) if row[unit] != "."} for unit in range(12)]


def invented(seed: int, n: int = 60, people: int = 3, levels: int = 7) -> list[dict[Any, int]]:
    """Likert answers around a true value."""
    chance = random.Random(seed)
    items = []
    for _ in range(n):
        true = chance.randint(1, levels)
        items.append({p: min(levels, max(1, true + chance.randint(-2, 2))) for p in range(people)})
    return items


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_krippendorffs_published_example(level: Any, alpha: float) -> None:
    found = krippendorff(published(), level)
    assert found.value == pytest.approx(alpha, abs=5e-4)
    assert found.clusters == 11  # the twelfth unit has one answer
    assert found.low < found.value < found.high


def test_alpha_of_two_people_by_hand() -> None:
    """Krippendorff (2011), section A: coincidences 10, 4, 4, 2 of ten items, so alpha = 1 - 19 x 4 / (14 x 6)."""
    one = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    two = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    items = [{"a": x, "b": y} for x, y in zip(one, two, strict=True)]
    assert krippendorff(items).value == pytest.approx(1 - 19 * 4 / (14 * 6))
    assert krippendorff(items, "interval").value == pytest.approx(krippendorff(items).value)
    assert raw_agreement(items).value == 0.6


def slow_alpha(items: list[dict[Any, int]], distance: Any) -> float:
    """By the definition: pairs within items against pairs of all answers."""
    kept = [list(answers.values()) for answers in items if len(answers) > 1]
    everything = [value for values in kept for value in values]
    n = len(everything)
    within = sum(
        distance(a, b) / (len(values) - 1)
        for values in kept
        for i, a in enumerate(values)
        for j, b in enumerate(values)
        if i != j
    )
    among = sum(distance(a, b) for a in everything for b in everything)
    return 1 - (within / n) / (among / (n * (n - 1)))


def test_alpha_with_missing_answers_equals_the_slow_definition() -> None:
    chance = random.Random(5)
    items = [
        {who: value for who, value in answers.items() if chance.random() < 0.7} for answers in invented(1)
    ]
    values = [value for answers in items if len(answers) > 1 for value in answers.values()]
    count = {g: values.count(g) for g in range(1, 8)}

    def ordinal(a: int, b: int) -> float:
        a, b = min(a, b), max(a, b)
        return (sum(count[g] for g in range(a, b + 1)) - (count[a] + count[b]) / 2) ** 2 if a != b else 0.0

    assert krippendorff(items).value == pytest.approx(slow_alpha(items, lambda a, b: float(a != b)))
    assert krippendorff(items, "interval").value == pytest.approx(
        slow_alpha(items, lambda a, b: (a - b) ** 2)
    )
    assert krippendorff(items, "ordinal").value == pytest.approx(slow_alpha(items, ordinal))


@pytest.mark.parametrize("seed", range(3))
def test_kappas_equal_scikit_learn(seed: int) -> None:
    pairs = [(answers[0], answers[1]) for answers in invented(seed)]
    a, b = zip(*pairs, strict=True)
    assert cohen_kappa(pairs).value == pytest.approx(cohen_kappa_score(a, b))
    for weights in ("linear", "quadratic"):
        assert weighted_kappa(pairs, weights).value == pytest.approx(cohen_kappa_score(a, b, weights=weights))


def test_cohen_kappa_by_hand() -> None:
    """Cohen's usual example: 20 both yes, 15 both no, 5 and 10 apart; 0.7 observed, 0.5 expected, so kappa is 0.4."""
    pairs = [("y", "y")] * 20 + [("n", "n")] * 15 + [("y", "n")] * 5 + [("n", "y")] * 10
    found = cohen_kappa(pairs)
    assert found.value == pytest.approx(0.4)
    assert found.low < 0.4 < found.high


@pytest.mark.parametrize("seed", range(3))
def test_fleiss_kappa_equals_statsmodels(seed: int) -> None:
    items = invented(seed, people=5)
    table = np.array([[list(answers.values()).count(v) for v in range(1, 8)] for answers in items])
    assert fleiss_kappa(items).value == pytest.approx(statsmodels_fleiss(table))


def test_where_all_answers_are_alike_chance_explains_all() -> None:
    """Nothing varies: kappa and alpha are not defined, raw agreement is 1, and the prevalence says why."""
    items = [{"a": True, "b": True} for _ in range(40)]
    for measure in (fleiss_kappa, krippendorff, lambda x: krippendorff(x, "interval")):
        assert math.isnan(measure(items).value)
    assert raw_agreement(items).value == 1.0
    assert prevalence(items) == {True: 1.0}
    assert cohen_kappa([(1, 1)] * 5).to_dict()["value"] is None


def test_items_with_one_answer_do_not_count() -> None:
    items: list[dict[Any, Any]] = [{"a": 1, "b": 3}, {"a": 5}, {}, {"a": 2, "b": 2, "c": 5}]
    assert overlapping(items) == [0, 3]
    assert mean_difference(items).value == pytest.approx((2 + 0 + 3 + 3) / 4)
    assert prevalence(items) == {1: 0.2, 2: 0.4, 3: 0.2, 5: 0.2}
    assert raw_agreement([]).n == 0


def test_an_interval_of_too_few_items_says_so() -> None:
    assert too_few(raw_agreement(invented(0, n=ENOUGH - 1)))
    assert not too_few(raw_agreement(invented(0, n=ENOUGH)))


def test_the_interval_of_a_rate_has_the_width_that_theory_gives() -> None:
    """Of 400 items with rate 0.5 the 95 % interval is 0.5 +- 0.049."""
    found = raw_agreement([{"a": 1, "b": i % 2} for i in range(400)])
    assert found.value == 0.5
    assert 0.5 - found.low == pytest.approx(0.049, abs=0.004)
    assert found.high - 0.5 == pytest.approx(0.049, abs=0.004)


def test_alpha_refuses_more_levels_than_it_can_hold() -> None:
    items = [{"a": i, "b": i + 1} for i in range(100)]
    with pytest.raises(ValueError, match="level interval"):
        krippendorff(items, "ordinal")
    assert krippendorff(items, "interval").value > 0.9


# --- rankings ---------------------------------------------------------------------------------------------------------


def ranks(*numbers: int) -> dict[Any, int]:
    return dict(zip("abcdefghi", numbers, strict=False))


def test_pair_agreement_with_and_without_ties_by_hand() -> None:
    """1 2 3 against 1 2 2: ab and ac alike, bc is a tie for one of the two."""
    items = [{"x": ranks(1, 2, 3), "y": ranks(1, 2, 2)}]
    assert pair_agreement(items, ties=True).value == pytest.approx(2 / 3)
    assert pair_agreement(items, ties=False).value == 1.0
    three = [{**items[0], "z": ranks(3, 2, 1)}]  # x-z: none of 3; y-z: none of 3, or none of 2
    assert pair_agreement(three, ties=True).value == pytest.approx(2 / 9)
    assert pair_agreement(three, ties=False).value == pytest.approx(2 / 7)


def test_tau_b_equals_scipy() -> None:
    chance = random.Random(2)
    items = []
    for _ in range(40):
        k = chance.randint(2, 9)
        people = {p: ranks(*(chance.randint(1, k) for _ in range(k))) for p in range(2)}
        items.append(people)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = kendalltau(list(people[0].values()), list(people[1].values())).statistic
        assert tau_b(people[0], people[1]) == pytest.approx(expected, nan_ok=True)
    found = [tau_b(p[0], p[1]) for p in items]
    assert kendall(items).value == pytest.approx(np.nanmean(found))


def test_alpha_of_rankings_resamples_items_not_completions() -> None:
    items = [{"x": ranks(1, 2, 3, 4), "y": ranks(1, 2, 3, 4)}, {"x": ranks(1, 2, 3), "y": ranks(1, 2, 3)}]
    found = ranking_alpha(items)
    assert (found.value, found.n, found.clusters) == (1.0, 7, 2)
    reverse = [{"x": ranks(1, 2, 3, 4), "y": ranks(4, 3, 2, 1)} for _ in range(10)]
    assert ranking_alpha(reverse).value < -0.5


def test_a_person_against_gold_uses_the_same_measures() -> None:
    items = [{"x": ranks(1, 2), "y": ranks(2, 1)}, {"y": ranks(1, 2)}]
    paired = with_reference(items, "x", [ranks(1, 2), ranks(1, 2)])
    assert paired == [{"person": ranks(1, 2), "reference": ranks(1, 2)}]
    assert pair_agreement(paired, ties=True).value == 1.0


def test_edit_distance_counts_words_and_chinese_characters() -> None:
    assert edit_distance("a b c", "a b c") == 0
    assert edit_distance("a b c d", "a x c") == 0.5  # one replaced, one removed, of four
    assert edit_distance("你好吗", "你好") == pytest.approx(1 / 3)
    assert edit_distance("", "a") == 1.0
    assert edit_distance("", "") == 0.0
    assert edit_distance("kitten sat there", "there sat kitten") == pytest.approx(2 / 3)


# --- consensus --------------------------------------------------------------------------------------------------------


def test_ranked_pairs_of_wikipedias_capital_of_tennessee() -> None:
    """42, 26, 15 and 17 of 100 voters; Nashville, Chattanooga, Knoxville, Memphis by ranked pairs."""
    ballots = [
        *[{"Memphis": 1, "Nashville": 2, "Chattanooga": 3, "Knoxville": 4}] * 42,
        *[{"Nashville": 1, "Chattanooga": 2, "Knoxville": 3, "Memphis": 4}] * 26,
        *[{"Chattanooga": 1, "Knoxville": 2, "Nashville": 3, "Memphis": 4}] * 15,
        *[{"Knoxville": 1, "Chattanooga": 2, "Nashville": 3, "Memphis": 4}] * 17,
    ]
    found = ranked_pairs(ballots)
    assert found is not None
    assert found.ranks == {"Memphis": 4, "Nashville": 1, "Chattanooga": 2, "Knoxville": 3}
    assert found.votes["Nashville"]["Memphis"] == 58
    assert found.voters == 100


def test_ranked_pairs_drop_the_weakest_win_of_a_circle() -> None:
    """a > b by 7:2, b > c by 6:3, c > a by 5:4: the last closes the circle and is left out."""
    ballots = [*[ranks(1, 2, 3)] * 4, *[ranks(2, 3, 1)] * 3, *[ranks(3, 1, 2)] * 2]
    found = ranked_pairs(ballots)
    assert found is not None
    assert (found.votes["a"]["b"], found.votes["b"]["c"], found.votes["c"]["a"]) == (7, 6, 5)
    assert found.ranks == {"a": 1, "b": 2, "c": 3}


def test_ranked_pairs_keep_ties_and_use_the_common_set() -> None:
    found = ranked_pairs([ranks(1, 1, 3), ranks(1, 1, 3)])
    assert found is not None
    assert found.ranks == {"a": 1, "b": 1, "c": 3}
    common = ranked_pairs([ranks(1, 2, 3), ranks(2, 1)])
    assert common is not None
    assert common.ranks == {"a": 1, "b": 1}
    assert ranked_pairs([]) is None
    assert ranked_pairs([{"a": 1}, {"b": 1}]) is None


def test_majority_keeps_the_votes_and_names_no_winner_of_a_tie() -> None:
    found = majority(["yes", "no", "yes"])
    assert found is not None
    assert (found.value, found.votes, found.share) == ("yes", {"yes": 2, "no": 1}, pytest.approx(2 / 3))
    tied = majority([True, False])
    assert tied is not None
    assert tied.value is None
    assert majority([]) is None
    assert (median([]), median([7, 1, 2]), median([1, 2])) == (None, 2, 1.5)
