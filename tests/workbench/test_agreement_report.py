"""The agreement report of a project, and which items are conflicted."""

from __future__ import annotations

from typing import Any

import pytest
from tests.product.house import join
from tests.workbench.labellers import a_project, add, an_entry, people, rank, take

from ziggurat.product.errors import Forbidden
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.workbench.labelling import answering, items
from ziggurat.workbench.labelling.agreement_report import agreement
from ziggurat.workbench.labelling.disagreement import disagreement

BINARY = {"labels": [{"key": "spam", "title": {"en": "Spam"}}]}


def by_name(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["name"]: one for one in found}


def label(store: Store, who: Principal, project: str, **labels: Any) -> None:
    task = take(store, who, project)
    answering.submit(store, who, task.item_id, {"labels": labels})


def test_two_of_three_orders_agree(store: Store) -> None:
    """K = 3: 1 2 3 against 1 3 2: two of three pairs alike, tau-b 1/3; the item is not conflicted (1/3 apart)."""
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead, min_answers=2)
    (item,) = add(store, lead, project, an_entry(k=3))
    for who, order in ((ana, (1, 2, 3)), (bo, (1, 3, 2))):
        rank(store, who, take(store, who, project), *order)
    report = agreement(store, lead, project)
    overall = by_name(report["overall"])
    assert overall["pair_agreement"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert overall["kendall_tau_b"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert (overall["pair_agreement"]["items"], overall["pair_agreement"]["too_few"]) == (1, True)
    assert [[p["name"] for p in one["people"]] for one in report["pairs"]] == [["labeller 0", "labeller 1"]]
    assert report["overlapping"] == 1
    found = items.get_item(store, lead, item)
    assert (found.status, found.disagreement) == ("completed", pytest.approx(1 / 3, abs=1e-4))


def test_opposite_orders_are_a_conflict_until_somebody_changes(store: Store) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead, min_answers=2)
    (item,) = add(store, lead, project, an_entry(k=2))
    mine = take(store, ana, project)
    rank(store, ana, mine, 1, 2)
    rank(store, bo, take(store, bo, project), 2, 1)
    assert (items.get_item(store, lead, item).status, items.get_item(store, lead, item).disagreement) == (
        "conflicted",
        1.0,
    )
    answering.submit(store, ana, item, {"ranks": {"c1": 2, "c2": 1}})
    assert (items.get_item(store, lead, item).status, items.get_item(store, lead, item).disagreement) == (
        "completed",
        0.0,
    )


def test_labels_have_kappa_prevalence_and_cant_tell(store: Store) -> None:
    """yes/yes, yes/no, no/no, cant_tell/no: 2 of 3 pairs alike; of the six answers that count three are yes."""
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead, "labels", questions=BINARY, min_answers=2)
    add(store, lead, project, *(an_entry(n, k=1) for n in range(4)))
    for who, said in ((ana, [True, True, False, "cant_tell"]), (bo, [True, False, False, False])):
        for value in said:
            label(store, who, project, spam=value)
    (found,) = agreement(store, lead, project)["labels"]
    measures = by_name(found["measures"])
    assert measures["raw_agreement"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert measures["raw_agreement"]["items"] == 3
    assert found["prevalence"] == {"false": 0.5, "true": 0.5}
    assert found["cant_tell"] == 0.125
    (pair,) = agreement(store, lead, project)["pairs"]
    kappa = by_name(pair["labels"][0]["measures"])["cohen_kappa"]["value"]
    assert kappa == pytest.approx(0.4, abs=1e-4)  # 2/3 observed; expected (2/3)(1/3) + (1/3)(2/3) = 4/9


def test_a_person_is_held_to_gold_and_to_the_others_and_a_judge_to_people(store: Store) -> None:
    lead, (ana, bo, cy) = join(store, "owner"), people(store, 3)
    project = a_project(store, lead, min_answers=3)
    suggestion = {"value": {"ranks": {"c1": 1, "c2": 2}}, "agent": "judge-1", "score": 0.9}
    add(store, lead, project, an_entry(0, suggestion=suggestion))
    for who, order in ((ana, (1, 2)), (bo, (1, 2)), (cy, (2, 1))):
        rank(store, who, take(store, who, project), *order)
    report = agreement(store, lead, project)
    others = {one["person"]["name"]: by_name(one["measures"]) for one in report["consensus"]}
    assert others["labeller 2"]["pair_agreement"]["value"] == 0  # the two others prefer c1
    assert others["labeller 0"]["pair_agreement"]["value"] == 0  # bo and cy differ: their consensus is a tie
    assert others["labeller 0"]["pair_agreement_untied"]["value"] is None
    judges = {
        one["person"] and one["person"]["name"]: by_name(one["measures"])["pair_agreement"]["value"]
        for one in report["judges"]
    }
    assert judges == {None: 1.0, "labeller 0": 1.0, "labeller 1": 1.0, "labeller 2": 0.0}
    assert {one["agent"] for one in report["judges"]} == {"judge-1"}


def test_a_gold_item_measures_its_labeller_and_nothing_else(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead, gold_pct=50)
    gold = {"ranks": {"c1": 1, "c2": 2}}
    add(store, lead, project, an_entry(1, kind="gold", gold=gold), an_entry(2), an_entry(3))
    for _ in range(3):
        rank(store, ana, take(store, ana, project), 2, 1)
    report = agreement(store, lead, project)
    (found,) = report["gold"]
    assert (found["items"], by_name(found["measures"])["pair_agreement"]["value"]) == (1, 0.0)
    assert report["answers"] == 2


def test_pairs_with_strength_use_the_order_and_the_strength(store: Store) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead, "pairwise", min_answers=2)
    add(store, lead, project, an_entry(0), an_entry(1))
    for who, said in ((ana, (-3, 2)), (bo, (-1, 2))):
        for strength in said:
            task = take(store, who, project)
            answering.submit(store, who, task.item_id, {"strength": strength})
    overall = by_name(agreement(store, lead, project)["overall"])
    assert overall["pair_agreement"]["value"] == 1.0
    assert overall["mean_difference"]["value"] == 1.0


def test_labellers_do_not_see_the_report(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    with pytest.raises(Forbidden):
        agreement(store, ana, project)


def test_disagreement_counts_a_label_that_one_person_left_out() -> None:
    assert disagreement("labels", [{"labels": {"a": True}}, {"labels": {"a": True, "b": True}}]) == 0.25
    assert disagreement("demonstration", [{"messages": []}, {"messages": []}]) is None
    assert disagreement("ranking", [{"ranks": {"a": 1}, "not_rankable": False}]) is None
