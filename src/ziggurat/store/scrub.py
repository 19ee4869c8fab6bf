"""After a deletion: leave nothing of it in free pages, in the search index or in the write-ahead log."""

from __future__ import annotations

from sqlalchemy import text

from ziggurat.store.store import Store


def scrub(store: Store, *, whole: bool = False, index: bool = True) -> None:
    """SQLite: merge the search index, whose removed words stay in older parts of it until then, and empty the
    write-ahead log. `whole` also writes the file anew (VACUUM), which takes time and room of its size. PostgreSQL:
    VACUUM of the tables that hold texts; `whole` rewrites them (VACUUM FULL). `index` False: nothing that was deleted
    stood in the search index."""
    if store.kind == "postgresql":
        verb = "VACUUM (FULL)" if whole else "VACUUM"
        store.maintain(f"{verb} {', '.join(TEXTS)}")
        return
    if index:
        with store.write() as conn:
            conn.execute(text("INSERT INTO search_text (search_text) VALUES ('optimize')"))
    store.maintain(*(["VACUUM"] if whole else []), "PRAGMA wal_checkpoint(TRUNCATE)")


TEXTS = (
    "person",
    "chat",
    "message",
    "generation_event",
    "judgement",
    "share",
    "held_answer",
    "search_entry",
    "persona_version",
    "folder",
    "dataset_item",
)
