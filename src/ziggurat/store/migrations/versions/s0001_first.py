"""The first schema."""

from __future__ import annotations

from alembic import op

from ziggurat.store.tables import metadata
from ziggurat.store.tables.search import POSTGRESQL_INDEX, SQLITE_INDEX
from ziggurat.store.tables.workspace import POSTGRESQL_APPEND_ONLY, SQLITE_APPEND_ONLY

revision = "0001"
down_revision = None


def upgrade() -> None:
    bind = op.get_bind()
    metadata.create_all(bind)
    sqlite = bind.dialect.name == "sqlite"
    for statement in (
        *(SQLITE_INDEX if sqlite else POSTGRESQL_INDEX),
        *(SQLITE_APPEND_ONLY if sqlite else POSTGRESQL_APPEND_ONLY),
    ):
        bind.exec_driver_sql(statement)


def downgrade() -> None:
    raise NotImplementedError
