"""What remembers that something was deleted: ids and kinds, no texts."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from ziggurat.store.store import Store
from ziggurat.store.tables.workspace import tombstones

BATCH = 400


def bury(conn: Connection, store: Store, workspace_id: str, kind: str, ids: Sequence[str]) -> None:
    """Tombstones."""
    make = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    rows = [
        {"object_id": one, "object_kind": kind, "workspace_id": workspace_id, "deleted_at": store.now()}
        for one in ids
    ]
    for at in range(0, len(rows), BATCH):
        conn.execute(make(tombstones).on_conflict_do_nothing(), rows[at : at + BATCH])
