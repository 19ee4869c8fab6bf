"""True deletion: a canary string that a person wrote is in no table, index or page of the file afterwards."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import inspect, select, text
from tests.product.house import a_chat, answered, join
from tests.stores import Clock

from ziggurat.product import (
    chats,
    deletion,
    folders,
    generations,
    held,
    judgements,
    people,
    personas,
    registration,
    retention,
    search,
    sessions,
    shares,
    turns,
    workspaces,
)
from ziggurat.product.errors import Conflict, Forbidden, NotFound
from ziggurat.product.objects import Message
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.workspace import tombstones

CANARY = "canaryquetzal"
CHINESE = "凰鸟暗号"


def traces(store: Store, *needles: str) -> list[str]:
    """Where one of the strings is found: tables with their indexes, and for SQLite every byte of every file."""
    found = []
    with store.read() as conn:
        for table in inspect(conn).get_table_names():
            for row in conn.execute(text(f'SELECT * FROM "{table}"')):
                found += [f"table {table}: {n}" for n in needles if n in str(tuple(row))]
        if store.kind == "postgresql":
            words = "SELECT word FROM ts_stat('SELECT tokens FROM search_entry')"
            found += [
                f"index: {w}" for (w,) in conn.execute(text(words)) if any(w.startswith(n) for n in needles)
            ]
    if store.path is not None:
        for file in store.path.parent.glob(store.path.name + "*"):
            data = file.read_bytes()
            found += [f"file {file.name}: {n}" for n in needles if n.encode() in data]
    return found


def fill(store: Store, principal: Principal, rounds: int = 30) -> None:
    """Other people's and other chats' text around it, in pages that split and merge."""
    chance = random.Random(3)
    words = ["river", "stone", "lamp", "水", "运河", "barley"]
    for _ in range(rounds):
        said = " ".join(chance.choices(words, k=chance.randint(1, 400)))
        a_chat(store, principal, (said, said[::-1]))


def everything(store: Store, principal: Principal) -> str:
    """A chat whose canary stands in every place that a person's text can get to."""
    folder = folders.create_folder(store, principal, name=f"folder {CANARY}")
    persona = personas.create_persona(store, principal, name=CANARY, system_prompt=f"You are {CANARY}.")
    chat = chats.create_chat(
        store,
        principal,
        title=f"about {CANARY}",
        folder_id=folder.id,
        persona_id=persona.id,
        system_prompt=f"know {CANARY}",
    )
    turn = turns.begin_turn(
        store, principal, chat.id, text=f"{CANARY} {CHINESE} " * 200, parent_id=None, model="tiny"
    )
    generations.append(store, str(turn.generation_id), [{"type": "text", "text": f"yes {CANARY}"}])
    generations.finish(store, str(turn.generation_id), finish_reason="stop", reasoning=f"think {CHINESE}")
    judgements.judge(store, principal, chat.id, turn.answer.id, value=-1, comment=f"why {CANARY}?")
    judgements.rewrite(store, principal, chat.id, turn.answer.id, text=f"better {CANARY}")
    judgements.report(store, principal, chat.id, turn.answer.id, kind="feedback", reason=CANARY)
    shares.create_share(store, principal, chat.id)
    edited = turns.edit_message(store, principal, chat.id, turn.answer.id, text=f"edited {CANARY}", run=False)
    assert isinstance(edited, Message)
    held.hold(
        store,
        workspace_id=principal.workspace_id,
        prompt=CANARY,
        text=CANARY,
        rule_id=None,
        stage="after",
        chat_id=chat.id,
        message_id=turn.answer.id,
        person_id=principal.person_id,
    )
    with pytest.raises(turns.Invalid):
        turns.begin_turn(store, principal, chat.id, text="", parent_id=None, model="tiny")
    return chat.id


@pytest.fixture
def ana(store: Store) -> Principal:
    return join(store)


def test_a_deleted_chat_leaves_no_trace(store: Store, ana: Principal) -> None:
    local = people.local_principal(store)
    fill(store, local)
    chat_id = everything(store, ana)
    fill(store, local, 5)
    assert traces(store, CANARY, CHINESE)
    for folder in folders.list_folders(store, ana):
        folders.delete_folder(store, ana, folder.id)
    deletion.delete_chat(store, ana, chat_id)
    for persona in personas.list_personas(store, ana):
        personas.delete_persona(store, ana, persona.id)
    assert traces(store, CANARY, CHINESE) == []
    with pytest.raises(NotFound):
        chats.get_chat(store, ana, chat_id)
    assert search.search(store, local, "river")


def test_a_deleted_message_takes_what_hangs_on_it_and_nothing_else(store: Store, ana: Principal) -> None:
    chat = a_chat(store, ana, ("keep this", "kept"))
    leaf = str(chat.active_leaf_id)
    user, answer = answered(store, ana, chat.id, f"{CANARY} {CHINESE}", f"{CANARY} back")
    answered(store, ana, chat.id, "below", CHINESE)
    judgements.judge(store, ana, chat.id, answer.id, value=1, comment=CANARY)
    below = str(chats.get_chat(store, ana, chat.id).active_leaf_id)
    judgements.judge(store, ana, chat.id, below, value=1)  # its prompt holds the canary
    judgements.judge(store, ana, chat.id, leaf, value=1)
    share = shares.create_share(store, ana, chat.id)
    after = deletion.delete_message(store, ana, chat.id, user.id)
    chats.change_chat(store, ana, chat.id, {"title": "x"})
    assert traces(store, CANARY, CHINESE) == []
    assert after.active_leaf_id == leaf
    opened = chats.open_chat(store, ana, chat.id).messages
    assert [m.content for m in opened] == ["keep this", "kept"]
    assert opened[-1].judgement is not None
    assert shares.list_shares(store, ana)[0].revoked_at is not None
    with pytest.raises(NotFound):
        shares.view_share(store, str(share.url).rpartition("/")[2])


def test_a_pick_goes_with_either_of_its_answers(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana)
    pair = turns.begin_pair(store, ana, chat.id, text="which?", parent_id=None, models=("a", "b"))
    for gid, said in zip(pair.generation_ids, ("first", CANARY), strict=True):
        generations.finish(store, gid, finish_reason="stop", content=said)
    ids = [answer.id for answer in pair.answers]
    judgements.pick(store, ana, chat.id, shown=ids, winner=ids[0])
    deletion.delete_message(store, ana, chat.id, ids[1])
    assert traces(store, CANARY) == []


def test_a_running_branch_is_not_deleted(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana)
    turn = turns.begin_turn(store, ana, chat.id, text="one", parent_id=None, model="tiny")
    assert turn.user is not None
    with pytest.raises(Conflict):
        deletion.delete_message(store, ana, chat.id, turn.user.id)


def test_deleting_a_chat_ends_its_running_answer(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana)
    turn = turns.begin_turn(store, ana, chat.id, text="one", parent_id=None, model="tiny")
    deletion.delete_chat(store, ana, chat.id)
    with pytest.raises(NotFound):
        generations.append(store, str(turn.generation_id), [{"type": "text", "text": "late"}])


def test_a_deleted_account_leaves_nothing_but_ids(store: Store) -> None:
    token = registration.setup_token(store)
    password = "correct horse battery"
    registration.set_up(store, token=str(token), email="o@example.org", name="Owner", password=password)
    owner = people.local_principal(store)
    workspaces.change_settings(store, owner, {"registration": "open"})
    registration.register(store, email=f"{CANARY}@example.org", name=CHINESE, password=password)
    _, cookie, _ = sessions.log_in(
        store, email=f"{CANARY}@example.org", password=password, user_agent=f"agent {CANARY}"
    )
    found = sessions.principal_of(store, cookie)
    assert found is not None
    ana = found[0]
    people.change_me(store, ana, {"preferences": {"note": CANARY}})
    fill(store, owner, 10)
    for _ in range(2):
        everything(store, ana)
    with pytest.raises(Forbidden):
        deletion.delete_account(store, ana, password="wrong wrong wrong")
    deletion.delete_account(store, ana, password=password)
    assert traces(store, CANARY, CHINESE) == []
    assert sessions.principal_of(store, cookie) is None
    with store.read() as conn:
        buried = set(conn.execute(select(tombstones.c.object_kind)).scalars())
    assert buried == {"person", "chat", "judgement"}


def test_chats_with_a_deleted_persons_shared_persona_keep_its_text(store: Store) -> None:
    dev, bo = join(store, "developer"), join(store)
    join(store, "owner")
    persona = personas.create_persona(store, dev, name="Guide", system_prompt="Be brief.", shared=True)
    chat = chats.create_chat(store, bo, persona_id=persona.id)
    deletion.delete_account(store, dev)
    kept = chats.get_chat(store, bo, chat.id)
    assert (kept.system_prompt, kept.persona_id) == ("Be brief.", None)


def test_the_last_owner_goes_only_when_alone(store: Store) -> None:
    owner = join(store, "owner")
    other = join(store)
    with pytest.raises(Conflict):
        deletion.delete_account(store, owner)
    deletion.delete_account(store, other)
    deletion.delete_account(store, owner)
    assert people.local_principal(store).person_id != owner.person_id


def test_the_trash_is_emptied_at_once(store: Store, ana: Principal) -> None:
    for text_ in (CANARY, CHINESE):
        chats.trash_chat(store, ana, a_chat(store, ana, (text_, text_)).id)
    kept = a_chat(store, ana, ("keep", "me"))
    assert deletion.empty_trash(store, ana) == 2
    assert traces(store, CANARY, CHINESE) == []
    assert [c.id for c in chats.list_chats(store, ana).data] == [kept.id]


def test_retention_deletes_what_is_old_and_says_so_before(store: Store, clock: Clock) -> None:
    owner = join(store, "owner")
    workspaces.change_settings(store, owner, {"retention_days": 30, "trash_days": 2})
    old = a_chat(store, owner, (CANARY, "old"))
    clock.move(days=20)
    thrown = a_chat(store, owner, ("thrown", "away"))
    chats.trash_chat(store, owner, thrown.id)
    young = a_chat(store, owner, ("young", "one"))
    clock.move(days=11)
    would = retention.run(store, dry_run=True)
    assert set(would.chats) == {old.id, thrown.id}
    assert chats.get_chat(store, owner, old.id)
    did = retention.run(store)
    assert set(did.chats) == {old.id, thrown.id}
    assert did.events == 0
    assert [c.id for c in chats.list_chats(store, owner).data] == [young.id]
    assert traces(store, CANARY) == []


def test_expired_shares_lose_their_snapshot(store: Store, ana: Principal, clock: Clock) -> None:
    chat = a_chat(store, ana, ("one", "two"))
    when: Any = "2100-01-01T00:00:00Z"
    share = shares.create_share(store, ana, chat.id, expires_at=when)
    clock.move(days=40_000)
    with pytest.raises(NotFound):
        shares.view_share(store, str(share.url).rpartition("/")[2])
    assert retention.run(store).shares == 1
