"""Conflicted items: hidden names, one final answer with its reason, originals as they were."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from tests.product.house import join
from tests.workbench.labellers import a_project, add, an_entry, people, rank, take

from ziggurat.product.errors import Conflict, Forbidden, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import adjudications
from ziggurat.workbench.labelling import adjudicating, comments, items

FINAL = {"ranks": {"c1": 1, "c2": 2}, "not_rankable": False}


def conflicted(store: Store, lead: Principal) -> tuple[str, str, list[Principal]]:
    labellers = people(store, 2)
    project = a_project(store, lead, min_answers=2)
    (item,) = add(store, lead, project, an_entry())
    for who, order in zip(labellers, ((1, 2), (2, 1)), strict=True):
        rank(store, who, take(store, who, project), *order)
    return project, item, labellers


def current(store: Store, item: str) -> list[Any]:
    with store.read() as conn:
        wanted = select(judgements).where(
            judgements.c.subject_id == item,
            judgements.c.superseded_by.is_(None),
            judgements.c.withdrawn_at.is_(None),
        )
        return list(conn.execute(wanted.order_by(judgements.c.id)))


def test_names_and_models_are_hidden_until_the_decision(store: Store) -> None:
    lead, expert = join(store, "owner"), join(store, "adjudicator")
    project, item, labellers = conflicted(store, lead)
    comments.comment(store, labellers[0], project, text="hard to say", item_id=item)
    (waiting,) = adjudicating.queue(store, expert, project).data
    assert (waiting["item_id"], waiting["disagreement"], waiting["answers"]) == (item, 1.0, 2)
    case = adjudicating.case(store, expert, item)
    assert [one["side"] for one in case["answers"]] == ["A", "B"]
    assert not any(
        word in str(case) for word in ("labeller 0", "labeller 1", "model-0", labellers[0].person_id)
    )
    assert case["consensus"]["votes"] == {"c1": {"c2": 1}, "c2": {"c1": 1}}
    assert case["consensus"]["value"] == {"ranks": {"c1": 1, "c2": 1}, "not_rankable": False}
    assert case["comments"][0]["text"] == "hard to say"
    before = [(row.id, row.value) for row in current(store, item)]
    decided = adjudicating.adjudicate(store, expert, item, final=FINAL, reason="the first is right")
    assert {one["person"]["name"] for one in decided["answers"]} == {"labeller 0", "labeller 1"}
    assert [one["model"] for one in decided["completions"]] == ["model-0", "model-1"]
    assert (decided["decision"]["final"], decided["decision"]["reason"]) == (FINAL, "the first is right")
    after = current(store, item)
    assert [(row.id, row.value) for row in after[:2]] == before, "the originals stay"
    assert (after[2].person_id, after[2].value, after[2].basis) == (expert.person_id, FINAL, "work")
    assert items.get_item(store, lead, item).status == "adjudicated"
    assert adjudicating.queue(store, expert, project).data == []


def test_a_second_decision_takes_the_place_of_the_first_which_is_kept(store: Store) -> None:
    lead, one, other = join(store, "owner"), join(store, "adjudicator"), join(store, "adjudicator")
    _, item, _ = conflicted(store, lead)
    adjudicating.adjudicate(store, one, item, final=FINAL, reason="first")
    second = adjudicating.adjudicate(store, other, item, final={"ranks": {"c1": 2, "c2": 1}}, reason="second")
    assert second["decision"]["reason"] == "second"
    with store.read() as conn:
        rows = conn.execute(select(adjudications).order_by(adjudications.c.id)).all()
    assert [(row.reason, row.superseded_by) for row in rows] == [("first", rows[1].id), ("second", None)]


def test_who_answered_does_not_decide_and_a_reason_is_needed(store: Store) -> None:
    lead, expert = join(store, "owner"), join(store, "adjudicator")
    project, item, _ = conflicted(store, lead)
    with pytest.raises(Invalid, match="reason is empty"):
        adjudicating.adjudicate(store, expert, item, final=FINAL, reason=" ")
    with pytest.raises(Invalid, match="must name each"):
        adjudicating.adjudicate(store, expert, item, final={"ranks": {"c1": 1}}, reason="x")
    (open_item,) = add(store, lead, project, an_entry(7))
    rank(store, lead, take(store, lead, project), 1, 2)
    with pytest.raises(Conflict) as refused:
        adjudicating.adjudicate(store, lead, open_item, final=FINAL, reason="x")
    assert refused.value.code == "own_answer"
    with pytest.raises(Conflict) as refused:
        adjudicating.adjudicate(store, expert, open_item, final=FINAL, reason="x")
    assert refused.value.code == "not_complete"


def test_labellers_and_other_workspaces_see_no_case(store: Store) -> None:
    lead = join(store, "owner")
    _, item, labellers = conflicted(store, lead)
    with pytest.raises(Forbidden):
        adjudicating.case(store, labellers[0], item)
    with pytest.raises(NotFound):
        adjudicating.case(store, lead, "item_none")


def test_who_decides_does_not_read_the_answers_of_an_open_item(store: Store) -> None:
    lead, expert, (ana, bo) = join(store, "owner"), join(store, "adjudicator"), people(store, 2)
    project = a_project(store, lead, min_answers=2)
    (item,) = add(store, lead, project, an_entry())
    rank(store, ana, take(store, ana, project), 1, 2)
    with pytest.raises(Conflict) as refused:
        adjudicating.case(store, expert, item)
    assert refused.value.code == "not_complete"
    rank(store, bo, take(store, bo, project), 1, 2)
    assert len(adjudicating.case(store, expert, item)["answers"]) == 2
