"""Judgements of more than messages: of items, reviews, battles and answers of the API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.String(64)
CURRENT = sa.text("superseded_by IS NULL AND withdrawn_at IS NULL AND subject_kind IS NOT NULL")


def upgrade() -> None:
    op.add_column("judgement", sa.Column("subject_kind", sa.String(16), nullable=True))
    op.add_column("judgement", sa.Column("subject_id", ID, nullable=True))
    op.add_column("judgement", sa.Column("basis", sa.String(16), nullable=True))
    op.create_index("ix_judgement_subject", "judgement", ["subject_id", "kind", "id"])
    op.create_index(
        "uq_judgement_subject",
        "judgement",
        ["subject_id", "person_id", "kind"],
        unique=True,
        sqlite_where=CURRENT,
        postgresql_where=CURRENT,
    )


def downgrade() -> None:
    op.drop_index("uq_judgement_subject", "judgement")
    op.drop_index("ix_judgement_subject", "judgement")
    for name in ("basis", "subject_id", "subject_kind"):
        op.drop_column("judgement", name)
