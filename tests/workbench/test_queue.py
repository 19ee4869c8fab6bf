"""Who gets which item, for how long, and what becomes of it: leases, slots, skips, filters, gold, overlap."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError
from tests.product.house import join
from tests.stores import Clock
from tests.workbench.labellers import a_project, add, an_entry, people, rank, take, why_none

from ziggurat.product.errors import Conflict, NotFound
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import answers, leases
from ziggurat.workbench.labelling import (
    answering,
    assigning,
    habits,
    items,
    members,
    projects,
    queue,
)


def test_each_item_goes_to_as_many_people_as_it_asks_for(store: Store) -> None:
    lead, (ana, bo, cy) = join(store, "owner"), people(store, 3)
    project = a_project(store, lead, min_answers=2)
    (only,) = add(store, lead, project, an_entry())
    first, second = take(store, ana, project), take(store, bo, project)
    assert (first.item_id, second.item_id) == (only, only)
    assert why_none(store, cy, project) == "none_left"
    assert items.get_item(store, lead, only).status == "in_progress"
    assert rank(store, ana, first).counts
    assert rank(store, bo, second).counts
    done = items.get_item(store, lead, only)
    assert (done.status, done.answers) == ("completed", 2)
    assert why_none(store, ana, project) == "none_left", "never the same item twice"


def test_the_task_hides_models_and_others(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    add(store, lead, project, an_entry(k=3))
    shown = take(store, ana, project).model_dump()
    assert "model-" not in str(shown)
    assert [one["id"] for one in shown["completions"]] == ["c1", "c2", "c3"]


def test_an_expired_lease_returns_the_item_and_the_late_answer_is_extra(store: Store, clock: Clock) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead, lease_minutes=10)
    add(store, lead, project, an_entry())
    mine = take(store, ana, project)
    assert why_none(store, bo, project) == "none_left"
    clock.move(seconds=601)
    theirs = take(store, bo, project)
    assert theirs.item_id == mine.item_id
    late = rank(store, ana, mine)
    assert (late.counts, late.answer.status, late.answer.late) == (False, "extra", True)
    assert rank(store, bo, theirs).counts
    assert items.get_item(store, lead, mine.item_id).answers == 1


def test_a_late_answer_counts_while_nobody_else_has_the_slot(store: Store, clock: Clock) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead, lease_minutes=10)
    add(store, lead, project, an_entry())
    mine = take(store, ana, project)
    clock.move(seconds=601)
    late = rank(store, ana, mine)
    assert (late.counts, late.answer.late) == (True, True)
    assert items.get_item(store, lead, mine.item_id).status == "completed"


def test_a_heartbeat_extends_a_lease_but_not_for_ever(store: Store, clock: Clock) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead, lease_minutes=10)
    (only,) = add(store, lead, project, an_entry())
    take(store, ana, project)
    for _ in range(14):
        clock.move(seconds=500)
        assert answering.heartbeat(store, ana, [only])[only]
        assert why_none(store, bo, project) == "none_left"
    clock.move(seconds=601)
    assert take(store, bo, project).item_id == only, "12 times the length after it was taken"
    assert answering.heartbeat(store, ana, [only]) == {only: None}


def test_one_person_holds_the_item_on_the_screen_and_the_next(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    first, second, _third = add(store, lead, project, *(an_entry(n) for n in range(3)))
    assert take(store, ana, project).item_id == first
    assert take(store, ana, project).item_id == first, "a reload shows the same item"
    ahead = queue.next_item(store, ana, project, holding=[first])
    assert ahead["task"].item_id == second
    assert why_none(store, ana, project, holding=[first, second]) == "held"
    assert answering.give_back(store, ana, [second]) == 1
    assert items.get_item(store, lead, second).status == "pending"


def test_nobody_gets_a_text_of_their_own(store: Store) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead)
    add(store, lead, project, an_entry(authors=[ana.person_id]))
    assert why_none(store, ana, project) == "none_left"
    assert take(store, bo, project)


def test_filters_of_language_skill_and_opt_out(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    zh, law, violent, plain = add(
        store,
        lead,
        project,
        an_entry(0, lang="zh"),
        an_entry(1, skill="law"),
        an_entry(2, sensitive=["violence"]),
        an_entry(3, lang="en"),
    )
    habits.change_habits(store, ana, {"langs": ["en"], "opt_out": ["violence"]})
    task = take(store, ana, project)
    assert task.item_id == plain
    rank(store, ana, task)
    assert why_none(store, ana, project) == "none_left"
    members.change_member(store, lead, project, ana.person_id, {"skills": ["law"]})
    habits.change_habits(store, ana, {"opt_out": []})
    got = []
    for _ in range(2):
        task = take(store, ana, project)
        got.append(task.item_id)
        rank(store, ana, task)
    assert got == [law, violent]
    habits.change_habits(store, ana, {"langs": []})
    assert take(store, ana, project).item_id == zh


def test_a_skip_says_why_and_many_halt_the_item(store: Store) -> None:
    lead, (ana, bo, cy) = join(store, "owner"), people(store, 3)
    project = a_project(store, lead, halt_skips=2)
    (only,) = add(store, lead, project, an_entry())
    take(store, ana, project)
    assert answering.skip(store, ana, only, reason="unclear") == {"skips": 1, "halted": False}
    assert why_none(store, ana, project) == "none_left"
    take(store, bo, project)
    assert answering.skip(store, bo, only, reason="upsetting", comment="too much")["halted"]
    assert items.get_item(store, lead, only).status == "halted"
    assert why_none(store, cy, project) == "none_left"
    items.change_item(store, lead, only, {"status": "pending"})
    assert take(store, cy, project).item_id == only
    with pytest.raises(NotFound):
        answering.skip(store, ana, only, reason="unclear")


def test_assigned_items_come_first_and_their_slots_are_kept(store: Store) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead)
    _first, second = add(store, lead, project, an_entry(0), an_entry(1))
    assert assigning.assign(store, lead, project, item_ids=[second], person_ids=[bo.person_id]) == 1
    taken = take(store, ana, project)
    rank(store, ana, taken)
    assert why_none(store, ana, project) == "none_left", "the slot of the second is Bo's"
    assert take(store, bo, project).item_id == second
    both = [ana.person_id, bo.person_id]
    assert assigning.assign(store, lead, project, item_ids=[taken.item_id], person_ids=both) == 1
    assert items.get_item(store, lead, taken.item_id).min_answers == 2, "ana has answered; bo gets a slot too"


def test_push_only_projects_give_nothing_else(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead, pull=False)
    (only,) = add(store, lead, project, an_entry())
    assert why_none(store, ana, project) == "assigned_only"
    assigning.assign(store, lead, project, item_ids=[only], person_ids=[ana.person_id])
    assert take(store, ana, project).item_id == only


def test_overlap_is_an_exact_share_of_the_items(store: Store) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead, overlap_pct=20, overlap_answers=3)
    ids = add(store, lead, project, *(an_entry(n) for n in range(50)))
    wanted = [items.get_item(store, lead, one).min_answers for one in ids]
    assert (wanted.count(1), wanted.count(3)) == (40, 10)
    assert max(len(run) for run in "".join(map(str, wanted)).split("3")) == 4, "spread evenly"


def test_gold_comes_at_its_rate_and_no_answer_to_it_is_learned_from(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead, gold_pct=20)
    gold = [an_entry(n, kind="gold", gold={"ranks": {"c1": 1, "c2": 2}}) for n in range(100, 105)]
    known = set(add(store, lead, project, *gold))
    add(store, lead, project, *(an_entry(n) for n in range(30)))
    got = []
    for n in range(20):
        task = take(store, ana, project)
        got.append(task.item_id in known)
        rank(store, ana, task, *((2, 1) if n % 2 else (1, 2)))
    assert [sum(got[at : at + 5]) for at in range(0, 20, 5)] == [1, 1, 1, 1]
    from ziggurat.store.tables.judgements import judgements

    with store.read() as conn:
        rows = conn.execute(select(judgements.c.data_use, judgements.c.chosen_how)).all()
    assert {row.data_use for row in rows if row.chosen_how["item"] == "gold"} == {False}
    assert {row.data_use for row in rows if row.chosen_how["item"] == "work"} == {True}
    (member,) = projects_people(store, lead, project)
    assert member.gold_answers == 4
    assert member.trust == pytest.approx((member.gold_accuracy * 4 + 1.5) / 6, abs=1e-4)


def projects_people(store: Store, lead: Any, project: str) -> list[Any]:
    from ziggurat.workbench.labelling.progress import people_of

    return people_of(store, lead, project)


def test_the_schema_refuses_a_second_answer_in_a_slot_and_a_slot_that_is_not_there(store: Store) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead)
    (only,) = add(store, lead, project, an_entry())
    rank(store, ana, take(store, ana, project))
    with store.read() as conn:
        row = dict(conn.execute(select(answers)).one()._mapping)
    for slot, person in ((0, bo), (1, bo), (-1, bo)):
        with pytest.raises(DBAPIError), store.write() as conn:
            new = {"id": "answer_x", "person_id": person.person_id, "slot": slot}
            conn.execute(insert(answers).values(row | new))
    lease = {"workspace_id": lead.workspace_id, "subject_kind": "item", "subject_id": only, "slot": 0}
    lease |= {"version": 0, "expires_at": 1, "created_at": 1}
    with pytest.raises(DBAPIError), store.write() as conn:
        for n, who in enumerate((ana, bo)):
            conn.execute(insert(leases).values({**lease, "id": f"l{n}", "person_id": who.person_id}))


def test_a_paused_project_gives_nothing(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    add(store, lead, project, an_entry())
    projects.change_project(store, lead, project, {"status": "paused"})
    with pytest.raises(Conflict, match="paused"):
        queue.next_item(store, ana, project)


def test_members_only_projects_do_not_exist_for_others(store: Store) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead, open_to="members")
    add(store, lead, project, an_entry())
    members.add_member(store, lead, project, ana.person_id)
    assert take(store, ana, project)
    with pytest.raises(NotFound):
        queue.next_item(store, bo, project)
    assert [one["id"] for one in projects.mine(store, ana)] == [project]
    assert projects.mine(store, bo) == []


def test_an_item_that_a_lead_assigns_after_a_skip_can_be_skipped_again(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    (only,) = add(store, lead, project, an_entry())
    take(store, ana, project)
    answering.skip(store, ana, only, reason="unclear")
    assigning.assign(store, lead, project, item_ids=[only], person_ids=[ana.person_id])
    assert take(store, ana, project).item_id == only
    assert answering.skip(store, ana, only, reason="upsetting") == {"skips": 1, "halted": False}
    assert why_none(store, ana, project) == "none_left"


def test_an_item_is_assigned_beside_somebody_who_holds_it(store: Store) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead)
    (only,) = add(store, lead, project, an_entry())
    held = take(store, ana, project)
    assigning.assign(store, lead, project, item_ids=[only], person_ids=[bo.person_id])
    assert rank(store, ana, held).counts
    assert rank(store, bo, take(store, bo, project)).counts
    assert items.get_item(store, lead, only).answers == 2


def test_an_answer_to_gold_is_listed_and_changed_like_any_other_without_effect(store: Store) -> None:
    from ziggurat.workbench.labelling import progress

    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead, gold_pct=50, suggestions="after_first_choice")
    known, right = {"ranks": {"c1": 1, "c2": 2}}, {"ranks": {"c1": 1, "c2": 2}}
    hint = {"value": {"ranks": {"c1": 2, "c2": 1}}, "agent": "rm"}
    (gold,) = add(store, lead, project, an_entry(0, kind="gold", gold=known, suggestion=hint))
    add(store, lead, project, *(an_entry(n) for n in range(1, 4)))
    while (task := take(store, ana, project)).item_id != gold:
        rank(store, ana, task)
    assert task.has_suggestion
    assert answering.suggestion(store, ana, gold, first_choice=right)["agent"] == "rm"
    rank(store, ana, task, 2, 1)
    mine = progress.my_answers(store, ana, project)
    assert mine[0]["item_id"] == gold
    assert all(one["changeable"] for one in mine)
    answering.opened(store, ana, gold)
    assert answering.submit(store, ana, gold, right).counts
    (member,) = projects_people(store, lead, project)
    assert member.trust == pytest.approx(0.5), "(0 + 1.5) / 3: the first answer is scored"
    answering.discard(store, ana, gold)
    assert members.flag(store, lead, project, ana.person_id, reason="careless") == pytest.approx(0.4)
