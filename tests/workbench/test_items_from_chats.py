"""Items made from chats: whose chats, what is masked, and what becomes of them when the chat or a person goes."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from tests.product.house import a_chat, answered, join
from tests.workbench.labellers import a_project, add, an_entry, people, rank, take, why_none

from ziggurat.product import chats, consents, deletion, turns
from ziggurat.product.errors import NotFound
from ziggurat.product.generations import finish
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import answers
from ziggurat.store.tables.workspace import tombstones
from ziggurat.workbench.labelling import answering, assigning, items, progress, projects, sources


def a_compared_chat(store: Store, who: Principal, question: str) -> str:
    """A chat whose one question has two answers."""
    chat = a_chat(store, who)
    _user, answer = answered(store, who, chat.id, question, "The first answer.")
    again = turns.regenerate(store, who, chat.id, answer.id, model="tiny")
    finish(store, str(again.generation_id), finish_reason="stop", content="The second answer.")
    return chat.id


def test_only_chats_that_may_be_used_become_items_and_private_data_is_masked(store: Store) -> None:
    lead, ana, bo = join(store, "owner"), join(store), join(store)
    project = a_project(store, lead)
    allowed = a_compared_chat(store, ana, "Write to ana@house.example, please.")
    chats.change_chat(store, ana, allowed, {"data_use": True})
    assert sources.from_chats(store, lead, project)["added"] == [], "the switch alone is not enough"
    consents.set_consent(store, ana, "share_with_experts", True)
    consents.set_consent(store, bo, "share_with_experts", True)
    a_compared_chat(store, bo, "The switch of this one is off.")
    found = sources.from_chats(store, lead, project)
    assert (len(found["added"]), found["chats"]) == (1, 1)
    item = items.get_item(store, lead, found["added"][0])
    assert item.payload["messages"] == [{"role": "user", "content": "Write to [email], please."}]
    assert [one["content"] for one in item.payload["completions"]] == [
        "The first answer.",
        "The second answer.",
    ]
    assert item.payload["completions"][0]["model"] == "tiny"
    assert item.meta == {"masked": {"email": 1}}
    assert sources.from_chats(store, lead, project)["duplicates"] == 1


def test_a_chat_whose_switch_is_off_again_is_given_to_nobody(store: Store) -> None:
    lead, (worker,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    chat = a_compared_chat(store, lead, "hi")
    chats.change_chat(store, lead, chat, {"data_use": True})
    sources.from_chats(store, lead, project)
    chats.change_chat(store, lead, chat, {"data_use": False})
    assert why_none(store, worker, project) == "none_left"
    chats.change_chat(store, lead, chat, {"data_use": True})
    assert why_none(store, lead, project) == "none_left", "the lead wrote it"
    assert take(store, worker, project)


def test_private_data_of_items_that_a_lead_adds_is_marked(store: Store) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)
    said = [{"role": "user", "content": "Mail a@example.org"}]
    marked, plain = add(store, lead, project, an_entry(0, tags=["x"]) | {"messages": said}, an_entry(1))
    item = items.get_item(store, lead, marked)
    assert (item.tags, item.meta) == (["x", "private_data"], {"private_data": {"email": 1}})
    assert items.get_item(store, lead, plain).tags == []
    assert "tags" in items.add_items(store, lead, project, [an_entry(2, tags=5)])["refused"][0]["message"]


def test_a_person_gives_so_many_chats_to_a_project_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PERSON_CAP", 2)
    lead = join(store, "owner")
    project = a_project(store, lead)
    for n in range(3):
        chat = a_compared_chat(store, lead, f"question {n}")
        chats.change_chat(store, lead, chat, {"data_use": True})
    assert len(sources.from_chats(store, lead, project, limit=1)["added"]) == 1
    found = sources.from_chats(store, lead, project)
    assert (len(found["added"]), found["duplicates"], found["capped"]) == (1, 1, 1)
    assert len(items.list_items(store, lead, project).data) == 2


def test_of_questions_with_one_long_beginning_the_project_has_one(store: Store) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)
    begin = "Please write a letter to the harbour master about the ice on the northern canal, and be brief. "
    for text in (f"{begin}Thanks!", f"{begin}Please.", f"{begin * 4}Or else", "Another question."):
        chats.change_chat(store, lead, a_compared_chat(store, lead, text), {"data_use": True})
    found = sources.from_chats(store, lead, project)
    assert (len(found["added"]), found["near_duplicates"]) == (3, 1), (
        "nine tenths are the same, not a quarter"
    )
    again = sources.from_chats(store, lead, project)
    assert (again["added"], again["duplicates"], again["near_duplicates"]) == ([], 3, 1)


def test_a_chat_in_the_trash_is_shown_to_nobody_who_was_given_it(store: Store) -> None:
    lead, (worker, other) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead)
    chat = a_compared_chat(store, lead, "hi")
    chats.change_chat(store, lead, chat, {"data_use": True})
    (item,) = sources.from_chats(store, lead, project)["added"]
    task = take(store, worker, project)
    assigning.assign(store, lead, project, item_ids=[item], person_ids=[other.person_id])
    chats.trash_chat(store, lead, chat)
    for act in (
        lambda: answering.opened(store, worker, item),
        lambda: answering.save_draft(store, worker, item, {}),
        lambda: rank(store, worker, task),
    ):
        with pytest.raises(NotFound):
            act()
    assert why_none(store, worker, project) == "none_left", "the lease is given back"
    assert why_none(store, other, project) == "none_left", "assigned, but not usable"
    chats.restore_chat(store, lead, chat)
    assert take(store, other, project).item_id == item


def test_a_deleted_chat_takes_its_items_and_judgements_along(store: Store) -> None:
    lead, (worker,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    chat = a_compared_chat(store, lead, "a secret canary")
    chats.change_chat(store, lead, chat, {"data_use": True})
    sources.from_chats(store, lead, project)
    done = rank(store, worker, take(store, worker, project))
    deletion.delete_chat(store, lead, chat, clean=False)
    assert items.list_items(store, lead, project).data == []
    with store.read() as conn:
        assert conn.execute(select(func.count()).select_from(judgements)).scalar_one() == 0
        assert conn.execute(select(func.count()).select_from(answers)).scalar_one() == 0
        buried = set(conn.execute(select(tombstones.c.object_id)).scalars())
    assert {done.answer.judgement_id, done.answer.item_id} <= buried


def test_a_deleted_account_leaves_its_items_open_again(store: Store) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead, min_answers=2)
    first, second = add(store, lead, project, an_entry(0), an_entry(1))
    for who in (ana, bo):
        assert rank(store, who, take(store, who, project)).counts
    rank(store, ana, take(store, ana, project))
    (written,) = add(store, lead, project, an_entry(2, authors=[ana.person_id]))
    deletion.delete_account(store, ana)
    found = {one.id: (one.status, one.answers) for one in items.list_items(store, lead, project).data}
    assert found == {first: ("in_progress", 1), second: ("pending", 0)}
    assert written not in found
    assert [one.person_id for one in progress.people_of(store, lead, project)] == [bo.person_id]


def test_a_project_is_deleted_from_the_archive_with_everything_in_it(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    add(store, lead, project, an_entry())
    rank(store, ana, take(store, ana, project))
    projects.change_project(store, lead, project, {"status": "archived"})
    assert projects.list_projects(store, lead) == []
    projects.delete_project(store, lead, project)
    with store.read() as conn:
        assert conn.execute(select(func.count()).select_from(judgements)).scalar_one() == 0


def test_the_last_person_takes_the_projects_along(store: Store) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)
    add(store, lead, project, an_entry())
    deletion.delete_account(store, lead)
    assert projects.list_projects(store, join(store, "owner", workspace_id=lead.workspace_id)) == []
