"""Rows made by rule, with a known truth: one file for each family.

A generator is `rows(count: int, seed: int, **settings) -> list[dict[str, Any]]`, the same for the same arguments on
every machine (draw by `random.Random(seed)`), found by its name in `GENERATORS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Generator = Callable[..., list[dict[str, Any]]]
GENERATORS: dict[str, str] = {
    "causal": "ziggurat.exam.generators.causal:rows",
    "code_faults": "ziggurat.exam.generators.code_faults:rows",
    "counterfactual": "ziggurat.exam.generators.counterfactual:rows",
    "counting": "ziggurat.exam.generators.haystack:counting",
    "definition": "ziggurat.exam.generators.definition:rows",
    "long_writing": "ziggurat.exam.generators.long_writing:rows",
    "memory": "ziggurat.exam.generators.memory:rows",
    "needle": "ziggurat.exam.generators.haystack:needle",
    "personas": "ziggurat.exam.generators.personas:rows",
    "recall": "ziggurat.exam.generators.haystack:recall",
    "sessions": "ziggurat.exam.generators.personas:sessions",
    "swaps": "ziggurat.exam.generators.swaps:rows",
}
"""Name -> module:function."""
