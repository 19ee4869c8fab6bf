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
