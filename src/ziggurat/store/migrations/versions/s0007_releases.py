"""Turns, gates, releases, what serves to whom, and jobs that survive a kill."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"

ID = sa.String(64)
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

SQLITE = tuple(
    f'CREATE TRIGGER release_no_{act.lower()} BEFORE {act} ON "release" '
    "BEGIN SELECT RAISE(ABORT, 'a release never changes'); END"
    for act in ("UPDATE", "DELETE")
)
POSTGRESQL = (
    "CREATE FUNCTION release_immutable() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'a release never changes'; END $$",
    'CREATE TRIGGER release_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON "release" '
    "FOR EACH STATEMENT EXECUTE FUNCTION release_immutable()",
)


def upgrade() -> None:
    for make in TABLES:
        make()
    bind = op.get_bind()
    for statement in SQLITE if bind.dialect.name == "sqlite" else POSTGRESQL:
        bind.exec_driver_sql(statement)


def downgrade() -> None:
    for make in reversed(TABLES):
        op.drop_table(make.__name__[1:])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION release_immutable()")


def _job() -> None:
    op.create_table(
        "job",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=True),
        sa.Column("worker", ID, nullable=True),
        sa.Column("locked_until", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cancel", sa.Boolean(), nullable=False),
        sa.Column("progress", JSON, nullable=False),
        sa.Column("result", JSON, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_by", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["created_by"], ["person.id"], name="fk_job_created_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_job_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
    )
    op.create_index("ix_job_kind", "job", ["workspace_id", "kind", "id"], unique=False)
    op.create_index("ix_job_state", "job", ["state", "id"], unique=False)
    op.create_index("ix_job_workspace_id", "job", ["workspace_id"], unique=False)
    op.create_index(
        "uq_job_lane",
        "job",
        ["lane"],
        unique=True,
        sqlite_where=sa.text("state = 'running' AND lane IS NOT NULL"),
        postgresql_where=sa.text("state = 'running' AND lane IS NOT NULL"),
    )


def _release() -> None:
    op.create_table(
        "release",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("turn_id", ID, nullable=True),
        sa.Column("gate_id", ID, nullable=True),
        sa.Column("signature_id", ID, nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("weights", ID, nullable=False),
        sa.Column("files", ID, nullable=False),
        sa.Column("datasets", JSON, nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=True),
        sa.Column("scores", JSON, nullable=False),
        sa.Column("signed_by", ID, nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["release.id"], name="fk_release_parent_id_release"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_release_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_release"),
        sa.UniqueConstraint("name", name="uq_release_name"),
    )
    op.create_index("ix_release_workspace_id", "release", ["workspace_id"], unique=False)


def _channel() -> None:
    op.create_table(
        "channel",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("release_id", ID, nullable=True),
        sa.Column("canary_id", ID, nullable=True),
        sa.Column("canary_share", sa.Float(), nullable=False),
        sa.Column("previous_id", ID, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(canary_id IS NULL) = (canary_share = 0)", name="ck_channel_canary"),
        sa.CheckConstraint("canary_share >= 0 AND canary_share <= 1", name="ck_channel_share"),
        sa.ForeignKeyConstraint(["canary_id"], ["release.id"], name="fk_channel_canary_id_release"),
        sa.ForeignKeyConstraint(["previous_id"], ["release.id"], name="fk_channel_previous_id_release"),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name="fk_channel_release_id_release"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_channel_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_channel"),
    )
    op.create_index("ix_channel_workspace_id", "channel", ["workspace_id"], unique=False)
    op.create_index("uq_channel_name", "channel", ["workspace_id", "name"], unique=True)


def _job_event() -> None:
    op.create_table(
        "job_event",
        sa.Column("id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_job_event_job_id_job", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_job_event"),
    )
    op.create_index("ix_job_event_job", "job_event", ["job_id", "id"], unique=False)


def _turn() -> None:
    op.create_table(
        "turn",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("job_id", ID, nullable=True),
        sa.Column("dataset_id", ID, nullable=True),
        sa.Column("dataset", sa.String(length=120), nullable=False),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("recipe", JSON, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=True),
        sa.Column("weights", ID, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_by", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_turn_job_id_job", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["started_by"], ["person.id"], name="fk_turn_started_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_turn_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_turn"),
    )
    op.create_index("ix_turn_dataset_id", "turn", ["dataset_id"], unique=False)
    op.create_index("ix_turn_job_id", "turn", ["job_id"], unique=False)
    op.create_index("ix_turn_workspace_id", "turn", ["workspace_id"], unique=False)
    op.create_index("uq_turn_name", "turn", ["workspace_id", "name"], unique=True)


def _channel_event() -> None:
    op.create_table(
        "channel_event",
        sa.Column("id", ID, nullable=False),
        sa.Column("channel_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("from_id", ID, nullable=True),
        sa.Column("to_id", ID, nullable=True),
        sa.Column("share", sa.Float(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channel.id"], name="fk_channel_event_channel_id_channel", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_channel_event_person_id_person", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_channel_event"),
    )
    op.create_index("ix_channel_event_channel", "channel_event", ["channel_id", "id"], unique=False)


def _gate() -> None:
    op.create_table(
        "gate",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("turn_id", ID, nullable=True),
        sa.Column("job_id", ID, nullable=True),
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("weights", ID, nullable=False),
        sa.Column("against_id", ID, nullable=True),
        sa.Column("against", sa.Text(), nullable=True),
        sa.Column("policy", JSON, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.Column("samples", JSON, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_gate_job_id_job", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["turn_id"], ["turn.id"], name="fk_gate_turn_id_turn", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_gate_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_gate"),
    )
    op.create_index("ix_gate_job_id", "gate", ["job_id"], unique=False)
    op.create_index("ix_gate_turn_id", "gate", ["turn_id"], unique=False)
    op.create_index("ix_gate_workspace", "gate", ["workspace_id", "id"], unique=False)
    op.create_index("ix_gate_workspace_id", "gate", ["workspace_id"], unique=False)


def _online_test() -> None:
    op.create_table(
        "online_test",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("channel_id", ID, nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("control_id", ID, nullable=False),
        sa.Column("treatment_id", ID, nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("winner", sa.String(length=16), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("started_by", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channel.id"], name="fk_online_test_channel_id_channel", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["control_id"], ["release.id"], name="fk_online_test_control_id_release"),
        sa.ForeignKeyConstraint(
            ["started_by"], ["person.id"], name="fk_online_test_started_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["treatment_id"], ["release.id"], name="fk_online_test_treatment_id_release"),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_online_test_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_online_test"),
    )
    op.create_index("ix_online_test_workspace_id", "online_test", ["workspace_id"], unique=False)
    op.create_index(
        "uq_online_test_running",
        "online_test",
        ["channel_id"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )


def _gate_criterion() -> None:
    op.create_table(
        "gate_criterion",
        sa.Column("gate_id", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("figure", sa.Float(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("bar", sa.Float(), nullable=True),
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("n", sa.Integer(), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["gate_id"], ["gate.id"], name="fk_gate_criterion_gate_id_gate", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("gate_id", "name", name="pk_gate_criterion"),
    )


def _signature() -> None:
    op.create_table(
        "signature",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("gate_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("signed_as", sa.String(length=16), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("signed_as = 'policy' OR person_id IS NOT NULL", name="ck_signature_signer"),
        sa.ForeignKeyConstraint(
            ["gate_id"], ["gate.id"], name="fk_signature_gate_id_gate", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_signature_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_signature"),
        sa.UniqueConstraint("gate_id", name="uq_signature_gate_id"),
    )
    op.create_index("ix_signature_workspace_id", "signature", ["workspace_id"], unique=False)


# end Alembic commands ###


TABLES = (
    _job,
    _release,
    _channel,
    _job_event,
    _turn,
    _channel_event,
    _gate,
    _online_test,
    _gate_criterion,
    _signature,
)
