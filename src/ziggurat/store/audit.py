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
READ_AT_ONCE = 1_000
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


START = (0, FIRST)
"""Number and hash of what comes before the first entry."""


def broken_at(conn: Connection) -> int | None:
    """The first entry that does not fit the one before or its own hash; None where the chain holds."""
    return checked(conn, START)[1]


def checked(conn: Connection, since: tuple[int, str]) -> tuple[tuple[int, str], int | None]:
    """Reads the entries after `since`, an entry that was checked before and is still there.

    Returns number and hash of the last entry that holds, and the number of the first one that does not.
    """
    seq, expected = since
    newer = select(events).where(events.c.seq > seq).order_by(events.c.seq)
    with conn.execute(newer, execution_options={"yield_per": READ_AT_ONCE}) as rows:
        for row in rows.mappings():
            if row["seq"] != seq + 1 or row["prev_hash"] != expected or entry_hash(dict(row)) != row["hash"]:
                return (seq, expected), int(row["seq"])
            seq, expected = row["seq"], row["hash"]
    return (seq, expected), None


def is_there(conn: Connection, entry: tuple[int, str]) -> bool:
    """Whether the chain still has an entry of this number and hash; START is always there."""
    seq, expected = entry
    return (
        entry == START or conn.execute(select(events.c.hash).where(events.c.seq == seq)).scalar() == expected
    )
