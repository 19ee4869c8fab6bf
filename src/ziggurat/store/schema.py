"""The version of the schema, and the way forward from an earlier one.

Alembic keeps the steps in `migrations/versions`. An older store is copied before it is changed; a newer one is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, text

from ziggurat.errors import RunError

if TYPE_CHECKING:
    from ziggurat.store.store import Store

HEAD = "0001"
"""The newest step; a test compares it with the folder."""
MIGRATIONS = Path(__file__).parent / "migrations"


def version_of(store: Store) -> str | None:
    """The version of the store's schema; None where it is empty.

    Raises:
        RunError: the database holds tables that are not ours.
    """
    with store.read() as conn:
        names = inspect(conn).get_table_names()
        if "alembic_version" in names:
            return conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if names:
        raise RunError(
            f"this database holds other tables ({', '.join(sorted(names)[:3])}); name an empty one for Ziggurat."
        )
    return None


def bring_up_to_date(store: Store, *, to: str = HEAD, folder: Path = MIGRATIONS) -> None:
    """Make the tables, or bring them from an earlier version to `to`; copy the store first where it holds data.

    Raises:
        RunError: a newer Ziggurat wrote it.
    """
    found = version_of(store)
    if found == to:
        return
    known = _steps(folder)
    if found is not None and found not in known:
        raise RunError(
            f"the store has schema {found} and this Ziggurat knows up to {to}; upgrade Ziggurat, or restore a backup."
        )
    if found is not None and known.index(found) < known.index(to):
        from ziggurat.store.backup import backup_before_upgrade

        backup_before_upgrade(store, found)
    migrate(store, to, folder)


def migrate(store: Store, to: str, folder: Path = MIGRATIONS) -> None:
    """Run the steps up or down to `to`, in one transaction."""
    from alembic import command

    config = _config(folder)
    with store.write() as conn:
        config.attributes["connection"] = conn
        known = _steps(folder)
        now = (
            conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if _has_version(conn)
            else None
        )
        if now is not None and known.index(now) > known.index(to):
            command.downgrade(config, to)
        else:
            command.upgrade(config, to)


def _has_version(conn: Any) -> bool:
    return bool(inspect(conn).has_table("alembic_version"))


def _config(folder: Path) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def _steps(folder: Path) -> list[str]:
    from alembic.script import ScriptDirectory

    return [step.revision for step in ScriptDirectory.from_config(_config(folder)).walk_revisions()][::-1]
