"""The search index: one entry for each title and message. Its tokens stand in an FTS5 table (SQLite) or a tsvector
column with a GIN index (PostgreSQL); `search.py` writes and asks both."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table

from ziggurat.store.tables.base import ID, metadata, person, workspace

search_entries = Table(
    "search_entry",
    metadata,
    Column("id", Integer().with_variant(BigInteger, "postgresql"), primary_key=True, autoincrement=True),
    workspace(),
    person(),
    Column("chat_id", ID, ForeignKey("chat.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", ID, ForeignKey("message.id", ondelete="CASCADE"), index=True),  # None: the title
    Index("ix_search_entry_chat", "chat_id", "message_id"),
)

SQLITE_INDEX = [
    "CREATE VIRTUAL TABLE search_text USING fts5(tokens, detail=none, tokenize='unicode61 remove_diacritics 0')"
]
POSTGRESQL_INDEX = [
    "ALTER TABLE search_entry ADD COLUMN tokens tsvector",
    "CREATE INDEX ix_search_entry_tokens ON search_entry USING gin (tokens)",
]
