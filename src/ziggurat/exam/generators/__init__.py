"""Rows made by rule, with a known truth: one file for each family.

A generator is `rows(count: int, seed: int, **settings) -> list[dict[str, Any]]`, the same for the same arguments on
every machine (draw by `random.Random(seed)`), found by its name in `GENERATORS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Generator = Callable[..., list[dict[str, Any]]]
GENERATORS: dict[str, str] = {
    "sums": "ziggurat.exam.generators.sums:rows",
}
"""Name -> module:function."""
