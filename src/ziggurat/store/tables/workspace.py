"""The workspace, its settings, the audit chain, and what remembers that something was deleted."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table

from ziggurat.store.tables.base import ID, at, json, key, metadata, small, text

workspaces = Table(
    "workspace",
    metadata,
    key(),
    text("name"),
    json("settings"),
    small("retention_days", nullable=True),  # None: kept until somebody deletes it
    Column("rules_version", BigInteger, nullable=False),  # grows with every change of a guard rule
    at(),
)

secrets = Table(  # of the whole installation: the set-up token's hash, keys that sign
    "secret",
    metadata,
    Column("name", String(64), primary_key=True),
    text("value"),
    at(),
)

audit_events = Table(
    "audit_event",
    metadata,
    Column("seq", Integer().with_variant(BigInteger, "postgresql"), primary_key=True, autoincrement=False),
    Column("workspace_id", ID, index=True),  # no foreign key: the chain outlives what it names
    at("at"),
    Column("actor_kind", String(16), nullable=False),
    Column("actor_id", ID, index=True),
    Column("action", String(64), nullable=False),
    Column("object_kind", String(32)),
    Column("object_id", ID),
    json("detail"),  # never texts of people: ids, names of settings, counts
    Column("before_hash", String(64)),
    Column("after_hash", String(64)),
    text("ip_prefix"),
    text("request_id"),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

tombstones = Table(  # later dataset versions leave out what stands here
    "tombstone",
    metadata,
    Column("object_id", ID, primary_key=True),
    Column("object_kind", String(32), nullable=False),
    Column("workspace_id", ID, index=True),
    at("deleted_at"),
)
