"""The version of the schema, and the way forward from an earlier one.

Alembic keeps the steps in `migrations/versions`. An older store is copied before it is changed; a newer one is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, text

from ziggurat.errors import RunError

if TYPE_CHECKING:
    from ziggurat.store.store import Store

HEAD = "0008"
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
    """Run the steps up or down to `to` ("base": no tables), in one transaction.

    SQLite changes many things by making a table anew, so foreign keys, which would delete what points to it, rest
    meanwhile and are checked at the end.
    """
    sqlite = store.kind == "sqlite"
    if sqlite:
        store.maintain("PRAGMA foreign_keys=OFF")
    try:
        with store.write() as conn:
            _run(conn, to, folder)
            if sqlite and (broken := conn.exec_driver_sql("PRAGMA foreign_key_check").first()) is not None:
                raise RunError(
                    f"the store was not changed: table {broken[0]} would point to rows that are gone."
                )
    finally:
        if sqlite:
            store.maintain("PRAGMA foreign_keys=ON")


def _run(conn: Connection, to: str, folder: Path) -> None:
    from alembic import command

    config, known = _config(folder), ["base", *_steps(folder)]
    config.attributes["connection"] = conn
    has_version = inspect(conn).has_table("alembic_version")
    found = conn.execute(text("SELECT version_num FROM alembic_version")).scalar() if has_version else None
    if known.index(found or "base") > known.index(to):
        command.downgrade(config, to)
    else:
        command.upgrade(config, to)


def _config(folder: Path) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def _steps(folder: Path) -> list[str]:
    from alembic.script import ScriptDirectory

    return [step.revision for step in ScriptDirectory.from_config(_config(folder)).walk_revisions()][::-1]
