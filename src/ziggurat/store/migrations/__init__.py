"""The steps of the schema (Alembic)."""
