"""The worth of labels: planted people are found, and weighted labels are nearer to the truth than unweighted ones."""

from __future__ import annotations

import numpy as np
import pytest
from tests.flywheel.planted import Crowd, a_crowd, vote

from ziggurat.flywheel.worth.assessment import Assessment, assess, at_least
from ziggurat.flywheel.worth.reliability import GRID, PRIOR, Labels, fit

SEEDS = range(5)


def labels(said: list[tuple[int, int, float]], people: int, gold: list[tuple[float, float]]) -> Labels:
    person, question, says = zip(*said, strict=True) if said else ((), (), ())
    known = np.array(gold, dtype=float).reshape(-1, 2)
    return Labels(
        person=np.array(person, dtype=np.int64),
        question=np.array(question, dtype=np.int64),
        says=np.array(says, dtype=float),
        share=np.ones(len(said)),
        features=np.zeros((max(question, default=-1) + 1, 0)),
        penalty=np.zeros(0),
        people=people,
        gold_right=known[:, 0],
        gold_wrong=known[:, 1],
    )


def test_gold_alone_gives_the_beta_posterior() -> None:
    """Prior Beta(4, 1), 7 right and 2 wrong: Beta(11, 3), mean 11 / 14 = 0.7857."""
    found = fit(labels([], 2, [(7, 2), (0, 0)]))
    assert found.reliability[0] == pytest.approx(11 / 14, abs=2e-3)
    assert found.reliability[1] == pytest.approx(PRIOR[0] / sum(PRIOR), abs=5e-3)


def test_a_lone_label_says_nothing_about_its_person() -> None:
    found = fit(labels([(0, 0, 1.0), (1, 1, -1.0)], 2, [(0, 0), (0, 0)]))
    assert found.reliability == pytest.approx([0.8, 0.8], abs=5e-3)
    assert found.right == pytest.approx([0.8, 0.8], abs=5e-3)


def test_two_of_one_mind_against_one_by_hand() -> None:
    """With reliabilities fixed by much gold at 0.9: two say yes, one no. The odds of yes are 9 * 9 / 9 = 9."""
    gold = [(9_000.0, 1_000.0)] * 3
    found = fit(labels([(0, 0, 1.0), (1, 0, 1.0), (2, 0, -1.0)], 3, gold))
    assert found.right == pytest.approx([0.9, 0.9, 0.1], abs=0.01)
    assert found.weight[2] == 0.0


def test_an_inverted_person_is_seen_by_gold() -> None:
    found = fit(labels([], 1, [(1, 9)]))
    assert found.inverted[0] > 0.9
    assert found.high[0] < 0.75
    assert float(GRID[0]) > 0.0


def errors(crowd: Crowd, found: Assessment) -> tuple[float, float]:
    """The share of wrong labels, unweighted and weighted."""
    wrong = np.array(crowd.wrong, dtype=float)
    weights = np.array(
        [
            0.0 if one.person in found.quarantined else max(0.0, 2 * found.right[n] - 1)
            for n, one in enumerate(crowd.samples)
        ]
    )
    return float(wrong.mean()), float((weights * wrong).sum() / weights.sum())


@pytest.mark.parametrize("hostile", ["inverted", "longest"])
@pytest.mark.parametrize(("each", "shared_by"), [(10, 1), (15, 3)])
def test_weighted_labels_are_nearer_to_the_truth(hostile: str, each: int, shared_by: int) -> None:
    """20 people, 4 of them hostile, who share no pair (10 each) or judge each pair in threes (15 each)."""
    habits = ["honest"] * 16 + [hostile] * 4
    both = []
    for seed in SEEDS:
        crowd = a_crowd(seed, habits, each=each, shared_by=shared_by)
        both.append(errors(crowd, assess(crowd.samples)))
    plain, weighted = np.mean(both, axis=0)
    assert all(w < p for p, w in both)
    assert weighted < (0.65 if shared_by == 1 else 0.25) * plain


def test_reliability_of_planted_people_is_recovered() -> None:
    """Each pair is judged by three: honest people are right 88 of 100 times, inverted ones 12."""
    found = [
        assess(a_crowd(seed, ["honest"] * 16 + ["inverted"] * 4, each=30, shared_by=3).samples)
        for seed in SEEDS
    ]
    honest = np.mean([f.people[f"p{k:02}"].reliability for f in found for k in range(16)])
    inverted = np.mean([f.people[f"p{k:02}"].reliability for f in found for k in range(16, 20)])
    assert honest == pytest.approx(0.88, abs=0.06)
    assert inverted == pytest.approx(0.12, abs=0.15)
    flagged = [{name for name, one in f.people.items() if "inverted" in one.flags} for f in found]
    assert all(names == {"p16", "p17", "p18", "p19"} for names in flagged)


def test_who_always_takes_the_longest_is_flagged_and_honest_people_are_not() -> None:
    for seed in SEEDS:
        people = assess(a_crowd(seed, ["honest"] * 16 + ["longest"] * 4, each=20).samples).people
        assert {name for name, one in people.items() if "longest" in one.flags} == {
            f"p{k}" for k in range(16, 20)
        }


def test_when_longer_is_better_taking_the_longer_is_no_habit() -> None:
    """Everybody takes the longer one nine times of ten, since it is better."""
    crowd = a_crowd(3, ["honest"] * 12, each=20, length_pays=5.0, noise=0.05)
    assert not any("longest" in one.flags for one in assess(crowd.samples).people.values())


def test_a_flood_of_one_end_user_is_flagged() -> None:
    crowd = a_crowd(0, ["honest"] * 6, each=8)
    flood = [vote(9, 500 + i, 500 + i, f"the canal {i}", f"ledger {i}", True) for i in range(60)]
    found = assess([*crowd.samples, *flood]).people
    assert "flood" in found["p09"].flags
    assert not any("flood" in one.flags for name, one in found.items() if name != "p09")
    at_work = [one.with_(basis="work") for one in flood]
    assert "flood" not in assess([*crowd.samples, *at_work]).people["p09"].flags


def test_binomial_tail_by_hand() -> None:
    assert at_least(3, 3, 0.5) == pytest.approx(0.125)
    assert at_least(9, 10, 0.5) == pytest.approx(11 / 1024)
