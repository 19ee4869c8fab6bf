"""A judge against people: figures worked by hand."""

from __future__ import annotations

import pytest
from tests.exam.judging import Planted

from ziggurat.evaluation.agreement import cohen_kappa
from ziggurat.exam.judges.agreement import Opinion, compare, opinion, pairs_of, preferences, rankings_of
from ziggurat.exam.judges.judge import both_orders
from ziggurat.records import Message


def said(person: str, number: int, *ranks: int) -> Opinion:
    """A ranking of the answers "a", "b", "c" to question `number`."""
    answers = [(f"{'abc'[at]} to {number}", rank) for at, rank in enumerate(ranks)]
    found = opinion(person, [Message(role="user", content=f"question {number}")], answers)
    assert found is not None
    return found


def alphabetical() -> Planted:
    return Planted(lambda pair: "first" if pair.a < pair.b else "second", name="alphabetical")


def test_people_and_judge_by_the_same_measure() -> None:
    """Four pairs. Ana: a a a a; Ben: a a b b; the judge: always a. Of the four pairs people order 2 alike. The judge
    agrees with Ana on 4 of 4, with Ben on 2 of 4; the consensus is a, a, tie, tie: untied pairs agree 2 of 2."""
    opinions = [said("ana", n, 1, 2) for n in range(4)]
    opinions += [said("ben", n, *((1, 2) if n < 2 else (2, 1))) for n in range(4)]
    found, verdicts = compare(alphabetical(), opinions)
    assert (found["items"], found["people"], found["pairs"], found["overlapping"]) == (4, 2, 4, 4)
    assert value(found["between_people"], "pair_agreement") == 0.5
    with_ana, with_ben = (value(one["measures"], "pair_agreement") for one in found["with_people"])
    assert (with_ana, with_ben) == (1.0, 0.5)
    assert value(found["with_consensus"]["measures"], "pair_agreement") == 0.5
    assert value(found["with_consensus"]["measures"], "pair_agreement_untied") == 1.0
    assert all(one.score is not None for one in verdicts)
    names = [one["name"] for one in found["between_people"]]
    assert names == [one["name"] for one in found["with_people"][0]["measures"]]


def value(measures: list[dict[str, float]], name: str) -> float:
    return next(one["value"] for one in measures if one["name"] == name)


def test_three_answers_are_ranked_by_all_their_pairs() -> None:
    """b > a > c: b wins 2, a 1, c 0."""
    order = {"b": 0, "a": 1, "c": 2}
    judge = Planted(lambda pair: "first" if order[pair.a[0]] < order[pair.b[0]] else "second")
    one = said("ana", 0, 1, 2, 3)
    found = both_orders(judge, pairs_of([one]))
    assert len(found) == 3
    ranks = rankings_of([one], found)[one.item]["ranks"]
    assert {one.texts[key][0]: rank for key, rank in ranks.items()} == {"b": 1, "a": 2, "c": 3}


def test_an_item_with_a_reply_that_is_not_read_has_no_ranking() -> None:
    judge = Planted(lambda pair: None if "1" in pair.a else "first")
    opinions = [said("ana", 0, 1, 2), said("ana", 1, 1, 2)]
    found, _ = compare(judge, opinions)
    assert found["unread_replies"] == 2
    assert found["with_consensus"]["items"] == 1


def test_the_same_answers_in_another_order_are_one_item() -> None:
    one = said("ana", 0, 1, 2)
    two = opinion("ben", one.messages, [("b to 0", 1), ("a to 0", 2)])
    assert two is not None
    assert one.item == two.item
    assert list(preferences([one, two]).values()) == [0.5]
    assert opinion("ben", one.messages, [("same", 1), ("same", 2)]) is None


def test_the_judge_and_a_person_by_cohens_kappa_agree_with_the_pairs() -> None:
    """Hand: 3 of 4 alike, marginals (3, 1) and (4, 0): expected 0.75, kappa 0."""
    pairs = [("a", "a"), ("a", "a"), ("a", "a"), ("b", "a")]
    assert cohen_kappa(pairs).value == pytest.approx(0.0)
