"""Fixtures over both kinds of store; the conftest of each room that uses them takes them over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.stores import KINDS, Clock, Databases, postgres_server

from ziggurat.store.store import Store

__all__ = ["clock", "databases", "postgres_socket", "store"]


@pytest.fixture(scope="session")
def postgres_socket() -> Iterator[str]:
    with postgres_server() as socket:
        yield socket


@pytest.fixture(scope="session", params=KINDS)
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    socket = request.getfixturevalue("postgres_socket") if request.param == "postgresql" else None
    return Databases(request.param, tmp_path_factory.mktemp(f"stores-{request.param}"), socket)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(databases: Databases, clock: Clock) -> Iterator[Store]:
    """An empty store with today's tables."""
    address = databases.fresh()
    opened = Store.open(address, clock=clock)
    opened.durable = opened.quick = "OFF"
    yield opened
    opened.close()
    databases.drop(address)
