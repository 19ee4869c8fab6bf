"""Releases: named, immutable, with lineage.

    release = sign(store, principal, gate_id, name="assistant-4")   # a person signs a gate that is passed

A release is a row that the database refuses to change, and the folder $ZIGGURAT_HOME/releases/NAME with the model
(`model/`), release.json, and the settings that the next turn inherits. `channel.py` says what serves to whom.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.product.errors import NotFound
from ziggurat.store.clock import iso
from ziggurat.store.store import Store
from ziggurat.store.tables.releases import (
    releases,
)

CHANNEL = "assistant"
FORMAT = 1
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}")


@dataclass(frozen=True)
class Release:
    id: str
    name: str
    parent_id: str | None
    turn_id: str | None
    gate_id: str | None
    signature_id: str | None
    model: str
    weights: str
    files: str
    datasets: list[dict[str, Any]]
    code: str
    seed: int | None
    scores: dict[str, Any]
    signed_by: str | None
    note: str
    created_at: str


def row_of(conn: Connection, release_id: str) -> Any:
    return conn.execute(select(releases).where(releases.c.id == release_id)).one()


def any_of(conn: Connection, workspace_id: str) -> bool:
    return (
        conn.execute(select(releases.c.id).where(releases.c.workspace_id == workspace_id)).first() is not None
    )


def get(store: Store, workspace_id: str, name_or_id: str) -> Release:
    with store.read() as conn:
        return release_of(find(conn, workspace_id, name_or_id))


def find(conn: Connection, workspace_id: str, name_or_id: str) -> Any:
    wanted = select(releases).where(releases.c.workspace_id == workspace_id)
    row = conn.execute(wanted.where((releases.c.id == name_or_id) | (releases.c.name == name_or_id))).first()
    if row is None:
        raise NotFound(f"there is no release {name_or_id[:80]}.")
    return row


def listed(store: Store, workspace_id: str) -> list[Release]:
    """Newest first."""
    wanted = select(releases).where(releases.c.workspace_id == workspace_id).order_by(releases.c.id.desc())
    with store.read() as conn:
        return [release_of(row) for row in conn.execute(wanted)]


def lineage(store: Store, workspace_id: str, name_or_id: str) -> list[Release]:
    """The release, its parent, and so on to the first one."""
    found = [get(store, workspace_id, name_or_id)]
    while found[-1].parent_id is not None:
        found.append(get(store, workspace_id, found[-1].parent_id))
    return found


def release_of(row: Any) -> Release:
    return Release(
        id=row.id,
        name=row.name,
        parent_id=row.parent_id,
        turn_id=row.turn_id,
        gate_id=row.gate_id,
        signature_id=row.signature_id,
        model=row.model,
        weights=row.weights,
        files=row.files,
        datasets=list(row.datasets),
        code=row.code,
        seed=row.seed,
        scores=dict(row.scores),
        signed_by=row.signed_by,
        note=row.note,
        created_at=iso(row.created_at),
    )


def by_ids(store: Store, ids: Sequence[str | None]) -> dict[str, Release]:
    wanted = [one for one in ids if one is not None]
    with store.read() as conn:
        rows = conn.execute(select(releases).where(releases.c.id.in_(wanted))).all()
    return {row.id: release_of(row) for row in rows}
