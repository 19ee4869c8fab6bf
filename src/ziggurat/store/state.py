"""What a store is and whether it is whole, for `ziggurat store status` and `verify`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from ziggurat.errors import RunError
from ziggurat.store import audit
from ziggurat.store.backup import facts
from ziggurat.store.location import shown
from ziggurat.store.schema import version_of
from ziggurat.store.store import Store


def state_of(store: Store) -> dict[str, Any]:
    """Where it is, its kind and schema, bytes, rows of each table, and number and hash of the newest audit entry."""
    with store.read() as conn:
        if store.kind == "sqlite":
            used = conn.execute(
                text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
            )
        else:
            used = conn.execute(text("SELECT pg_database_size(current_database())"))
        found = {"bytes": used.scalar_one(), **facts(conn)}
    return {"where": shown(store.url), "kind": store.kind, "schema": version_of(store), **found}


def verify_store(store: Store) -> str:
    """Check the database, foreign keys and the audit chain; returns where it is.

    Raises:
        RunError: a sentence that says what is wrong.
    """
    where = shown(store.url)
    with store.read() as conn:
        if store.kind == "sqlite":
            found = conn.execute(text("PRAGMA integrity_check")).scalar()
            if found != "ok":
                raise RunError(f"{where} is damaged ({found}); restore a backup.")
            dangling = conn.execute(text("PRAGMA foreign_key_check")).first()
            if dangling is not None:
                raise RunError(
                    f"{where}: a row of {dangling[0]} points to one that is gone; restore a backup."
                )
        if (seq := audit.broken_at(conn)) is not None:
            raise RunError(f"{where}: the audit chain breaks at entry {seq}; it was changed from outside.")
    return where
