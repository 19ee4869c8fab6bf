"""Copies of the store: make one, verify it, restore it into an empty place.

A backup is a folder: `manifest.json` and either `ziggurat.db` (SQLite's online backup: consistent while people write)
or `tables.jsonl.zst` (PostgreSQL: every row in one transaction, one JSON object a line). The manifest holds hashes, the
schema's version, the rows of each table and the head of the audit chain. Either kind is restored into either database.
"""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard
from sqlalchemy import Connection, func, insert, inspect, select, text

from ziggurat.errors import RunError, UsageError
from ziggurat.files import read_json, replace_folder, sha256_file, to_json, write_json
from ziggurat.store import audit, review_guards
from ziggurat.store.clock import iso
from ziggurat.store.location import shown
from ziggurat.store.tables import metadata
from ziggurat.version import __version__

if TYPE_CHECKING:
    from ziggurat.store.store import Store

BACKUP_FORMAT = 1
MANIFEST, SQLITE_FILE, ROWS_FILE = "manifest.json", "ziggurat.db", "tables.jsonl.zst"
BATCH = 500
TABLES = [table for table in metadata.sorted_tables if table.name != "search_entry"]
"""The search index is no part of a backup: it is made again from titles and messages."""


def back_up(store: Store, target: Path) -> dict[str, Any]:
    """Write a backup as the folder `target`, which must not exist; returns its manifest.

    Raises:
        UsageError: the folder exists.
    """
    from ziggurat.store.schema import version_of

    if target.exists():
        raise UsageError(f"{target} exists; name a folder that does not, so that no backup is lost.")
    target.parent.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {
        "made_at": iso(store.now()),
        "ziggurat": __version__,
        "schema": version_of(store),
    }

    def write(folder: Path) -> None:
        folder.chmod(0o700)
        if store.kind == "sqlite":
            file = folder / SQLITE_FILE
            _copy_sqlite(Path(str(store.path)), file)
            manifest.update(_facts_of_file(file))
        else:
            file = folder / ROWS_FILE
            with store.read() as conn:
                _write_rows(conn, file)
                manifest.update(facts(conn))
        manifest["files"] = {file.name: {"bytes": file.stat().st_size, "sha256": sha256_file(file)}}
        write_json(folder / MANIFEST, manifest, BACKUP_FORMAT)

    replace_folder(target, write)
    return manifest


def backup_before_upgrade(store: Store, version: str) -> Path:
    """A backup beside the file (SQLite) or in the home, named after the schema and the time."""
    from ziggurat.home import ziggurat_home

    beside = store.path.parent if store.path else ziggurat_home()
    stamp = iso(store.now())[:19].replace(":", "").replace("-", "")
    target, number = beside / "backups" / f"before-upgrade-{version}-{stamp}", 1
    while target.exists():
        number += 1
        target = target.with_name(f"before-upgrade-{version}-{stamp}-{number}")
    back_up(store, target)
    return target


def verify(folder: Path) -> dict[str, Any]:
    """Check hashes, that the database opens, that each table has its rows and that the audit chain holds; returns the
    manifest.

    Raises:
        RunError: a sentence that says what is wrong.
    """
    manifest = read_json(folder / MANIFEST, BACKUP_FORMAT)
    for name, file_facts in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != file_facts["bytes"]:
            raise RunError(
                f"{path} is missing or has another size than its manifest says; the backup is damaged."
            )
        if sha256_file(path) != file_facts["sha256"]:
            raise RunError(f"{path} has another hash than its manifest says; the backup is damaged.")
    if SQLITE_FILE in manifest["files"]:
        found = _facts_of_file(folder / SQLITE_FILE)
    else:
        found = _facts_of_rows(folder / ROWS_FILE)
    for name in ("rows", "audit"):
        if name in found and found[name] != manifest[name]:
            raise RunError(f"{folder}: {name} differ from the manifest; the backup is damaged.")
    return manifest


def restore(folder: Path, store: Store) -> dict[str, Any]:
    """Read a verified backup into an empty store of the same schema; returns the manifest.

    Raises:
        UsageError: the store holds data.
        RunError: the backup is damaged, or of a schema that this version cannot read.
    """
    from ziggurat.store.schema import HEAD

    manifest = verify(folder)
    if manifest["schema"] != HEAD:
        raise RunError(
            f"{folder} has schema {manifest['schema']} and this Ziggurat restores {HEAD}; restore it with Ziggurat "
            f"{manifest['ziggurat']} and upgrade then, or (SQLite) start with the backup's {SQLITE_FILE} itself."
        )
    rows = (
        _rows_of_sqlite(folder / SQLITE_FILE)
        if SQLITE_FILE in manifest["files"]
        else _rows_of_file(folder / ROWS_FILE)
    )
    with store.write() as conn:
        held = {name: count for name, count in facts(conn)["rows"].items() if count}
        if held:
            raise UsageError(
                f"the store {shown(store.url)} holds data ({', '.join(held)}); name an empty one."
            )
        review_guards.drop(conn)  # they speak of the order in which rows are written; a backup's is another
        _insert_rows(conn, rows)
        review_guards.create(conn)
        _refill_index(conn)
        if (found := facts(conn)) != {name: manifest[name] for name in found}:
            raise RunError(f"{folder}: after restoring, the rows differ from the manifest; nothing was kept.")
    return manifest


def facts(conn: Connection) -> dict[str, Any]:
    """Rows of each table, and the head of the audit chain."""
    rows = {
        table.name: conn.execute(select(func.count()).select_from(table)).scalar_one() for table in TABLES
    }
    return {"rows": rows, "audit": list(audit.head(conn))}


def _copy_sqlite(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as reader, sqlite3.connect(target) as writer:
        target.chmod(0o600)
        reader.backup(writer, pages=2_000)
        writer.execute("PRAGMA journal_mode=DELETE")
    reader.close()
    writer.close()


def _facts_of_file(path: Path) -> dict[str, Any]:
    """Check a SQLite file as a whole, then count. Tables of an older schema are counted as far as they are there."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(f"sqlite:///file:{path}?mode=ro&immutable=1&uri=true", poolclass=NullPool)
    with engine.connect() as conn:
        try:
            result = conn.execute(text("PRAGMA integrity_check")).scalar()
            dangling = conn.execute(text("PRAGMA foreign_key_check")).first()
        except Exception as error:
            raise RunError(
                f"{path} is not a readable database ({type(error).__name__}); it is damaged."
            ) from None
        if result != "ok" or dangling is not None:
            raise RunError(f"{path} is damaged ({result}).")
        there = set(inspect(conn).get_table_names())
        rows = {
            table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
            for table in TABLES
            if table.name in there
        }
        if (seq := audit.broken_at(conn)) is not None:
            raise RunError(f"{path}: the audit chain breaks at entry {seq}.")
        return {"rows": rows, "audit": list(audit.head(conn))}


def _write_rows(conn: Connection, path: Path) -> None:
    with open(path, "xb") as raw, zstandard.ZstdCompressor(level=6).stream_writer(raw) as file:
        path.chmod(0o600)
        for name, row in _rows(conn):
            file.write((to_json([name, row]) + "\n").encode())


def _rows(conn: Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    for table in TABLES:
        for row in conn.execution_options(stream_results=True).execute(select(table)).mappings():
            yield table.name, dict(row)


def _rows_of_sqlite(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(f"sqlite:///file:{path}?mode=ro&immutable=1&uri=true", poolclass=NullPool)
    with engine.connect() as conn:
        yield from _rows(conn)


def _rows_of_file(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with open(path, "rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as reader:
            for line in io.TextIOWrapper(reader, encoding="utf-8"):
                name, row = json.loads(line)
                yield name, row
    except (ValueError, zstandard.ZstdError) as error:
        raise RunError(f"{path} cannot be read ({error}); the backup is damaged.") from None


def _facts_of_rows(path: Path) -> dict[str, Any]:
    counts = dict.fromkeys((table.name for table in TABLES), 0)
    for name, _ in _rows_of_file(path):
        if name not in counts:
            raise RunError(f"{path} holds a table {name} that this Ziggurat does not know; upgrade Ziggurat.")
        counts[name] += 1
    return {"rows": counts}


def _insert_rows(conn: Connection, rows: Iterator[tuple[str, dict[str, Any]]]) -> None:
    """A message may come before its parent, so foreign keys are checked at the commit."""
    sqlite = conn.dialect.name == "sqlite"
    conn.execute(text("PRAGMA defer_foreign_keys=ON" if sqlite else "SET CONSTRAINTS ALL DEFERRED"))
    waiting: list[dict[str, Any]] = []
    at = ""
    for name, row in rows:
        if (name != at or len(waiting) >= BATCH) and waiting:
            conn.execute(insert(metadata.tables[at]), waiting)
            waiting = []
        at = name
        waiting.append(row)
    if waiting:
        conn.execute(insert(metadata.tables[at]), waiting)


def _refill_index(conn: Connection) -> None:
    """The index is made again from titles and messages."""
    from ziggurat.store import search

    search.rebuild(conn)
