"""`ziggurat key import`: a key file taken over into the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from ziggurat.cli.main import run as ziggurat
from ziggurat.product import keys, people
from ziggurat.product.registration import set_up, setup_token
from ziggurat.service.access.keys import new_key
from ziggurat.store.store import Store


def test_a_key_file_becomes_keys_of_the_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, address = tmp_path / "keys.jsonl", str(tmp_path / "here.db")
    secret = new_key(file, "ana", requests_per_minute=7)
    new_key(file, "ops", admin=True)
    file.write_text(file.read_text() + file.read_text())
    store = Store.open(address)
    try:
        token = str(setup_token(store))
        owner = set_up(store, token=token, email="a@example.org", name="A", password="correct horse battery")
        assert ziggurat(["key", "import", str(file), "--store", address]) == 0
        printed = capsys.readouterr()
        assert "ana" in printed.out
        assert "ops" in printed.out
        assert "2 new keys" in printed.err
        found = keys.principal_of_key(store, secret)
        assert found is not None
        assert (found[0].person_id, found[1].limits["requests_per_minute"]) == (owner.id, 7)
        assert ziggurat(["key", "import", str(file), "--store", address]) == 0
        assert "0 new keys" in capsys.readouterr().err
        assert len(keys.list_keys(store, people.local_principal(store))) == 2
    finally:
        store.close()


def test_a_file_with_a_wrong_line_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, address = tmp_path / "keys.jsonl", str(tmp_path / "here.db")
    new_key(file, "ana")
    file.write_text(file.read_text() + "nothing\n")
    assert ziggurat(["key", "import", str(file), "--store", address]) != 0
    assert "line 2" in " ".join(capsys.readouterr().err.split())
    store = Store.open(address)
    try:
        assert keys.list_keys(store, people.local_principal(store)) == []
    finally:
        store.close()
