"""Alembic's entry: `schema.migrate` hands over its own connection and transaction."""

from __future__ import annotations

from alembic import context

from ziggurat.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,  # the caller's transaction holds all steps
)
context.run_migrations()
