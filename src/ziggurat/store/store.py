"""The store: one database, many readers, one writer.

    store = Store.open()                      # $ZIGGURAT_HOME/ziggurat.db, or what ZIGGURAT_STORE says
    with store.read() as conn: ...            # a consistent view
    with store.write() as conn: ...           # one transaction: all of it or nothing

Writes are serialised, in this process by a lock and between processes by the database (SQLite: BEGIN IMMEDIATE;
PostgreSQL: an advisory lock), so that a rule may read, decide and write without a race.

What survives. A commit returns after its bytes are on the disk (SQLite: WAL with synchronous=FULL), so what was
acknowledged survives `kill -9` and a power cut. `write(durable=False)` is for the events of a running generation: it
survives `kill -9`, but a power cut may lose the last moments of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import QueuePool

from ziggurat.errors import BusyError, ConfigError, RunError
from ziggurat.store.clock import now_us
from ziggurat.store.location import shown, store_url

READERS = 16
"""Connections that read at once; a request holds one for milliseconds."""
WAIT_S = 30
"""How long a write waits for another process."""
WRITE_LOCK = 0x7A696767
"""The advisory lock of PostgreSQL that serialises writes."""


class Store:
    """An open store. Threads share it; a forked process opens its own."""

    durable, quick = "FULL", "NORMAL"
    """SQLite's `synchronous` for both kinds of write; tests that lose no power set OFF."""

    def __init__(self, url: URL, clock: Callable[[], int] = now_us) -> None:
        self.url, self.now = url, clock
        self.kind = "sqlite" if url.drivername == "sqlite" else "postgresql"
        self._lock, self._writing = threading.RLock(), False
        self._readers = _engine(url, READERS, reads=True)
        self._writer = _engine(url, 1, reads=False) if self.kind == "sqlite" else self._readers

    @classmethod
    def open(cls, where: str | Path | URL | None = None, *, clock: Callable[[], int] = now_us) -> Store:
        """Open the store, make it where there is none, and bring an older schema up to date.

        Raises:
            ConfigError: the address is wrong, or the driver of PostgreSQL is not installed.
            RunError: the database cannot be reached, is damaged, or a newer Ziggurat wrote it.
        """
        from ziggurat.store.schema import bring_up_to_date

        url = where if isinstance(where, URL) else store_url(where)
        if url.drivername == "sqlite":
            _prepare_file(Path(str(url.database)))
        store = cls(url, clock)
        try:
            bring_up_to_date(store)
        except BaseException as error:
            store.close()
            if isinstance(error, DBAPIError):
                raise RunError(f"the store {shown(url)} cannot be opened ({_reason(error)}).") from None
            raise
        return store

    @property
    def path(self) -> Path | None:
        """The file of SQLite."""
        return Path(str(self.url.database)) if self.kind == "sqlite" else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that only reads; all that it reads is of one moment."""
        with self._readers.connect() as conn:
            if self.kind == "postgresql":
                conn = conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with conn.begin():
                yield conn

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """One transaction; it is undone as a whole after an exception.

        Raises:
            BusyError: another process writes for longer than WAIT_S.
        """
        with self._alone(), self._writer.connect() as conn:
            try:
                if self.kind == "sqlite":
                    _bare(conn, f"PRAGMA synchronous={self.durable if durable else self.quick}")
                with conn.begin():
                    if self.kind == "postgresql":
                        conn.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_S}s'")
                        conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
                        if not durable:
                            conn.exec_driver_sql("SET LOCAL synchronous_commit = off")
                    yield conn
            except OperationalError as error:
                if "locked" in str(error.orig) or "lock timeout" in str(error.orig):
                    raise BusyError("the store is busy with another write; try again.") from error
                raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            if self._writing:
                raise AssertionError("a write inside a write: hand the connection on instead")
            self._writing = True
            try:
                yield
            finally:
                self._writing = False

    def maintain(self, *statements: str) -> None:
        """Run statements outside a transaction, such as VACUUM and checkpoints, while nobody else here writes."""
        with self._alone():
            if self.kind == "sqlite":
                with self._writer.connect() as conn:
                    for statement in statements:
                        _bare(conn, statement)
                return
            with self._writer.connect() as conn:
                free = conn.execution_options(isolation_level="AUTOCOMMIT")
                for statement in statements:
                    free.exec_driver_sql(statement)

    def close(self) -> None:
        """Close all connections; may be called twice."""
        self._readers.dispose()
        self._writer.dispose()


def _engine(url: URL, size: int, *, reads: bool) -> Engine:
    try:
        if url.drivername == "sqlite":
            engine = create_engine(
                url,
                poolclass=QueuePool,
                pool_size=size,
                max_overflow=0,
                hide_parameters=True,  # what people wrote stands in no message of an error, and so in no log
                connect_args={"check_same_thread": False, "timeout": WAIT_S, "isolation_level": None},
            )
            event.listen(engine, "connect", _on_connect_reader if reads else _on_connect_writer)
            event.listen(engine, "begin", _begin if reads else _begin_immediate)
            return engine
        return create_engine(url, pool_size=size, max_overflow=0, pool_pre_ping=True, hide_parameters=True)
    except (NoSuchModuleError, ModuleNotFoundError):
        raise ConfigError(
            "PostgreSQL needs the package psycopg; install Ziggurat with its extra: pip install 'ziggurat[postgres]'."
        ) from None


def _on_connect_writer(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",  # freed pages are overwritten with zeros
        "temp_store=MEMORY",
        "cache_size=-16000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_connect_reader(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("query_only=ON", "temp_store=MEMORY", "cache_size=-4000", "mmap_size=268435456"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(conn: Connection) -> None:
    conn.exec_driver_sql("BEGIN")


def _begin_immediate(conn: Connection) -> None:
    conn.exec_driver_sql("BEGIN IMMEDIATE")


def _bare(conn: Connection, statement: str) -> None:
    """Run it without the transaction that SQLAlchemy would begin."""
    connection: Any = conn.connection.dbapi_connection
    connection.execute(statement).fetchall()


def _prepare_file(path: Path) -> None:
    """Make the folder and an empty file that only its owner may read.

    Raises:
        RunError: the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise RunError(f"the store {path} cannot be made ({error.strerror}); name another place.") from None


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())[:300]
