"""Rows made by rule, with a known truth: one file for each family.

A generator is `rows(count: int, seed: int, **settings) -> list[dict[str, Any]]`, the same for the same arguments on
every machine (draw by `random.Random(seed)`), found by its name in `GENERATORS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

Generator = Callable[..., list[dict[str, Any]]]
GENERATORS: dict[str, str] = {}
"""Name -> module:function."""


def both_languages(count: int, seed: int, generate: str = "", **settings: Any) -> list[dict[str, Any]]:
    """Half English and half Chinese rows of a generator that takes `language`."""
    module, _, function = GENERATORS[generate].partition(":")
    made = getattr(importlib.import_module(module), function)
    english = (count + 1) // 2
    found: list[dict[str, Any]] = []
    for language, number in (("en", english), ("zh", count - english)):
        rows = made(number, seed, language=language, **settings)
        found += [
            {
                **row,
                "id": row["id"]
                if str(row["id"]).startswith((language, f"note-{language}"))
                else f"{language}-{row['id']}",
            }
            for row in rows
        ]
    return found
