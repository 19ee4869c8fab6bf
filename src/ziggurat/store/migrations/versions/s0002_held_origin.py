"""Held answers of the API: by which key, to which endpoint and model."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("held_answer", sa.Column("origin", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("held_answer", "origin")
