"""Stores for tests: every test of the store and the rules runs on SQLite and on PostgreSQL.

PostgreSQL is Debian's (package `postgresql`), started for the session with a data directory of its own and a Unix
socket, no TCP. Where it is missing its tests are skipped, aloud; in CI they fail. A database is 12 MB in 400 files:
they lie in memory where it is large enough, are copied as files, and are dropped with their test.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest
from tests.needs import IN_CI

from ziggurat.store.clock import now_us
from ziggurat.store.store import Store

KINDS = ("sqlite", "postgresql")
MEMORY = Path("/dev/shm")
ENOUGH = 2 << 30
NUMBERS = count()


class Clock:
    """A clock that a test can move on."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def __call__(self) -> int:
        return now_us() + self.ahead_us

    def move(self, *, seconds: float = 0, days: float = 0) -> None:
        self.ahead_us += int((seconds + days * 86_400) * 1_000_000)


def binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    return found[-1].parent if found else None


def in_memory() -> Path | None:
    """A folder whose files are kept in memory, with room for the databases of a few tests at once."""
    there = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH
    return MEMORY if there else None


@contextmanager
def postgres_server() -> Iterator[str]:
    """The folder of a running server's socket; user `postgres`, no password."""
    bin_folder = binaries()
    if bin_folder is None:
        sentence = (
            "no PostgreSQL here, so its half of the tests did not run; on Debian: apt install postgresql"
        )
        if IN_CI:
            pytest.fail(sentence)
        pytest.skip(sentence)
    folder = Path(tempfile.mkdtemp(prefix="ziggurat-pg-", dir=in_memory()))
    other = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if other:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
    data, log = folder / "data", folder / "log"

    def run(*command: object) -> None:
        subprocess.run([*other, *map(str, command)], check=True, capture_output=True, cwd="/")

    run(bin_folder / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
    quick = (
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "autovacuum",
    )  # nothing here outlives the tests
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c shared_buffers=64MB"
    options += "".join(f" -c {name}=off" for name in quick) + " -c wal_level=minimal -c max_wal_senders=0"
    run(bin_folder / "pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
    try:
        yield str(folder)
    finally:
        run(bin_folder / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


class Databases:
    """Empty places for stores of one kind, and copies of a fresh one."""

    def __init__(self, kind: str, folder: Path, socket: str | None) -> None:
        self.kind, self._folder, self._socket = kind, folder, socket
        self._fresh = self.empty()
        Store.open(self._fresh).close()

    def empty(self) -> str:
        """The address of a database without tables."""
        return self._make(None)

    def fresh(self) -> str:
        """The address of a database with today's tables and nothing in them."""
        return self._make(self._fresh)

    def _make(self, source: str | None) -> str:
        name = f"store_{os.getpid()}_{next(NUMBERS)}"
        if self.kind == "sqlite":
            path = self._folder / f"{name}.db"
            if source:
                shutil.copyfile(source, path)
            return str(path)
        template = source.partition("///")[2].partition("?")[0] if source else "template0"
        with self._connected() as conn:
            copying = "STRATEGY file_copy" if conn.info.server_version >= 150_000 else ""  # else the only way
            conn.execute(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8' {copying}")
        return f"postgresql:///{name}?host={self._socket}&user=postgres"

    def drop(self, address: str) -> None:
        """Remove what `fresh` made, once it is closed."""
        if self.kind == "sqlite":
            for path in (address, f"{address}-wal", f"{address}-shm"):
                Path(path).unlink(missing_ok=True)
            return
        name = address.partition("///")[2].partition("?")[0]
        with self._connected() as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _connected(self) -> psycopg.Connection:
        return psycopg.connect(host=self._socket, user="postgres", dbname="postgres", autocommit=True)
