"""Tombstones: the ids of what was deleted, so that later data sets leave it out; earlier ones lose its texts."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, null, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ziggurat.store.store import Store
from ziggurat.store.tables.datasets import dataset_items
from ziggurat.store.tables.releases import gates
from ziggurat.store.tables.workspace import tombstones

BATCH = 400


def bury(conn: Connection, store: Store, workspace_id: str, kind: str, ids: Sequence[str]) -> None:
    """Tombstones. Records of dataset versions that were made from a judgement keep their provenance, without texts."""
    make = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    rows = [
        {"object_id": one, "object_kind": kind, "workspace_id": workspace_id, "deleted_at": store.now()}
        for one in ids
    ]
    for at in range(0, len(rows), BATCH):
        conn.execute(make(tombstones).on_conflict_do_nothing(), rows[at : at + BATCH])
    if kind == "judgement":
        for at in range(0, len(ids), BATCH):
            of_these = dataset_items.c.judgement_id.in_(ids[at : at + BATCH])
            conn.execute(update(dataset_items).where(of_these).values(content=null()))
        _forget_samples(conn, set(ids))


def _forget_samples(conn: Connection, judgement_ids: set[str]) -> None:
    """Answers that a gate shows side by side leave with the judgement whose question they answer."""
    with_samples = select(gates.c.id, gates.c.samples).where(gates.c.samples.is_not(None))
    for row in conn.execute(with_samples).all():
        left = [one for one in row.samples if one.get("judgement_id") not in judgement_ids]
        if len(left) != len(row.samples):
            conn.execute(update(gates).where(gates.c.id == row.id).values(samples=left))
