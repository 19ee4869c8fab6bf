"""The audit over HTTP: a page of it reads what is new, and a change from outside shows when all is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ziggurat.store import audit as chain
from ziggurat.store.store import Store
from ziggurat.store.tables.workspace import audit_events as events

Open = Callable[..., httpx.Client]
ENTRIES = 5_000


def filled(path: Path, workspace_id: str) -> None:
    """A long chain, as it would have grown."""
    store = Store.open(path)
    with store.write() as conn:
        seq, previous = chain.head(conn)
        rows = []
        for at in range(seq + 1, seq + 1 + ENTRIES):
            row = dict.fromkeys(chain.HASHED) | {"detail": {}, "ip_prefix": "", "request_id": ""}
            row |= {"seq": at, "workspace_id": workspace_id, "at": at, "actor_kind": "system", "action": "x"}
            row |= {"prev_hash": previous}
            previous = chain.entry_hash(row)
            rows.append({**row, "hash": previous})
        conn.execute(events.insert(), rows)
    store.close()


def listed(client: httpx.Client, **query: Any) -> dict[str, Any]:
    answer = client.get("/api/admin/audit", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_pages_of_a_long_audit_do_not_read_it_again(
    open_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_house()
    filled(tmp_path / "ziggurat.db", client.get("/api/me").json()["workspace"]["id"])
    hashed, entry_hash = [0], chain.entry_hash

    def counted(row: Any) -> str:
        hashed[0] += 1
        return entry_hash(row)

    monkeypatch.setattr(chain, "entry_hash", counted)
    first = listed(client)
    assert (len(first["data"]), first["broken"]) == (100, None)
    whole = first["verified_at"]
    assert whole.endswith("Z")
    assert hashed[0] >= ENTRIES, "the first page after a start verifies the whole chain"
    hashed[0] = 0
    client.put("/api/admin/settings", json={"trash_days": 7})
    hashed[0] = 0
    page = first
    for _ in range(5):
        page = listed(client, cursor=page["next"])
        assert (page["broken"], page["verified_at"]) == (None, whole)
    assert listed(client)["data"][0]["action"] == "settings.change"
    assert hashed[0] == 1, "only the new entry was read"
    hashed[0] = 0
    again = listed(client, verify="true")
    assert again["broken"] is None
    assert again["verified_at"] > whole
    assert hashed[0] > ENTRIES


def test_a_change_from_outside_shows_when_the_whole_chain_is_read(open_house: Open, tmp_path: Path) -> None:
    client = open_house()
    for days in (5, 6, 7):
        client.put("/api/admin/settings", json={"trash_days": days})
    assert listed(client)["broken"] is None
    other = sqlite3.connect(tmp_path / "ziggurat.db")
    other.execute("DROP TRIGGER audit_event_no_update")
    other.execute("UPDATE audit_event SET action = 'nothing' WHERE seq = 2")
    other.commit()
    other.close()
    assert "entry 2" in listed(client, verify="true")["broken"]
    assert "entry 2" in listed(client)["broken"]


def test_a_chain_that_was_cut_short_stays_broken(open_house: Open, tmp_path: Path) -> None:
    client = open_house()
    for days in (5, 6, 7):
        client.put("/api/admin/settings", json={"trash_days": days})
    assert listed(client)["broken"] is None
    other = sqlite3.connect(tmp_path / "ziggurat.db")
    other.execute("DROP TRIGGER audit_event_no_delete")
    (last,) = other.execute("SELECT max(seq) FROM audit_event").fetchone()
    other.execute("DELETE FROM audit_event WHERE seq = ?", (last,))
    other.commit()
    other.close()
    for query in ({}, {}, {"verify": "true"}, {}):
        found = listed(client, **query)
        assert f"entry {last}" in str(found["broken"])
        assert found["verified_at"].endswith("Z")
