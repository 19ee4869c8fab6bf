"""Backups: made while people write, verified by hash and by count, restored into an empty place of either kind."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from tests.product.house import a_chat, join
from tests.stores import Databases

from ziggurat.cli.main import run
from ziggurat.errors import RunError, UsageError
from ziggurat.product import chats, deletion, judgements, people, personas, search, shares
from ziggurat.store import backup
from ziggurat.store.state import state_of, verify_store
from ziggurat.store.store import Store


def fill(store: Store) -> tuple[str, str]:
    ana = people.local_principal(store)
    persona = personas.create_persona(store, ana, name="Guide", system_prompt="Be brief.")
    chat = a_chat(store, ana, ("the canal 运河", "by the water"), ("second", "answer"))
    chats.change_chat(store, ana, chat.id, {"persona_id": persona.id, "settings": {"temperature": 0.5}})
    judgements.judge(store, ana, chat.id, str(chat.active_leaf_id), value=1, comment="good")
    shares.create_share(store, ana, chat.id)
    gone = a_chat(store, ana, ("gone", "gone"))
    deletion.delete_chat(store, ana, gone.id)
    return chat.id, ana.person_id


@pytest.fixture(params=["sqlite", "postgresql"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store of each kind, whatever kind the store of the test is."""
    socket = request.getfixturevalue("postgres_socket") if request.param == "postgresql" else None
    return Databases(request.param, tmp_path, socket).fresh()


def test_a_backup_is_restored_into_either_kind(store: Store, other: str, tmp_path: Path) -> None:
    chat_id, person_id = fill(store)
    manifest = backup.back_up(store, tmp_path / "copy")
    assert backup.verify(tmp_path / "copy") == manifest
    there = Store.open(other)
    try:
        backup.restore(tmp_path / "copy", there)
        ana = people.local_principal(there)
        assert ana.person_id == person_id
        here, restored = (chats.open_chat(s, ana, chat_id) for s in (store, there))
        assert restored == here
        for query in ("canal", "运河"):
            ours, theirs = ({h.message_id for h in search.search(s, ana, query)} for s in (store, there))
            assert ours == theirs != set()
        assert judgements.list_judgements(there, ana).data == judgements.list_judgements(store, ana).data
        assert verify_store(there)
        assert state_of(there)["audit"] == state_of(store)["audit"]
        a_chat(there, ana, ("life", "goes on"))
        with pytest.raises(UsageError, match="holds data"):
            backup.restore(tmp_path / "copy", there)
    finally:
        there.close()


def test_a_backup_while_people_write_is_whole(store: Store, tmp_path: Path) -> None:
    ana, stop = people.local_principal(store), threading.Event()

    def write() -> None:
        while not stop.is_set():
            a_chat(store, ana, ("q", "a"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for i in range(3):
            manifest = backup.back_up(store, tmp_path / str(i))
            assert backup.verify(tmp_path / str(i)) == manifest
            assert manifest["rows"]["message"] <= 2 * manifest["rows"]["chat"]
    finally:
        stop.set()
        writer.join()


def test_a_damaged_backup_is_noticed(store: Store, tmp_path: Path) -> None:
    fill(store)
    folder = tmp_path / "copy"
    manifest = backup.back_up(store, folder)
    (name,) = manifest["files"]
    whole = (folder / name).read_bytes()
    half = len(whole) // 2
    for damaged in (
        whole[:-1],
        b"x" + whole[1:],
        whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :],
    ):
        (folder / name).write_bytes(damaged)
        with pytest.raises(RunError, match="damaged"):
            backup.verify(folder)
    (folder / name).write_bytes(whole)
    text = json.loads((folder / "manifest.json").read_text())
    text["rows"]["message"] += 1
    (folder / "manifest.json").write_text(json.dumps(text))
    with pytest.raises(RunError, match="rows differ"):
        backup.verify(folder)
    with pytest.raises(UsageError, match="exists"):
        backup.back_up(store, folder)


def test_nothing_is_kept_of_a_restore_that_fails(store: Store, tmp_path: Path, databases: Databases) -> None:
    fill(store)
    folder = tmp_path / "copy"
    backup.back_up(store, folder)
    text = json.loads((folder / "manifest.json").read_text())
    text["schema"] = "0000"
    (folder / "manifest.json").write_text(json.dumps(text))
    there = Store.open(databases.fresh())
    try:
        with pytest.raises(RunError, match="schema 0000"):
            backup.restore(folder, there)
        assert not any(state_of(there)["rows"].values())
    finally:
        there.close()


def test_the_commands(
    store: Store, databases: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(store)
    join(store)
    address = store.url.render_as_string(hide_password=False) if store.path is None else str(store.path)
    target, there = str(tmp_path / "copy"), databases.fresh()
    assert run(["store", "status", "--store", address]) == 0
    assert "message" in capsys.readouterr().out
    assert run(["store", "status", "--store", address, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["rows"]["person"], facts["rows"]["message"]) == (2, 4)
    assert run(["store", "backup", target, "--store", address]) == 0
    assert capsys.readouterr().out.strip() == target
    assert run(["store", "verify", target]) == 0
    assert run(["store", "restore", target, "--store", there]) == 0
    assert run(["store", "verify", "--store", there]) == 0
    assert capsys.readouterr().out.count("is whole") == 2
    assert run(["store", "restore", target, "--store", there]) == 2
    assert "holds data" in capsys.readouterr().err
    assert run(["store", "verify", str(tmp_path / "nothing")]) == 2
