"""Who changes their mind is in no later version; earlier ones and their releases say so; deleted texts are gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from tests.flywheel.people import a_member, a_talk
from tests.product.house import join

from ziggurat.flywheel.dataset import building, versions, withdrawal
from ziggurat.flywheel.dataset.objects import BuildSettings, DatasetVersion
from ziggurat.home import located
from ziggurat.product import chats, consents, deletion, judgements
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.datasets import dataset_items
from ziggurat.store.tables.releases import releases

PLAIN = BuildSettings(exams=(), held_out_people=0, held_out_time=0)
CANARY = "zanzibar-kumquat"


@pytest.fixture(autouse=True)
def _home(ziggurat_home: Path) -> None:
    """Versions are written into the home of this test."""


def one_judged(store: Store, member: Principal, text: str) -> tuple[str, str]:
    chat_id, (answer,) = a_talk(store, member, (f"What is {text}?", f"It is {text}."))
    judgements.judge(store, member, chat_id, answer.id, value=1)
    return chat_id, answer.id


def texts(version: DatasetVersion) -> str:
    return "".join(path.read_text() for path in located(version.path).glob("*.jsonl"))


def a_release(store: Store, principal: Principal, name: str, version: DatasetVersion) -> None:
    row = {
        "id": f"rel_{name}",
        "workspace_id": principal.workspace_id,
        "name": name,
        "model": "m",
        "weights": "w",
        "files": "f",
        "datasets": [{"id": version.id, "name": version.ref, "sha256": version.sha256}],
        "code": "c",
        "scores": {"win rate": {"figure": 0.6, "verdict": "passed"}},
        "note": "",
        "created_at": store.now(),
    }
    with store.write() as conn:
        conn.execute(insert(releases).values(row))


Act = Callable[[Store, Principal, str, str], object]
ACTS: dict[str, tuple[Act, str]] = {
    "takes the thumb back": (
        lambda store, who, chat, message: judgements.judge(store, who, chat, message, value=0),
        "withdrawn",
    ),
    "withdraws consent": (
        lambda store, who, chat, message: consents.set_consent(store, who, "improve_model", False),
        "no_consent",
    ),
    "switches data use off": (
        lambda store, who, chat, message: chats.change_chat(store, who, chat, {"data_use": False}),
        "no_data_use",
    ),
    "throws the chat into the trash": (
        lambda store, who, chat, message: chats.trash_chat(store, who, chat),
        "no_data_use",
    ),
    "deletes the chat": (
        lambda store, who, chat, message: deletion.delete_chat(store, who, chat),
        "deleted",
    ),
    "deletes the answer": (
        lambda store, who, chat, message: deletion.delete_message(store, who, chat, message),
        "deleted",
    ),
    "deletes the account": (
        lambda store, who, chat, message: deletion.delete_account(store, who),
        "deleted",
    ),
}


@pytest.mark.parametrize("act", ACTS)
def test_who_changes_their_mind_is_in_no_later_version(quick_store: Store, act: str) -> None:
    owner, stays, leaves = join(quick_store, "owner"), a_member(quick_store), a_member(quick_store)
    one_judged(quick_store, stays, "a ferry")
    chat_id, message_id = one_judged(quick_store, leaves, CANARY)
    before = building.build(quick_store, owner, settings=PLAIN)
    a_release(quick_store, owner, "assistant-2", before)
    assert CANARY in texts(before)
    assert withdrawal.affected(quick_store, owner, before.id).withdrawn == 0
    do, reason = ACTS[act]
    do(quick_store, leaves, chat_id, message_id)
    after = building.build(quick_store, owner, settings=PLAIN)
    assert after.n == 2
    assert CANARY not in texts(after)
    assert "a ferry" in texts(after)
    found = withdrawal.affected(quick_store, owner, "feedback/v1")
    assert (found.records, found.withdrawn, found.reasons) == (2, 1, {reason: 1})
    assert found.releases == ["assistant-2"]
    assert found.advice is not None
    assert "assistant-2 learned from it" in found.advice
    assert withdrawal.affected(quick_store, owner, "feedback/v2").advice is None
    assert [one.ref for one in withdrawal.all_affected(quick_store, owner)] == ["feedback/v1"]


def test_deleted_texts_leave_the_store_at_once_and_the_files_at_the_next_cleaning(store: Store) -> None:
    owner, stays, leaves = join(store, "owner"), a_member(store), a_member(store)
    one_judged(store, stays, "a ferry")
    chat_id, _ = one_judged(store, leaves, CANARY)
    version = building.build(store, owner, settings=PLAIN)
    deletion.delete_chat(store, leaves, chat_id)
    with store.read() as conn:
        kept = (
            conn.execute(select(dataset_items.c.content).order_by(dataset_items.c.position)).scalars().all()
        )
    assert [one is None for one in kept] == [False, True]
    if store.path is not None:
        assert all(CANARY.encode() not in file.read_bytes() for file in store.path.parent.glob("*.db*"))
    assert withdrawal.clean_files(store) == ["feedback/v1"]
    assert withdrawal.clean_files(store) == []
    assert CANARY not in texts(version)
    assert "a ferry" in texts(version)
    assert withdrawal.affected(store, owner, version.id).deleted == 1
    assert versions.get_version(store, owner, version.id).sha256 == version.sha256


def test_another_thumb_of_the_same_person_is_a_change_and_no_withdrawal(quick_store: Store) -> None:
    owner, member = join(quick_store, "owner"), a_member(quick_store)
    chat_id, message_id = one_judged(quick_store, member, "a ferry")
    version = building.build(quick_store, owner, settings=PLAIN)
    judgements.judge(quick_store, member, chat_id, message_id, value=-1)
    assert withdrawal.affected(quick_store, owner, version.id).withdrawn == 0
    later = building.build(quick_store, owner, settings=PLAIN)
    assert later.card["since_parent"] == {"added": 1, "removed": 1}
