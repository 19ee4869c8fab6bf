"""People and how they prove who they are. Passwords stand apart, so that no list can join them by accident."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, String, Table, UniqueConstraint
from sqlalchemy import text as sql

from ziggurat.store.tables.base import ID, at, json, key, metadata, number, person, small, text, workspace

people = Table(
    "person",
    metadata,
    key(),
    Column("email_norm", String(320), unique=True),  # None: the person of local mode
    Column("email", String(320)),
    text("name"),
    Column("locale", String(16), nullable=False),
    Column("status", String(16), nullable=False),  # active disabled deleted
    json("preferences"),
    at(),
)

memberships = Table(
    "membership",
    metadata,
    Column("person_id", ID, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("workspace_id", ID, ForeignKey("workspace.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("role", String(16), nullable=False),
    Column("plan", String(32)),  # a plan's name in the workspace's settings
    number("tokens_per_day", nullable=True),  # a budget of this person's own
    at(),
)

identities = Table(  # of another provider (OIDC)
    "identity",
    metadata,
    key(),
    person(),
    text("provider"),
    text("subject"),
    at(),
    UniqueConstraint("provider", "subject"),
)

passwords = Table(
    "password",
    metadata,
    Column("person_id", ID, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    text("phc"),  # argon2id as a PHC string
    at("changed_at"),
)

sessions = Table(
    "login_session",
    metadata,
    key(),
    workspace(),
    person(),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("previous_hash", String(64), index=True),  # valid for a moment after a rotation
    at("rotated_at"),
    text("csrf"),
    at("last_seen_at"),
    at("expires_at"),
    at("logged_in_at"),
    text("ip_prefix"),
    text("user_agent"),
    at(),
)

api_keys = Table(
    "api_key",
    metadata,
    key(),
    workspace(),
    person(),
    text("name"),
    Column("prefix", String(16), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    json("scopes"),
    json("model_allow", nullable=True),
    json("limits"),
    at("expires_at", nullable=True),
    at("last_used_at", nullable=True),
    at("revoked_at", nullable=True),
    at(),
)

invitations = Table(
    "invitation",
    metadata,
    key(),
    workspace(),
    Column("invited_by", ID, ForeignKey("person.id", ondelete="SET NULL")),
    Column("email_norm", String(320)),
    Column("role", String(16), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    at("expires_at"),
    at("used_at", nullable=True),
    at(),
)

consents = Table(  # the open one of a purpose has no withdrawn_at
    "consent",
    metadata,
    key(),
    workspace(),
    person(),
    Column("purpose", String(32), nullable=False),
    small("text_version"),
    at("given_at"),
    at("withdrawn_at", nullable=True),
    Index(
        "uq_consent_open",
        "person_id",
        "purpose",
        unique=True,
        sqlite_where=sql("withdrawn_at IS NULL"),
        postgresql_where=sql("withdrawn_at IS NULL"),
    ),
)

attempts = Table(  # failed logins; who is a hash, since it may be an address that belongs to nobody
    "login_attempt",
    metadata,
    key(),
    Column("who", String(64), nullable=False),
    at(),
    Index("ix_login_attempt_who_created_at", "who", "created_at"),
)

usage = Table(
    "usage_counter",
    metadata,
    Column("principal", ID, primary_key=True),  # a person's or a key's id
    Column("day", String(10), primary_key=True),
    workspace(),
    person(),
    number("requests"),
    number("prompt_tokens"),
    number("completion_tokens"),
)
