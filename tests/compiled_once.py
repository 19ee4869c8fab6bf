"""Each SQL statement is compiled once in a test process, not once for each store that a test opens.

SQLAlchemy keeps what it compiled with the engine, and under the engine's dialect. Here all stores of one kind share it:
their dialects have the same version and the same settings.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

from ziggurat.store import store

KEPT: Any = LRUCache(3_000)


def share() -> None:
    DefaultDialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
    DefaultDialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
    store.create_engine = partial(create_engine, execution_options={"compiled_cache": KEPT})
