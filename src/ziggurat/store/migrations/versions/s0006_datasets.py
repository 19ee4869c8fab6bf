"""Dataset versions and what each holds and left out, frozen by triggers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"

ID = sa.String(64)
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

SAME = (
    "(NEW.version_id, NEW.content_hash, NEW.judgement_id, NEW.kind, NEW.split, NEW.position, NEW.weight, NEW.person, "
    "NEW.source) IS %s (OLD.version_id, OLD.content_hash, OLD.judgement_id, OLD.kind, OLD.split, OLD.position, "
    "OLD.weight, OLD.person, OLD.source)"
)
REFUSE = "BEGIN SELECT RAISE(ABORT, 'a dataset version is frozen'); END"
SQLITE = tuple(
    f"CREATE TRIGGER {trigger} {REFUSE}"
    for trigger in (
        "dataset_version_frozen BEFORE UPDATE ON dataset_version WHEN OLD.frozen_at IS NOT NULL",
        "dataset_version_kept BEFORE DELETE ON dataset_version WHEN OLD.frozen_at IS NOT NULL",
        "dataset_item_closed BEFORE INSERT ON dataset_item "
        "WHEN (SELECT frozen_at FROM dataset_version WHERE id = NEW.version_id) IS NOT NULL",
        "dataset_item_frozen BEFORE UPDATE ON dataset_item WHEN NEW.content IS NOT NULL OR " + SAME % "NOT",
        "dataset_item_kept BEFORE DELETE ON dataset_item "
        "WHEN (SELECT frozen_at FROM dataset_version WHERE id = OLD.version_id) IS NOT NULL",
    )
)
POSTGRESQL = (
    "CREATE FUNCTION dataset_frozen() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'a dataset version is frozen'; END $$",
    "CREATE FUNCTION dataset_item_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF (SELECT frozen_at FROM dataset_version WHERE id = NEW.version_id) IS NOT NULL "
    "THEN RAISE EXCEPTION 'a dataset version is frozen'; END IF; RETURN NEW; END $$",
    "CREATE FUNCTION dataset_item_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF (SELECT frozen_at FROM dataset_version WHERE id = OLD.version_id) IS NOT NULL "
    "THEN RAISE EXCEPTION 'a dataset version is frozen'; END IF; RETURN OLD; END $$",
    "CREATE TRIGGER dataset_version_frozen BEFORE UPDATE OR DELETE ON dataset_version FOR EACH ROW "
    "WHEN (OLD.frozen_at IS NOT NULL) EXECUTE FUNCTION dataset_frozen()",
    "CREATE TRIGGER dataset_item_closed BEFORE INSERT ON dataset_item FOR EACH ROW "
    "EXECUTE FUNCTION dataset_item_added()",
    "CREATE TRIGGER dataset_item_kept BEFORE DELETE ON dataset_item FOR EACH ROW "
    "EXECUTE FUNCTION dataset_item_removed()",
    "CREATE TRIGGER dataset_item_frozen BEFORE UPDATE ON dataset_item FOR EACH ROW "
    "WHEN (NEW.content IS NOT NULL OR " + SAME % "DISTINCT FROM" + ") EXECUTE FUNCTION dataset_frozen()",
)


def upgrade() -> None:
    op.create_table(
        "dataset",
        sa.Column("id", ID, primary_key=True),
        _workspace("dataset"),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("name", name="uq_dataset_name"),
    )
    op.create_index("ix_dataset_workspace_id", "dataset", ["workspace_id"])
    op.create_table(
        "dataset_version",
        sa.Column("id", ID, primary_key=True),
        _workspace("dataset_version"),
        sa.Column(
            "dataset_id",
            ID,
            sa.ForeignKey("dataset.id", name="fk_dataset_version_dataset_id_dataset"),
            nullable=False,
        ),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column(
            "parent_id",
            ID,
            sa.ForeignKey("dataset_version.id", name="fk_dataset_version_parent_id_dataset_version"),
        ),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("card", JSON, nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("made_by", ID),
        sa.Column("frozen_at", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("dataset_id", "n", name="uq_dataset_version_dataset_id_n"),
    )
    op.create_index("ix_dataset_version_workspace_id", "dataset_version", ["workspace_id"])
    _items()
    bind = op.get_bind()
    for statement in SQLITE if bind.dialect.name == "sqlite" else POSTGRESQL:
        bind.exec_driver_sql(statement)


def _workspace(table: str) -> sa.Column[str]:
    points = sa.ForeignKey("workspace.id", ondelete="CASCADE", name=f"fk_{table}_workspace_id_workspace")
    return sa.Column("workspace_id", ID, points, nullable=False)


def _items() -> None:
    points = sa.ForeignKey("dataset_version.id", name="fk_dataset_item_version_id_dataset_version")
    op.create_table(
        "dataset_item",
        sa.Column("version_id", ID, points, nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("split", sa.String(24), nullable=False),
        sa.Column("content", JSON),
        sa.Column("judgement_id", ID, nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("weak", sa.Boolean(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("probability", sa.Float()),
        sa.Column("person", sa.String(32), nullable=False),
        sa.Column("consent_id", ID),
        sa.Column("basis", sa.String(16), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("lang", sa.String(8)),
        sa.Column("topic", sa.Text()),
        sa.Column("judged_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "content_hash", name="pk_dataset_item"),
    )
    op.create_index("ix_dataset_item_judgement", "dataset_item", ["judgement_id"])


def downgrade() -> None:
    for name in ("dataset_item", "dataset_version", "dataset"):
        op.drop_table(name)
    if op.get_bind().dialect.name == "postgresql":
        for name in ("dataset_frozen", "dataset_item_added", "dataset_item_removed"):
            op.execute(f"DROP FUNCTION {name}()")
