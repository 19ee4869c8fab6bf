"""Rows that remember which of their fields were read, so that every importer can name the fields it did not use."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Tracked(dict[str, Any]):
    """A row. Reading a field by `row[key]` or `row.get(key)` marks it as used; nested rows are tracked as well."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__({key: track(value) for key, value in row.items()})
        self.used: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.used.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.used.add(key)
        return super().get(key, default)


def track(value: Any) -> Any:
    """The value with every object in it tracked."""
    if isinstance(value, dict):
        return Tracked(value)
    return [track(item) for item in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """The value with ordinary dictionaries in place of tracked ones: everything in it counts as used."""
    if isinstance(value, Tracked):
        value.used.update(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def count_unused(row: Tracked, unused: Counter[str]) -> None:
    """Count each field of the row that holds a value and was not read: `category`, `messages[].mood`.

    A nested row of which no field was read is not looked into: its whole field is counted, or it was passed on whole.
    """
    found: set[str] = set()
    _unused(row, "", found)
    unused.update(found)


def _unused(value: Any, name: str, found: set[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _unused(item, f"{name}[]", found)
    elif isinstance(value, Tracked) and (value.used or not name):
        for key, item in value.items():
            inner = f"{name}.{key}" if name else str(key)
            if key in value.used:
                _unused(item, inner, found)
            elif item is not None and item != "" and item != [] and item != {}:
                found.add(inner)
