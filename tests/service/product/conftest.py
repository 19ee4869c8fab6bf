"""A real server with the product on a free port: fake models, a store of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat

from ziggurat.service.server import create_app
from ziggurat.store.store import Store

Client = httpx.Client


def pieces(count: int) -> Callable[..., list[str]]:
    return lambda messages, params: [f"piece{i} " for i in range(count)]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "ziggurat.db"
    Store.open(path).close()
    return path


@pytest.fixture(autouse=True)
def made_store(empty_store: Path, tmp_path: Path) -> None:
    """The tables are there: to make them takes longer than most of these tests."""
    shutil.copyfile(empty_store, tmp_path / "ziggurat.db")


@pytest.fixture
def open_house(serving: Serving, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """`open_house(models=..., accounts=True)` is a client of a new server over the same store."""
    with ExitStack() as stack:

        def opened(models: dict[str, Any] | None = None, **options: Any) -> Client:
            store = Store.open(tmp_path / "ziggurat.db")
            app = create_app(models or {"fake": FakeChat(pieces(5))}, store=store, **options)
            address = stack.enter_context(serving(app))
            return stack.enter_context(httpx.Client(base_url=address, timeout=20))

        yield opened


@pytest.fixture
def client(open_house: Callable[..., Client]) -> Client:
    return open_house()
