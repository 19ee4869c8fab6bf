"""The stream of answers: accept, fix, reject, return to the author."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from tests.product.house import join
from tests.workbench.labellers import a_project, add, an_entry, people, rank, take, why_none

from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import answers
from ziggurat.workbench.labelling import comments, items, reviewing


def answered(store: Store, lead: Principal) -> tuple[str, str, str, Principal]:
    (ana,) = people(store, 1)
    project = a_project(store, lead)
    (item,) = add(store, lead, project, an_entry())
    made = rank(store, ana, take(store, ana, project), 2, 1)
    return project, item, made.answer.id, ana


def test_an_accepted_answer_leaves_the_stream(store: Store) -> None:
    lead, expert = join(store, "owner"), join(store, "adjudicator")
    project, _item, answer, ana = answered(store, lead)
    (waiting,) = reviewing.stream(store, expert, project).data
    assert (waiting["answer_id"], waiting["person"]["name"]) == (answer, "labeller 0")
    assert "model" not in waiting["completions"][0]
    assert reviewing.review(store, expert, answer, verdict="accept")["item_status"] == "completed"
    assert reviewing.stream(store, expert, project).data == []
    with pytest.raises(Conflict) as refused:
        reviewing.review(store, expert, answer, verdict="accept")
    assert refused.value.code == "reviewed"
    (row,) = reviewing.figures(store, expert, project)
    assert (row["person"]["id"], row["accept"], row["reject"]) == (ana.person_id, 1, 0)


def test_a_fix_counts_and_the_authors_answer_is_kept_as_superseded(store: Store) -> None:
    lead, expert = join(store, "owner"), join(store, "adjudicator")
    project, item, answer, _ = answered(store, lead)
    fixed = {"ranks": {"c1": 1, "c2": 2}}
    reviewing.review(store, expert, answer, verdict="fix", value=fixed, reason="c1 is right")
    with store.read() as conn:
        rows = conn.execute(select(answers).where(answers.c.item_id == item).order_by(answers.c.id)).all()
        said = conn.execute(
            select(judgements).where(judgements.c.subject_id == item).order_by(judgements.c.id)
        )
        theirs, ours = said.all()
    assert [row.status for row in rows] == ["superseded", "submitted"]
    assert rows[0].superseded_by == rows[1].id
    assert (theirs.superseded_by, ours.value["ranks"]) == (ours.id, {"c1": 1, "c2": 2})
    assert theirs.value["ranks"] == {"c1": 2, "c2": 1}
    assert items.get_item(store, lead, item).answers == 1
    assert reviewing.stream(store, expert, project).data == [], "a fixed answer is reviewed"


def test_a_rejected_answer_goes_back_to_its_author_with_the_reason(store: Store) -> None:
    lead, expert = join(store, "owner"), join(store, "adjudicator")
    project, item, answer, ana = answered(store, lead)
    with pytest.raises(Invalid):
        reviewing.review(store, expert, answer, verdict="reject", back=True)
    made = reviewing.review(store, expert, answer, verdict="reject", reason="read it again", back=True)
    assert made["item_status"] == "pending"
    (mention,) = comments.my_mentions(store, ana)
    assert mention.text == "read it again"
    again = take(store, ana, project)
    assert again.item_id == item
    assert rank(store, ana, again, 1, 2).counts
    assert items.get_item(store, lead, item).status == "completed"
    with store.read() as conn:
        rows = conn.execute(select(judgements.c.withdrawn_at).where(judgements.c.subject_id == item)).all()
    assert sorted(row.withdrawn_at is None for row in rows) == [False, True]


def test_a_rejected_answer_without_return_goes_to_somebody_else(store: Store) -> None:
    lead, expert = join(store, "owner"), join(store, "adjudicator")
    project, item, answer, ana = answered(store, lead)
    reviewing.review(store, expert, answer, verdict="reject", reason="careless")
    assert why_none(store, ana, project) == "none_left"
    (bo,) = people(store, 1)
    assert take(store, bo, project).item_id == item


def test_nobody_reviews_their_own_answer(store: Store) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)
    add(store, lead, project, an_entry())
    mine = rank(store, lead, take(store, lead, project), 1, 2).answer.id
    assert reviewing.stream(store, lead, project).data == []
    with pytest.raises(Conflict) as refused:
        reviewing.review(store, lead, mine, verdict="accept")
    assert refused.value.code == "own_answer"


def test_the_stream_names_nobody_whose_item_is_conflicted_or_open(store: Store) -> None:
    lead, expert, (ana, bo) = join(store, "owner"), join(store, "adjudicator"), people(store, 2)
    project = a_project(store, lead, min_answers=2)
    add(store, lead, project, an_entry())
    rank(store, ana, take(store, ana, project), 1, 2)
    assert reviewing.stream(store, expert, project).data == [], "the expert may still answer this item"
    rank(store, bo, take(store, bo, project), 2, 1)
    for order in ("new", "apart"):
        assert reviewing.stream(store, expert, project, order=order).data == []
    (item,) = add(store, lead, project, an_entry(1))
    for who in (ana, bo):
        rank(store, who, take(store, who, project), 1, 2)
    assert {one["item_id"] for one in reviewing.stream(store, expert, project).data} == {item}


def test_the_reason_of_a_return_reaches_its_author_alone(store: Store) -> None:
    lead, expert, (ana, bo) = join(store, "owner"), join(store, "adjudicator"), people(store, 2)
    project = a_project(store, lead)
    (item,) = add(store, lead, project, an_entry())
    answer = rank(store, ana, take(store, ana, project), 2, 1).answer.id
    items.change_item(store, lead, item, {"min_answers": 2})
    take(store, bo, project)
    comments.comment(store, bo, project, text="mine", item_id=item)
    reviewing.review(store, expert, answer, verdict="reject", reason="c1 is the better one", back=True)
    assert [one.text for one in comments.list_comments(store, bo, project, item_id=item)] == ["mine"]
    assert [one.text for one in comments.list_comments(store, ana, project, item_id=item)] == [
        "c1 is the better one"
    ]
    assert [one.text for one in comments.list_comments(store, ana, project)] == ["c1 is the better one"]
    assert len(comments.list_comments(store, lead, project, item_id=item)) == 2
