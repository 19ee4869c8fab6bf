"""The guard's rules, and the answers that wait for a person."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, String, Table

from ziggurat.store.tables.base import ID, at, flag, json, key, metadata, person, small, text, workspace

guard_rules = Table(
    "guard_rule",
    metadata,
    key(),
    workspace(),
    Column("kind", String(16), nullable=False),  # pattern words policy
    text("name"),
    text("pattern", nullable=True),
    json("words"),
    json("categories"),
    Column("topic", String(64)),
    Column("stage", String(8), nullable=False),  # before after both
    Column("action", String(8), nullable=False),  # block answer hold log
    json("templates"),  # locale -> texts
    flag("enabled"),
    small("version"),
    Column("changed_by", ID, ForeignKey("person.id", ondelete="SET NULL")),
    at(),
    at("updated_at"),
)

held_answers = Table(
    "held_answer",
    metadata,
    key(),
    workspace(),
    person(nullable=True),
    Column("chat_id", ID, ForeignKey("chat.id", ondelete="CASCADE"), index=True),
    Column("message_id", ID, ForeignKey("message.id", ondelete="CASCADE"), index=True),
    Column("rule_id", String(80)),  # a rule of the store, of a file, or built in
    Column("stage", String(8), nullable=False),
    text("prompt"),
    text("text"),
    json("origin", nullable=True),  # of the API: {path, model, key, key_id, request_id}
    Column("decision", String(16)),
    Column("decided_by", ID, ForeignKey("person.id", ondelete="SET NULL")),
    at("decided_at", nullable=True),
    at(),
    Index("ix_held_answer_open", "workspace_id", "decision", "id"),
)
