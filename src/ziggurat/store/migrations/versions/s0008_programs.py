"""Feedback of programs, files, fine-tuning jobs, battles; of metrics and comments a person may give several."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"

ID = sa.String(64)
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
ONE = "superseded_by IS NULL AND withdrawn_at IS NULL AND subject_kind IS NOT NULL"


def upgrade() -> None:
    _one_of_a_subject(f"{ONE} AND kind NOT IN ('metric', 'comment')")
    for make in TABLES:
        make()


def downgrade() -> None:
    for name in reversed(NAMES):
        op.drop_table(name)
    op.execute("DELETE FROM judgement WHERE kind IN ('metric', 'comment')")
    _one_of_a_subject(ONE)


def _one_of_a_subject(where: str) -> None:
    op.drop_index("uq_judgement_subject", "judgement")
    op.create_index(
        "uq_judgement_subject",
        "judgement",
        ["subject_id", "person_id", "kind"],
        unique=True,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def _episode() -> None:
    op.create_table(
        "episode",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_episode_person_id_person"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name=op.f("fk_episode_workspace_id_workspace"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_episode")),
    )
    op.create_index(op.f("ix_episode_person_id"), "episode", ["person_id"], unique=False)
    op.create_index(op.f("ix_episode_workspace_id"), "episode", ["workspace_id"], unique=False)
    op.create_index("uq_episode_name", "episode", ["person_id", "name"], unique=True)


def _inference() -> None:
    op.create_table(
        "inference",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("key_id", ID, nullable=True),
        sa.Column("request_id", ID, nullable=True),
        sa.Column("episode_id", ID, nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("release", ID, nullable=True),
        sa.Column("hashes", JSON, nullable=False),
        sa.Column("prompt_hash", ID, nullable=False),
        sa.Column("answer_hash", ID, nullable=False),
        sa.Column("prompt", JSON, nullable=True),
        sa.Column("answer", JSON, nullable=True),
        sa.Column("sampling", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["episode.id"], name=op.f("fk_inference_episode_id_episode"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_inference_person_id_person"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name=op.f("fk_inference_workspace_id_workspace"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inference")),
    )
    op.create_index("ix_inference_at", "inference", ["workspace_id", "created_at"], unique=False)
    op.create_index(op.f("ix_inference_episode_id"), "inference", ["episode_id"], unique=False)
    op.create_index("ix_inference_request", "inference", ["person_id", "request_id"], unique=False)
    op.create_index(op.f("ix_inference_workspace_id"), "inference", ["workspace_id"], unique=False)


def _feedback_metric() -> None:
    op.create_table(
        "feedback_metric",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("optimize", sa.String(length=8), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name=op.f("fk_feedback_metric_workspace_id_workspace"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback_metric")),
    )
    op.create_index(
        op.f("ix_feedback_metric_workspace_id"), "feedback_metric", ["workspace_id"], unique=False
    )
    op.create_index("uq_feedback_metric_name", "feedback_metric", ["workspace_id", "name"], unique=True)


def _feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("judgement_id", ID, nullable=False),
        sa.Column("inference_id", ID, nullable=True),
        sa.Column("episode_id", ID, nullable=True),
        sa.Column("metric_id", ID, nullable=True),
        sa.Column("once", ID, nullable=True),
        sa.Column("content_hash", ID, nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(inference_id IS NULL) <> (episode_id IS NULL)", name=op.f("ck_feedback_subject")
        ),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["episode.id"], name=op.f("fk_feedback_episode_id_episode"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["inference_id"],
            ["inference.id"],
            name=op.f("fk_feedback_inference_id_inference"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["judgement_id"],
            ["judgement.id"],
            name=op.f("fk_feedback_judgement_id_judgement"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["metric_id"],
            ["feedback_metric.id"],
            name=op.f("fk_feedback_metric_id_feedback_metric"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_feedback_person_id_person"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name=op.f("fk_feedback_workspace_id_workspace"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
        sa.UniqueConstraint("judgement_id", name=op.f("uq_feedback_judgement_id")),
    )
    op.create_index(op.f("ix_feedback_episode_id"), "feedback", ["episode_id"], unique=False)
    op.create_index(op.f("ix_feedback_inference_id"), "feedback", ["inference_id"], unique=False)
    op.create_index(op.f("ix_feedback_metric_id"), "feedback", ["metric_id"], unique=False)
    op.create_index(op.f("ix_feedback_workspace_id"), "feedback", ["workspace_id"], unique=False)
    op.create_index(
        "uq_feedback_episode",
        "feedback",
        ["episode_id", "person_id", "metric_id"],
        unique=True,
        sqlite_where=sa.text("episode_id IS NOT NULL AND metric_id IS NOT NULL AND current"),
        postgresql_where=sa.text("episode_id IS NOT NULL AND metric_id IS NOT NULL AND current"),
    )
    op.create_index(
        "uq_feedback_inference",
        "feedback",
        ["inference_id", "person_id", "metric_id"],
        unique=True,
        sqlite_where=sa.text("inference_id IS NOT NULL AND metric_id IS NOT NULL AND current"),
        postgresql_where=sa.text("inference_id IS NOT NULL AND metric_id IS NOT NULL AND current"),
    )
    op.create_index("uq_feedback_once", "feedback", ["person_id", "once"], unique=True)


def _upload() -> None:
    op.create_table(
        "upload",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("filename", sa.String(length=200), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", ID, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("report", JSON, nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_upload_person_id_person"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name=op.f("fk_upload_workspace_id_workspace"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload")),
    )
    op.create_index(op.f("ix_upload_expires_at"), "upload", ["expires_at"], unique=False)
    op.create_index(op.f("ix_upload_person_id"), "upload", ["person_id"], unique=False)
    op.create_index(op.f("ix_upload_workspace_id"), "upload", ["workspace_id"], unique=False)


def _upload_part() -> None:
    op.create_table(
        "upload_part",
        sa.Column("upload_id", ID, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["upload.id"], name=op.f("fk_upload_part_upload_id_upload"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "n", name=op.f("pk_upload_part")),
    )


def _tuning_job() -> None:
    op.create_table(
        "tuning_job",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("model", sa.String(length=300), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("hyperparameters", JSON, nullable=False),
        sa.Column("training_file", ID, nullable=False),
        sa.Column("validation_file", ID, nullable=True),
        sa.Column("suffix", ID, nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("fine_tuned_model", sa.String(length=400), nullable=True),
        sa.Column("run", sa.String(length=400), nullable=True),
        sa.Column("trained_tokens", sa.BigInteger(), nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("job_id", ID, nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_tuning_job_person_id_person"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name=op.f("fk_tuning_job_workspace_id_workspace"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuning_job")),
        sa.UniqueConstraint("job_id", name=op.f("uq_tuning_job_job_id")),
    )
    op.create_index(op.f("ix_tuning_job_person_id"), "tuning_job", ["person_id"], unique=False)
    op.create_index("ix_tuning_job_status", "tuning_job", ["status", "id"], unique=False)
    op.create_index(op.f("ix_tuning_job_workspace_id"), "tuning_job", ["workspace_id"], unique=False)


def _battle() -> None:
    op.create_table(
        "battle",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("model_a", sa.String(length=300), nullable=False),
        sa.Column("model_b", sa.String(length=300), nullable=False),
        sa.Column("prompt", JSON, nullable=False),
        sa.Column("answer_a", JSON, nullable=True),
        sa.Column("answer_b", JSON, nullable=True),
        sa.Column("chosen_how", JSON, nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("lang", sa.String(length=8), nullable=True),
        sa.Column("leaked", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("judgement_id", ID, nullable=True),
        sa.Column("voted_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(state IN ('writing', 'failed')) OR (answer_a IS NOT NULL AND answer_b IS NOT NULL)",
            name=op.f("ck_battle_written"),
        ),
        sa.CheckConstraint("state <> 'voted' OR voted_at IS NOT NULL", name=op.f("ck_battle_voted")),
        sa.ForeignKeyConstraint(
            ["judgement_id"],
            ["judgement.id"],
            name=op.f("fk_battle_judgement_id_judgement"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_battle_person_id_person"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name=op.f("fk_battle_workspace_id_workspace"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_battle")),
    )
    op.create_index(op.f("ix_battle_person_id"), "battle", ["person_id"], unique=False)
    op.create_index(op.f("ix_battle_workspace_id"), "battle", ["workspace_id"], unique=False)


TABLES = (_episode, _inference, _feedback_metric, _feedback, _upload, _upload_part, _tuning_job, _battle)
NAMES = (
    "episode",
    "inference",
    "feedback_metric",
    "feedback",
    "upload",
    "upload_part",
    "tuning_job",
    "battle",
)
