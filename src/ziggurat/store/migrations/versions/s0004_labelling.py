"""The labelling workbench: projects, items, leases, answers, people of a project, decisions of leads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"

ID = sa.String(64)
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

WRONG_SLOT = (
    "NEW.status = 'submitted' AND NEW.slot IS NOT NULL AND NOT EXISTS "
    "(SELECT 1 FROM label_item WHERE id = NEW.item_id AND NEW.slot >= 0 AND NEW.slot < min_answers)"
)
REFUSED = "'the item has no such slot'"
SQLITE = tuple(
    f"CREATE TRIGGER label_answer_slot_{moment.lower()} BEFORE {moment} ON label_answer "
    f"WHEN {WRONG_SLOT} BEGIN SELECT RAISE(ABORT, {REFUSED}); END"
    for moment in ("INSERT", "UPDATE")
)
POSTGRESQL = (
    "CREATE FUNCTION label_answer_slot() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    f"IF {WRONG_SLOT} THEN RAISE EXCEPTION {REFUSED} USING ERRCODE = 'check_violation'; "
    "END IF; RETURN NEW; END $$",
    "CREATE TRIGGER label_answer_slot BEFORE INSERT OR UPDATE ON label_answer "
    "FOR EACH ROW EXECUTE FUNCTION label_answer_slot()",
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
        op.execute("DROP FUNCTION label_answer_slot()")


def _label_habit() -> None:
    op.create_table(
        "label_habit",
        sa.Column("person_id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("langs", JSON, nullable=False),
        sa.Column("opt_out", JSON, nullable=False),
        sa.Column("blur", sa.Boolean(), nullable=False),
        sa.Column("break_minutes", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_label_habit_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_habit_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("person_id", name="pk_label_habit"),
    )
    op.create_index("ix_label_habit_workspace_id", "label_habit", ["workspace_id"], unique=False)


def _label_project() -> None:
    op.create_table(
        "label_project",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("task", sa.String(length=16), nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("guideline", sa.Integer(), nullable=False),
        sa.Column("created_by", ID, nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by"], ["person.id"], name="fk_label_project_created_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_project_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_project"),
    )
    op.create_index("ix_label_project_workspace_id", "label_project", ["workspace_id"], unique=False)


def _lease() -> None:
    op.create_table(
        "lease",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("subject_kind", sa.String(length=16), nullable=False),
        sa.Column("subject_id", ID, nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_lease_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_lease_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_lease"),
        sa.UniqueConstraint("subject_kind", "subject_id", "person_id", name="uq_lease_person"),
        sa.UniqueConstraint(
            "subject_kind", "subject_id", "slot", name="uq_lease_subject_kind_subject_id_slot"
        ),
    )
    op.create_index("ix_lease_expires_at", "lease", ["expires_at"], unique=False)
    op.create_index("ix_lease_person_id", "lease", ["person_id"], unique=False)
    op.create_index("ix_lease_workspace_id", "lease", ["workspace_id"], unique=False)


def _agreement_stat() -> None:
    op.create_table(
        "agreement_stat",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("scope", sa.String(length=160), nullable=False),
        sa.Column("metric", sa.String(length=48), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("computed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_agreement_stat_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_agreement_stat_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_agreement_stat"),
        sa.UniqueConstraint(
            "project_id", "scope", "metric", name="uq_agreement_stat_project_id_scope_metric"
        ),
    )
    op.create_index("ix_agreement_stat_project_id", "agreement_stat", ["project_id"], unique=False)
    op.create_index("ix_agreement_stat_workspace_id", "agreement_stat", ["workspace_id"], unique=False)


def _guideline_version() -> None:
    op.create_table(
        "guideline_version",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("texts", JSON, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("acknowledge", sa.Boolean(), nullable=False),
        sa.Column("created_by", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by"], ["person.id"], name="fk_guideline_version_created_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_guideline_version_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_guideline_version_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_guideline_version"),
        sa.UniqueConstraint("project_id", "n", name="uq_guideline_version_project_id_n"),
    )
    op.create_index("ix_guideline_version_workspace_id", "guideline_version", ["workspace_id"], unique=False)


def _label_member() -> None:
    op.create_table(
        "label_member",
        sa.Column("project_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("skills", JSON, nullable=False),
        sa.Column("scores", JSON, nullable=True),
        sa.Column("trust", sa.Float(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("qualified_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_label_member_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_label_member_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_member_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "person_id", name="pk_label_member"),
    )
    op.create_index("ix_label_member_person_id", "label_member", ["person_id"], unique=False)
    op.create_index("ix_label_member_workspace_id", "label_member", ["workspace_id"], unique=False)


def _label_tree() -> None:
    op.create_table(
        "label_tree",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("lang", sa.String(length=16), nullable=True),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_label_tree_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_tree_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_tree"),
    )
    op.create_index("ix_label_tree_project_id", "label_tree", ["project_id"], unique=False)
    op.create_index("ix_label_tree_workspace_id", "label_tree", ["workspace_id"], unique=False)


def _label_webhook() -> None:
    op.create_table(
        "label_webhook",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("events", JSON, nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_by", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by"], ["person.id"], name="fk_label_webhook_created_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_label_webhook_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_webhook_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_webhook"),
    )
    op.create_index("ix_label_webhook_project_id", "label_webhook", ["project_id"], unique=False)
    op.create_index("ix_label_webhook_workspace_id", "label_webhook", ["workspace_id"], unique=False)


def _project_version() -> None:
    op.create_table(
        "project_version",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("questions", JSON, nullable=False),
        sa.Column("created_by", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by"], ["person.id"], name="fk_project_version_created_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_project_version_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_project_version_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_project_version"),
        sa.UniqueConstraint("project_id", "n", name="uq_project_version_project_id_n"),
    )
    op.create_index("ix_project_version_workspace_id", "project_version", ["workspace_id"], unique=False)


def _guideline_ack() -> None:
    op.create_table(
        "guideline_ack",
        sa.Column("guideline_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["guideline_id"],
            ["guideline_version.id"],
            name="fk_guideline_ack_guideline_id_guideline_version",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_guideline_ack_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_guideline_ack_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("guideline_id", "person_id", name="pk_guideline_ack"),
    )
    op.create_index("ix_guideline_ack_person_id", "guideline_ack", ["person_id"], unique=False)
    op.create_index("ix_guideline_ack_workspace_id", "guideline_ack", ["workspace_id"], unique=False)


def _label_item() -> None:
    op.create_table(
        "label_item",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("lang", sa.String(length=16), nullable=True),
        sa.Column("skill", ID, nullable=True),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("meta", JSON, nullable=False),
        sa.Column("sensitive", JSON, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("min_answers", sa.Integer(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("skips", sa.Integer(), nullable=False),
        sa.Column("source", JSON, nullable=False),
        sa.Column("chat_id", ID, nullable=True),
        sa.Column("gold", JSON, nullable=True),
        sa.Column("explanation", sa.Text(), nullable=True),
        sa.Column("suggestion", JSON, nullable=True),
        sa.Column("data_use", sa.Boolean(), nullable=False),
        sa.Column("content_hash", ID, nullable=False),
        sa.Column("disagreement", sa.Float(), nullable=True),
        sa.Column("uncertainty", sa.Float(), nullable=True),
        sa.Column("created_by", ID, nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("min_answers >= 1 AND answers >= 0", name="ck_label_item_counts"),
        sa.ForeignKeyConstraint(
            ["chat_id"], ["chat.id"], name="fk_label_item_chat_id_chat", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["created_by"], ["person.id"], name="fk_label_item_created_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_label_item_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_item_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_item"),
    )
    op.create_index("ix_label_item_chat_id", "label_item", ["chat_id"], unique=False)
    op.create_index("ix_label_item_hash", "label_item", ["project_id", "content_hash"], unique=False)
    op.create_index(
        "ix_label_item_queue", "label_item", ["project_id", "kind", "status", "priority", "id"], unique=False
    )
    op.create_index("ix_label_item_workspace_id", "label_item", ["workspace_id"], unique=False)


def _label_webhook_delivery() -> None:
    op.create_table(
        "label_webhook_delivery",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("webhook_id", ID, nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["label_webhook.id"],
            name="fk_label_webhook_delivery_webhook_id_label_webhook",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_webhook_delivery_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_webhook_delivery"),
    )
    op.create_index("ix_label_webhook_delivery_next_at", "label_webhook_delivery", ["next_at"], unique=False)
    op.create_index(
        "ix_label_webhook_delivery_webhook_id", "label_webhook_delivery", ["webhook_id"], unique=False
    )
    op.create_index(
        "ix_label_webhook_delivery_workspace_id", "label_webhook_delivery", ["workspace_id"], unique=False
    )


def _label_assignment() -> None:
    op.create_table(
        "label_assignment",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("assigned_by", ID, nullable=True),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["assigned_by"], ["person.id"], name="fk_label_assignment_assigned_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["item_id"], ["label_item.id"], name="fk_label_assignment_item_id_label_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_label_assignment_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_label_assignment_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_assignment_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_assignment"),
        sa.UniqueConstraint("item_id", "person_id", name="uq_label_assignment_item_id_person_id"),
    )
    op.create_index(
        "ix_label_assignment_person", "label_assignment", ["project_id", "person_id", "done_at"], unique=False
    )
    op.create_index("ix_label_assignment_workspace_id", "label_assignment", ["workspace_id"], unique=False)


def _label_author() -> None:
    op.create_table(
        "label_author",
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["label_item.id"], name="fk_label_author_item_id_label_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_label_author_person_id_person", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("item_id", "person_id", name="pk_label_author"),
    )
    op.create_index("ix_label_author_person_id", "label_author", ["person_id"], unique=False)


def _label_comment() -> None:
    op.create_table(
        "label_comment",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=True),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("question", sa.Boolean(), nullable=False),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["label_item.id"], name="fk_label_comment_item_id_label_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_label_comment_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_label_comment_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_comment_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_comment"),
    )
    op.create_index("ix_label_comment_item_id", "label_comment", ["item_id"], unique=False)
    op.create_index("ix_label_comment_person_id", "label_comment", ["person_id"], unique=False)
    op.create_index("ix_label_comment_project_id", "label_comment", ["project_id"], unique=False)
    op.create_index("ix_label_comment_workspace_id", "label_comment", ["workspace_id"], unique=False)


def _label_draft() -> None:
    op.create_table(
        "label_draft",
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("shown", JSON, nullable=False),
        sa.Column("how", JSON, nullable=False),
        sa.Column("value", JSON, nullable=True),
        sa.Column("prefilled", sa.Boolean(), nullable=False),
        sa.Column("suggested", sa.Boolean(), nullable=False),
        sa.Column("saved_at", sa.BigInteger(), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["label_item.id"], name="fk_label_draft_item_id_label_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_label_draft_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_label_draft_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_draft_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("item_id", "person_id", name="pk_label_draft"),
    )
    op.create_index("ix_label_draft_person_id", "label_draft", ["person_id"], unique=False)
    op.create_index("ix_label_draft_project_id", "label_draft", ["project_id"], unique=False)
    op.create_index("ix_label_draft_workspace_id", "label_draft", ["workspace_id"], unique=False)


def _label_skip() -> None:
    op.create_table(
        "label_skip",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["label_item.id"], name="fk_label_skip_item_id_label_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_label_skip_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_label_skip_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_skip_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_skip"),
        sa.UniqueConstraint("item_id", "person_id", name="uq_label_skip_item_id_person_id"),
    )
    op.create_index("ix_label_skip_person_id", "label_skip", ["person_id"], unique=False)
    op.create_index("ix_label_skip_project", "label_skip", ["project_id", "person_id"], unique=False)
    op.create_index("ix_label_skip_workspace_id", "label_skip", ["workspace_id"], unique=False)


def _adjudication() -> None:
    op.create_table(
        "adjudication",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("final", JSON, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("answer_ids", JSON, nullable=False),
        sa.Column("judgement_id", ID, nullable=True),
        sa.Column("superseded_by", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["label_item.id"], name="fk_adjudication_item_id_label_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["judgement_id"],
            ["judgement.id"],
            name="fk_adjudication_judgement_id_judgement",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_adjudication_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_adjudication_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_adjudication_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_adjudication"),
    )
    op.create_index("ix_adjudication_person_id", "adjudication", ["person_id"], unique=False)
    op.create_index("ix_adjudication_project_id", "adjudication", ["project_id"], unique=False)
    op.create_index("ix_adjudication_workspace_id", "adjudication", ["workspace_id"], unique=False)
    op.create_index(
        "uq_adjudication_item",
        "adjudication",
        ["item_id"],
        unique=True,
        sqlite_where=sa.text("superseded_by IS NULL"),
        postgresql_where=sa.text("superseded_by IS NULL"),
    )


def _label_answer() -> None:
    op.create_table(
        "label_answer",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("slot", sa.Integer(), nullable=True),
        sa.Column("judgement_id", ID, nullable=False),
        sa.Column("version_id", ID, nullable=False),
        sa.Column("guideline_id", ID, nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("shown", JSON, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("prefilled", sa.Boolean(), nullable=False),
        sa.Column("suggested", sa.Boolean(), nullable=False),
        sa.Column("unchanged", sa.Boolean(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("superseded_by", ID, nullable=True),
        sa.Column("returned", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["guideline_id"],
            ["guideline_version.id"],
            name="fk_label_answer_guideline_id_guideline_version",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["item_id"], ["label_item.id"], name="fk_label_answer_item_id_label_item", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["judgement_id"],
            ["judgement.id"],
            name="fk_label_answer_judgement_id_judgement",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_label_answer_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_label_answer_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["project_version.id"],
            name="fk_label_answer_version_id_project_version",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_answer_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_answer"),
    )
    op.create_index("ix_label_answer_item_id", "label_answer", ["item_id"], unique=False)
    op.create_index("ix_label_answer_judgement_id", "label_answer", ["judgement_id"], unique=False)
    op.create_index("ix_label_answer_person_id", "label_answer", ["person_id"], unique=False)
    op.create_index("ix_label_answer_project", "label_answer", ["project_id", "status", "id"], unique=False)
    op.create_index("ix_label_answer_workspace_id", "label_answer", ["workspace_id"], unique=False)
    op.create_index(
        "uq_label_answer_person",
        "label_answer",
        ["item_id", "person_id"],
        unique=True,
        sqlite_where=sa.text("status = 'submitted'"),
        postgresql_where=sa.text("status = 'submitted'"),
    )
    op.create_index(
        "uq_label_answer_slot",
        "label_answer",
        ["item_id", "slot"],
        unique=True,
        sqlite_where=sa.text("status = 'submitted' AND slot IS NOT NULL"),
        postgresql_where=sa.text("status = 'submitted' AND slot IS NOT NULL"),
    )


def _label_mention() -> None:
    op.create_table(
        "label_mention",
        sa.Column("comment_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["comment_id"],
            ["label_comment.id"],
            name="fk_label_mention_comment_id_label_comment",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_label_mention_person_id_person", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("comment_id", "person_id", name="pk_label_mention"),
    )
    op.create_index("ix_label_mention_person_id", "label_mention", ["person_id"], unique=False)


def _label_tree_node() -> None:
    op.create_table(
        "label_tree_node",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("tree_id", ID, nullable=False),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("judgement_id", ID, nullable=True),
        sa.Column("rank", sa.Integer(), nullable=True),
        sa.Column("labels", JSON, nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["judgement_id"],
            ["judgement.id"],
            name="fk_label_tree_node_judgement_id_judgement",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["label_tree_node.id"],
            name="fk_label_tree_node_parent_id_label_tree_node",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_label_tree_node_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tree_id"], ["label_tree.id"], name="fk_label_tree_node_tree_id_label_tree", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_tree_node_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_tree_node"),
    )
    op.create_index("ix_label_tree_node_parent_id", "label_tree_node", ["parent_id"], unique=False)
    op.create_index("ix_label_tree_node_person_id", "label_tree_node", ["person_id"], unique=False)
    op.create_index("ix_label_tree_node_tree_id", "label_tree_node", ["tree_id"], unique=False)
    op.create_index("ix_label_tree_node_workspace_id", "label_tree_node", ["workspace_id"], unique=False)


def _answer_review() -> None:
    op.create_table(
        "answer_review",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("answer_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("judgement_id", ID, nullable=True),
        sa.Column("returned", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["answer_id"],
            ["label_answer.id"],
            name="fk_answer_review_answer_id_label_answer",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["judgement_id"],
            ["judgement.id"],
            name="fk_answer_review_judgement_id_judgement",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_answer_review_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_answer_review_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_answer_review_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_answer_review"),
        sa.UniqueConstraint("answer_id", "person_id", name="uq_answer_review_answer_id_person_id"),
    )
    op.create_index("ix_answer_review_person_id", "answer_review", ["person_id"], unique=False)
    op.create_index("ix_answer_review_project_id", "answer_review", ["project_id"], unique=False)
    op.create_index("ix_answer_review_workspace_id", "answer_review", ["workspace_id"], unique=False)


def _label_flag() -> None:
    op.create_table(
        "label_flag",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("answer_id", ID, nullable=True),
        sa.Column("flagged_by", ID, nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["answer_id"],
            ["label_answer.id"],
            name="fk_label_flag_answer_id_label_answer",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["flagged_by"], ["person.id"], name="fk_label_flag_flagged_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_label_flag_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["label_project.id"],
            name="fk_label_flag_project_id_label_project",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_label_flag_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label_flag"),
    )
    op.create_index("ix_label_flag_person_id", "label_flag", ["person_id"], unique=False)
    op.create_index("ix_label_flag_project_id", "label_flag", ["project_id"], unique=False)
    op.create_index("ix_label_flag_workspace_id", "label_flag", ["workspace_id"], unique=False)


TABLES = (
    _label_habit,
    _label_project,
    _lease,
    _agreement_stat,
    _guideline_version,
    _label_member,
    _label_tree,
    _label_webhook,
    _project_version,
    _guideline_ack,
    _label_item,
    _label_webhook_delivery,
    _label_assignment,
    _label_author,
    _label_comment,
    _label_draft,
    _label_skip,
    _adjudication,
    _label_answer,
    _label_mention,
    _label_tree_node,
    _answer_review,
    _label_flag,
)
