"""Expert review before delivery: policies, items, versions, claims, decisions, deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from ziggurat.store import review_guards

revision = "0005"
down_revision = "0004"

ID = sa.String(64)
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
STATE = (
    "state IN ('drafting', 'queued', 'claimed', 'approved', 'edited', 'rejected', 'answered_by_human', 'escalated', "
    "'delivered', 'withheld', 'expired', 'cancelled', 'superseded')"
)


def upgrade() -> None:
    for make in TABLES:
        make()
    review_guards.create(op.get_bind())


def downgrade() -> None:
    review_guards.drop(op.get_bind())
    for name in reversed(NAMES):
        op.drop_table(name)


def _review_policy() -> None:
    op.create_table(
        "review_policy",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("topic", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("words", JSON, nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("sample_pct", sa.Float(), nullable=False),
        sa.Column("double_pct", sa.Float(), nullable=False),
        sa.Column("risk", sa.Integer(), nullable=False),
        sa.Column("four_eyes", sa.Boolean(), nullable=False),
        sa.Column("claim_s", sa.BigInteger(), nullable=False),
        sa.Column("decide_s", sa.BigInteger(), nullable=False),
        sa.Column("calendar", JSON, nullable=False),
        sa.Column("routes", JSON, nullable=False),
        sa.Column("texts", JSON, nullable=False),
        sa.Column("autonomy", JSON, nullable=False),
        sa.Column("escalates_to", JSON, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("changed_by", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("mode IN ('all', 'sampled', 'auto')", name="ck_review_policy_mode"),
        sa.ForeignKeyConstraint(
            ["changed_by"], ["person.id"], name="fk_review_policy_changed_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_policy_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_policy"),
        sa.UniqueConstraint("workspace_id", "topic", name="uq_review_policy_workspace_id_topic"),
    )
    op.create_index("ix_review_policy_workspace_id", "review_policy", ["workspace_id"], unique=False)


def _review_view() -> None:
    op.create_table(
        "review_view",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("filters", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_review_view_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_view_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_view"),
    )
    op.create_index("ix_review_view_person_id", "review_view", ["person_id"], unique=False)
    op.create_index("ix_review_view_workspace_id", "review_view", ["workspace_id"], unique=False)


def _review_item() -> None:
    op.create_table(
        "review_item",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("chat_id", ID, nullable=True),
        sa.Column("message_id", ID, nullable=True),
        sa.Column("policy_id", ID, nullable=True),
        sa.Column("channel", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("topic", ID, nullable=False),
        sa.Column("risk", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("four_eyes", sa.Boolean(), nullable=False),
        sa.Column("reopened", sa.Boolean(), nullable=False),
        sa.Column("routed", JSON, nullable=False),
        sa.Column("prompt", JSON, nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("lang", sa.String(length=8), nullable=True),
        sa.Column("signals", JSON, nullable=False),
        sa.Column("made", JSON, nullable=False),
        sa.Column("origin", JSON, nullable=True),
        sa.Column("data_use", sa.Boolean(), nullable=False),
        sa.Column("held_id", ID, nullable=True),
        sa.Column("client_id", ID, nullable=True),
        sa.Column("escalated_to", ID, nullable=True),
        sa.Column("claim_due_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("warned_at", sa.BigInteger(), nullable=True),
        sa.Column("breached_at", sa.BigInteger(), nullable=True),
        sa.Column("claimed_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(STATE, name="ck_review_item_state"),
        sa.ForeignKeyConstraint(
            ["chat_id"], ["chat.id"], name="fk_review_item_chat_id_chat", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["escalated_to"], ["person.id"], name="fk_review_item_escalated_to_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["held_id"], ["held_answer.id"], name="fk_review_item_held_id_held_answer", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name="fk_review_item_message_id_message", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_review_item_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["review_policy.id"], name="fk_review_item_policy_id_review_policy"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_item_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_item"),
        sa.UniqueConstraint("held_id", name="uq_review_item_held_id"),
        sa.UniqueConstraint("message_id", name="uq_review_item_message_id"),
    )
    op.create_index("ix_review_item_chat_id", "review_item", ["chat_id"], unique=False)
    op.create_index("ix_review_item_person", "review_item", ["person_id", "id"], unique=False)
    op.create_index("ix_review_item_person_id", "review_item", ["person_id"], unique=False)
    op.create_index(
        "ix_review_item_queue", "review_item", ["workspace_id", "state", "due_at", "id"], unique=False
    )
    op.create_index("ix_review_item_workspace_id", "review_item", ["workspace_id"], unique=False)


def _review_claim() -> None:
    op.create_table(
        "review_claim",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_how", sa.String(length=16), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["review_item.id"], name="fk_review_claim_item_id_review_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_review_claim_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_claim_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_claim"),
    )
    op.create_index("ix_review_claim_item_id", "review_claim", ["item_id"], unique=False)
    op.create_index("ix_review_claim_person_id", "review_claim", ["person_id"], unique=False)
    op.create_index("ix_review_claim_workspace_id", "review_claim", ["workspace_id"], unique=False)
    op.create_index(
        "uq_review_claim_open",
        "review_claim",
        ["item_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def _review_complaint() -> None:
    op.create_table(
        "review_complaint",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"],
            ["review_item.id"],
            name="fk_review_complaint_item_id_review_item",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_review_complaint_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_complaint_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_complaint"),
    )
    op.create_index("ix_review_complaint_item_id", "review_complaint", ["item_id"], unique=False)
    op.create_index("ix_review_complaint_person_id", "review_complaint", ["person_id"], unique=False)
    op.create_index("ix_review_complaint_workspace_id", "review_complaint", ["workspace_id"], unique=False)


def _review_look() -> None:
    op.create_table(
        "review_look",
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("viewed_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["review_item.id"], name="fk_review_look_item_id_review_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_review_look_person_id_person", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("item_id", "person_id", name="pk_review_look"),
    )
    op.create_index("ix_review_look_person_id", "review_look", ["person_id"], unique=False)


def _review_note() -> None:
    op.create_table(
        "review_note",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("mentions", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["review_item.id"], name="fk_review_note_item_id_review_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_review_note_person_id_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_note_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_note"),
    )
    op.create_index("ix_review_note_item_id", "review_note", ["item_id"], unique=False)
    op.create_index("ix_review_note_person_id", "review_note", ["person_id"], unique=False)
    op.create_index("ix_review_note_workspace_id", "review_note", ["workspace_id"], unique=False)


def _review_outbox() -> None:
    op.create_table(
        "review_outbox",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["review_item.id"], name="fk_review_outbox_item_id_review_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_outbox_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_outbox"),
        sa.UniqueConstraint(
            "item_id", "event", "created_at", name="uq_review_outbox_item_id_event_created_at"
        ),
    )
    op.create_index("ix_review_outbox_item_id", "review_outbox", ["item_id"], unique=False)
    op.create_index(
        "ix_review_outbox_open",
        "review_outbox",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("sent_at IS NULL"),
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.create_index("ix_review_outbox_workspace_id", "review_outbox", ["workspace_id"], unique=False)


def _review_second() -> None:
    op.create_table(
        "review_second",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("decision", sa.String(length=16), nullable=True),
        sa.Column("reasons", JSON, nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("judgement_id", ID, nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["review_item.id"], name="fk_review_second_item_id_review_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["judgement_id"],
            ["judgement.id"],
            name="fk_review_second_judgement_id_judgement",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_review_second_person_id_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_second_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_second"),
        sa.UniqueConstraint("item_id", name="uq_review_second_item_id"),
    )
    op.create_index("ix_review_second_person_id", "review_second", ["person_id"], unique=False)
    op.create_index("ix_review_second_workspace_id", "review_second", ["workspace_id"], unique=False)


def _review_version() -> None:
    op.create_table(
        "review_version",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("author_kind", sa.String(length=8), nullable=False),
        sa.Column("author_id", ID, nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("hash", ID, nullable=False),
        sa.Column("instruction", sa.Text(), nullable=True),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "author_kind IN ('model', 'person', 'template')", name="ck_review_version_author_kind"
        ),
        sa.ForeignKeyConstraint(
            ["item_id"], ["review_item.id"], name="fk_review_version_item_id_review_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_version_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_version"),
        sa.UniqueConstraint("id", "item_id", "hash", name="uq_review_version_id_item_id_hash"),
        sa.UniqueConstraint("item_id", "n", name="uq_review_version_item_id_n"),
    )
    op.create_index("ix_review_version_item_id", "review_version", ["item_id"], unique=False)
    op.create_index("ix_review_version_workspace_id", "review_version", ["workspace_id"], unique=False)


def _review_decision() -> None:
    op.create_table(
        "review_decision",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("policy_id", ID, nullable=True),
        sa.Column("decided_by", sa.String(length=8), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("judged_id", ID, nullable=False),
        sa.Column("version_id", ID, nullable=True),
        sa.Column("hash", ID, nullable=True),
        sa.Column("reasons", JSON, nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("severe", sa.Boolean(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("viewed_s", sa.Float(), nullable=True),
        sa.Column("distance", sa.Float(), nullable=True),
        sa.Column("changed", sa.Integer(), nullable=True),
        sa.Column("judgement_id", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(decided_by = 'person' AND policy_id IS NULL) OR (decided_by = 'policy' AND policy_id IS NOT NULL)",
            name="ck_review_decision_decided_by",
        ),
        sa.CheckConstraint(
            "decision IN ('approve', 'edit', 'reject', 'answer', 'decline', 'escalate', 'recall')",
            name="ck_review_decision_decision",
        ),
        sa.CheckConstraint("(version_id IS NULL) = (hash IS NULL)", name="ck_review_decision_approved"),
        sa.ForeignKeyConstraint(
            ["item_id"], ["review_item.id"], name="fk_review_decision_item_id_review_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["judged_id"], ["review_version.id"], name="fk_review_decision_judged"),
        sa.ForeignKeyConstraint(
            ["judgement_id"],
            ["judgement.id"],
            name="fk_review_decision_judgement_id_judgement",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_review_decision_person_id_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["review_policy.id"], name="fk_review_decision_policy_id_review_policy"
        ),
        sa.ForeignKeyConstraint(
            ["version_id", "item_id", "hash"],
            ["review_version.id", "review_version.item_id", "review_version.hash"],
            name="fk_review_decision_version",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_decision_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_decision"),
        sa.UniqueConstraint(
            "id", "item_id", "version_id", "hash", name="uq_review_decision_id_item_id_version_id_hash"
        ),
    )
    op.create_index("ix_review_decision_item_id", "review_decision", ["item_id"], unique=False)
    op.create_index("ix_review_decision_person_id", "review_decision", ["person_id"], unique=False)
    op.create_index("ix_review_decision_workspace_id", "review_decision", ["workspace_id"], unique=False)


def _review_correction() -> None:
    op.create_table(
        "review_correction",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("decision_id", ID, nullable=False),
        sa.Column("version_id", ID, nullable=False),
        sa.Column("hash", ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["decision_id", "item_id", "version_id", "hash"],
            [
                "review_decision.id",
                "review_decision.item_id",
                "review_decision.version_id",
                "review_decision.hash",
            ],
            name="fk_review_correction_decision",
        ),
        sa.ForeignKeyConstraint(
            ["item_id"],
            ["review_item.id"],
            name="fk_review_correction_item_id_review_item",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["version_id", "item_id", "hash"],
            ["review_version.id", "review_version.item_id", "review_version.hash"],
            name="fk_review_correction_version",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_correction_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_correction"),
    )
    op.create_index("ix_review_correction_item_id", "review_correction", ["item_id"], unique=False)
    op.create_index("ix_review_correction_workspace_id", "review_correction", ["workspace_id"], unique=False)


def _review_delivery() -> None:
    op.create_table(
        "review_delivery",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("channel", sa.String(length=8), nullable=False),
        sa.Column("decision_id", ID, nullable=False),
        sa.Column("version_id", ID, nullable=False),
        sa.Column("hash", ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["decision_id", "item_id", "version_id", "hash"],
            [
                "review_decision.id",
                "review_decision.item_id",
                "review_decision.version_id",
                "review_decision.hash",
            ],
            name="fk_review_delivery_decision",
        ),
        sa.ForeignKeyConstraint(
            ["item_id"], ["review_item.id"], name="fk_review_delivery_item_id_review_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["version_id", "item_id", "hash"],
            ["review_version.id", "review_version.item_id", "review_version.hash"],
            name="fk_review_delivery_version",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_review_delivery_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review_delivery"),
        sa.UniqueConstraint("item_id", name="uq_review_delivery_item_id"),
    )
    op.create_index("ix_review_delivery_workspace_id", "review_delivery", ["workspace_id"], unique=False)


TABLES = (
    _review_policy,
    _review_view,
    _review_item,
    _review_claim,
    _review_complaint,
    _review_look,
    _review_note,
    _review_outbox,
    _review_second,
    _review_version,
    _review_decision,
    _review_correction,
    _review_delivery,
)
NAMES = (
    "review_policy",
    "review_view",
    "review_item",
    "review_claim",
    "review_complaint",
    "review_look",
    "review_note",
    "review_outbox",
    "review_second",
    "review_version",
    "review_decision",
    "review_correction",
    "review_delivery",
)
