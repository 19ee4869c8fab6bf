"""Conversations: folders, personas, chats, their trees of messages, generations, shares."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy import (
    text as sql,
)

from ziggurat.store.tables.base import (
    ID,
    at,
    flag,
    json,
    key,
    metadata,
    number,
    person,
    small,
    text,
    workspace,
)

folders = Table(
    "folder",
    metadata,
    key(),
    workspace(),
    person(),
    Column("parent_id", ID, ForeignKey("folder.id", ondelete="SET NULL", deferrable=True), index=True),
    text("name"),
    small("position"),
    at(),
)

personas = Table(
    "persona",
    metadata,
    key(),
    workspace(),
    person(),
    small("version"),  # the newest one
    flag("shared"),
    at(),
)

persona_versions = Table(
    "persona_version",
    metadata,
    Column("persona_id", ID, ForeignKey("persona.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    text("name"),
    text("system_prompt"),
    text("model", nullable=True),
    json("settings"),
    at(),
)

chats = Table(
    "chat",
    metadata,
    key(),
    workspace(),
    person(index=False),
    Column("folder_id", ID, ForeignKey("folder.id", ondelete="SET NULL"), index=True),
    Column("persona_id", ID, ForeignKey("persona.id", ondelete="SET NULL"), index=True),
    small("persona_version", nullable=True),
    text("title"),
    flag("titled"),  # by the person: no automatic title replaces it
    text("model", nullable=True),
    text("system_prompt", nullable=True),
    json("settings"),
    flag("data_use"),
    flag("pinned"),
    flag("archived"),
    at("deleted_at", nullable=True),  # in the trash since
    Column("active_leaf_id", ID),
    at(),
    at("updated_at"),
    Index("ix_chat_list", "person_id", "archived", "pinned", "updated_at", "id"),
    Index(
        "ix_chat_trash",
        "person_id",
        "deleted_at",
        sqlite_where=sql("deleted_at IS NOT NULL"),
        postgresql_where=sql("deleted_at IS NOT NULL"),
    ),
)

messages = Table(
    "message",
    metadata,
    key(),
    workspace(),
    Column("chat_id", ID, ForeignKey("chat.id", ondelete="CASCADE"), nullable=False),
    Column("parent_id", ID),
    Column("role", String(16), nullable=False),
    text("content"),
    text("reasoning", nullable=True),
    json("tool_calls", nullable=True),
    text("model", nullable=True),
    Column("state", String(16), nullable=False),
    Column("finish_reason", String(32)),
    json("usage", nullable=True),
    json("settings"),
    number("seed", nullable=True),
    json("guard", nullable=True),
    json("hashes", nullable=True),  # of weights, template and rules that made an answer
    Column("lang", String(8)),
    small("position"),  # depth in the tree, the root 0
    flag("edited"),
    Column("client_id", String(128)),
    Column("pair_id", ID, index=True),  # answers shown side by side
    flag("hidden_model"),
    json("chosen_how", nullable=True),  # how the pair was chosen, with which probability
    at(),
    UniqueConstraint("chat_id", "id"),
    ForeignKeyConstraint(
        ["chat_id", "parent_id"], ["message.chat_id", "message.id"], ondelete="CASCADE", deferrable=True
    ),
    Index("ix_message_children", "chat_id", "parent_id", "id"),
    UniqueConstraint("chat_id", "client_id"),
)

generations = Table(
    "generation",
    metadata,
    key(),
    workspace(),
    person(),
    Column("chat_id", ID, ForeignKey("chat.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("message_id", ID, ForeignKey("message.id", ondelete="CASCADE"), nullable=False, index=True),
    text("model", nullable=True),
    Column("status", String(16), nullable=False),
    small("seq"),
    small("base_chars"),  # of the message when it began: a continued answer
    at("heartbeat_at"),
    at("started_at"),
    at("ended_at", nullable=True),
    json("error", nullable=True),
    json("ttft_ms", nullable=True),
    number("tokens", nullable=True),
    Index(
        "ix_generation_running",
        "status",
        "heartbeat_at",
        sqlite_where=sql("status = 'running'"),
        postgresql_where=sql("status = 'running'"),
    ),
)

generation_events = Table(
    "generation_event",
    metadata,
    Column("generation_id", ID, ForeignKey("generation.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    json("event"),
    sqlite_with_rowid=False,
)

shares = Table(
    "share",
    metadata,
    key(),
    workspace(),
    person(),
    Column("chat_id", ID, ForeignKey("chat.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    text("title"),
    json("snapshot", nullable=True),  # None once it is revoked
    at("expires_at", nullable=True),
    at("revoked_at", nullable=True),
    Column("views", BigInteger, nullable=False),
    at(),
)
