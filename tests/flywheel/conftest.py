"""Stores, and the world of four letters as files: a model, comparisons to learn from, held-out ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))  # for `alphabet`, the world of four letters

import alphabet
from tests.product.house import join
from tests.store_fixtures import *  # noqa: F403

from ziggurat.product.principal import Principal
from ziggurat.records import Record
from ziggurat.store.store import Store


def write(path: Path, records: Sequence[Record]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one.to_json()) + "\n" for one in records))
    return path


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model/`, `learn.jsonl` and `held.jsonl` (people like the letter b), and `inverted.jsonl` (they hate it)."""
    folder = tmp_path_factory.mktemp("letters")
    alphabet.make_policy(folder / "model", steps=40)
    write(folder / "learn.jsonl", alphabet.comparisons(160))
    write(folder / "held.jsonl", alphabet.comparisons(60, seed=77))
    inverted = [
        one.model_copy(update={"ranks": [1 + sum(o > r for o in one.ranks) for r in one.ranks]})
        for one in alphabet.comparisons(160)
    ]
    write(folder / "inverted.jsonl", inverted)
    return folder


@pytest.fixture
def quick_store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "ziggurat.db")
    opened.durable = opened.quick = "OFF"
    yield opened
    opened.close()


@pytest.fixture
def ana(quick_store: Store) -> Principal:
    return join(quick_store, "owner", name="Ana")
