"""The chain of audit entries: each holds the hash of the one before, so that a change of the past shows.

The database refuses to change or delete an entry (a trigger). Whoever can write the file as a whole could still write
a new chain: keep the newest hash elsewhere (`ziggurat store status` prints it) to notice that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from ziggurat.store.tables.workspace import audit_events as events

FIRST = "0" * 64
HASHED = (
    "seq",
    "workspace_id",
    "at",
    "actor_kind",
    "actor_id",
    "action",
    "object_kind",
    "object_id",
    "detail",
    "before_hash",
    "after_hash",
    "ip_prefix",
    "request_id",
    "prev_hash",
)


def append(conn: Connection, entry: Mapping[str, Any]) -> None:
    """Add one entry inside the transaction of what it tells of. Writes are serialised, so the chain has no fork."""
    last = conn.execute(select(events.c.seq, events.c.hash).order_by(events.c.seq.desc()).limit(1)).first()
    row = dict.fromkeys(HASHED) | {"detail": {}, "ip_prefix": "", "request_id": ""} | dict(entry)
    row |= {"seq": last.seq + 1 if last else 1, "prev_hash": last.hash if last else FIRST}
    conn.execute(insert(events).values(**row, hash=entry_hash(row)))


def entry_hash(row: Mapping[str, Any]) -> str:
    """SHA-256 over the entry as JSON with sorted keys."""
    text = json.dumps({name: row[name] for name in HASHED}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def value_hash(value: Any) -> str:
    """The hash of a state before or after a change, which says whether two are equal and nothing else."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def head(conn: Connection) -> tuple[int, str]:
    """Number and hash of the newest entry."""
    last = conn.execute(select(events.c.seq, events.c.hash).order_by(events.c.seq.desc()).limit(1)).first()
    return (last.seq, last.hash) if last else (0, FIRST)


def broken_at(conn: Connection) -> int | None:
    """The first entry that does not fit the one before or its own hash; None where the chain holds."""
    expected, seq = FIRST, 1
    for row in conn.execute(select(events).order_by(events.c.seq)).mappings():
        if row["seq"] != seq or row["prev_hash"] != expected or entry_hash(dict(row)) != row["hash"]:
            return int(row["seq"])
        expected, seq = row["hash"], seq + 1
    return None
