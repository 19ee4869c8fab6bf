"""Turns, gates, releases, what serves to whom, and jobs that survive a kill.

A release never changes and never goes: the database refuses it (a trigger), as it does for the audit chain.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Float, ForeignKey, Index, Integer, String, Table
from sqlalchemy import text as sql

from ziggurat.store.tables.base import ID, at, flag, json, key, metadata, small, workspace
from ziggurat.store.tables.base import text as long

RUNNING = sql("state = 'running' AND lane IS NOT NULL")

jobs = Table(
    "job",
    metadata,
    key(),
    workspace(),
    Column("kind", String(32), nullable=False),
    json("payload"),
    Column("state", String(16), nullable=False),  # queued running done failed cancelled
    Column("lane", String(16)),  # at most one job of a lane runs; None: as many as there are workers
    Column("worker", String(64)),
    at("locked_until", nullable=True),
    small("attempts"),
    flag("cancel"),  # somebody asked it to end
    json("progress"),
    json("result", nullable=True),
    long("last_error", nullable=True),
    Column("created_by", ID, ForeignKey("person.id", ondelete="SET NULL")),
    at(),
    at("started_at", nullable=True),
    at("finished_at", nullable=True),
    Index("ix_job_state", "state", "id"),
    Index("ix_job_kind", "workspace_id", "kind", "id"),
    Index("uq_job_lane", "lane", unique=True, sqlite_where=RUNNING, postgresql_where=RUNNING),
)

job_events = Table(
    "job_event",
    metadata,
    key(),
    Column("job_id", ID, ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    Column("level", String(8), nullable=False),  # info warn error
    long("message"),
    json("data"),
    at(),
    Index("ix_job_event_job", "job_id", "id"),
)

turns = Table(
    "turn",
    metadata,
    key(),
    workspace(),
    Column("name", String(80), nullable=False),
    Column("job_id", ID, ForeignKey("job.id", ondelete="SET NULL"), index=True),
    Column("dataset_id", ID, index=True),  # of a dataset version; None: files that were given
    Column("dataset", String(120), nullable=False),
    Column("parent_id", ID),  # the release that it starts from; None: a model that is no release
    long("base"),  # the model that it starts from
    json("recipe"),  # method, the rule that chose it, phases with their commands, trainable, budget, seed
    Column("state", String(16), nullable=False),  # queued running candidate failed cancelled
    long("candidate", nullable=True),  # the folder of its model
    Column("weights", String(64)),
    long("error", nullable=True),
    Column("started_by", ID, ForeignKey("person.id", ondelete="SET NULL")),
    at(),
    at("finished_at", nullable=True),
    Index("uq_turn_name", "workspace_id", "name", unique=True),
)

gates = Table(
    "gate",
    metadata,
    key(),
    workspace(),
    Column("turn_id", ID, ForeignKey("turn.id", ondelete="CASCADE"), index=True),
    Column("job_id", ID, ForeignKey("job.id", ondelete="SET NULL"), index=True),
    long("candidate"),
    Column("weights", String(64), nullable=False),
    Column("against_id", ID),  # the release that served; None: the first one
    long("against", nullable=True),
    json("policy"),  # bars, tolerances, judge, and how it is signed
    Column("state", String(16), nullable=False),  # queued running done failed cancelled
    Column("verdict", String(16)),  # passed refused undecided
    long("sentence", nullable=True),
    json("samples", nullable=True),  # answers of both, side by side
    long("error", nullable=True),
    at(),
    at("finished_at", nullable=True),
    Index("ix_gate_workspace", "workspace_id", "id"),
)

gate_criteria = Table(
    "gate_criterion",
    metadata,
    Column("gate_id", ID, ForeignKey("gate.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(64), primary_key=True),
    small("position"),
    Column("figure", Float),
    Column("low", Float),
    Column("high", Float),
    Column("bar", Float),
    Column("unit", String(16), nullable=False),
    Column("n", Integer),
    Column("verdict", String(16), nullable=False),  # passed refused undecided not_measured
    long("sentence"),
    json("detail"),
)

signatures = Table(
    "signature",
    metadata,
    key(),
    workspace(),
    Column("gate_id", ID, ForeignKey("gate.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("person_id", ID),  # no foreign key: a release that was signed stays signed
    Column("signed_as", String(16), nullable=False),  # person policy
    Column("decision", String(16), nullable=False),  # release refuse
    long("note"),
    at(),
    CheckConstraint("signed_as = 'policy' OR person_id IS NOT NULL", name="signer"),
)

releases = Table(
    "release",
    metadata,
    key(),
    workspace(),
    Column("name", String(80), nullable=False, unique=True),
    Column("parent_id", ID, ForeignKey("release.id")),
    Column("turn_id", ID),
    Column("gate_id", ID),
    Column("signature_id", ID),
    long("model"),  # the folder of its weights, under $ZIGGURAT_HOME/releases
    Column("weights", String(64), nullable=False),
    Column("files", String(64), nullable=False),  # SHA-256 over all files of its model
    json("datasets"),  # the versions that it and its parents learned from, newest first: [{id, name, sha256}]
    Column("code", String(40), nullable=False),
    Column("seed", Integer),
    json("scores"),
    Column("signed_by", ID),
    long("note"),
    at(),
)

channels = Table(
    "channel",
    metadata,
    key(),
    workspace(),
    Column("name", String(64), nullable=False),  # the model's name at the page and in the API
    Column("release_id", ID, ForeignKey("release.id")),
    Column("canary_id", ID, ForeignKey("release.id")),
    Column("canary_share", Float, nullable=False),
    Column("previous_id", ID, ForeignKey("release.id")),
    small("version"),  # grows with every change: servers look at it
    at("updated_at"),
    Index("uq_channel_name", "workspace_id", "name", unique=True),
    CheckConstraint("canary_share >= 0 AND canary_share <= 1", name="share"),
    CheckConstraint("(canary_id IS NULL) = (canary_share = 0)", name="canary"),
)

channel_events = Table(
    "channel_event",
    metadata,
    key(),
    Column("channel_id", ID, ForeignKey("channel.id", ondelete="CASCADE"), nullable=False),
    Column("person_id", ID, ForeignKey("person.id", ondelete="SET NULL")),
    Column("action", String(16), nullable=False),  # promote canary rollback
    Column("from_id", ID),
    Column("to_id", ID),
    Column("share", Float),
    long("note"),
    at(),
    Index("ix_channel_event_channel", "channel_id", "id"),
)

ON = sql("state = 'running'")

online_tests = Table(
    "online_test",
    metadata,
    key(),
    workspace(),
    Column("channel_id", ID, ForeignKey("channel.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(80), nullable=False),
    Column("control_id", ID, ForeignKey("release.id"), nullable=False),
    Column("treatment_id", ID, ForeignKey("release.id"), nullable=False),
    Column("share", Float, nullable=False),
    small("horizon"),  # judged answers of both sides together, stated before the start
    Column("alpha", Float, nullable=False),
    Column("state", String(16), nullable=False),  # running stopped finished cancelled
    Column("winner", String(16)),  # control treatment none: a proposal
    long("sentence", nullable=True),
    json("result", nullable=True),
    Column("started_by", ID, ForeignKey("person.id", ondelete="SET NULL")),
    at(),
    at("finished_at", nullable=True),
    Index("uq_online_test_running", "channel_id", unique=True, sqlite_where=ON, postgresql_where=ON),
)
