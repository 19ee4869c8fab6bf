"""Rows made by rule, with a known truth: one file for each family.

A generator is `rows(count: int, seed: int, **settings) -> list[dict[str, Any]]`, the same for the same arguments on
every machine (draw by `random.Random(seed)`), found by its name in `GENERATORS`.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from typing import Any

Generator = Callable[..., list[dict[str, Any]]]
GENERATORS: dict[str, str] = {
    "arithmetic.problems": "ziggurat.exam.generators.arithmetic:problems",
    "arithmetic.sums": "ziggurat.exam.generators.arithmetic:sums",
    "borrowed": "ziggurat.exam.generators.perturbed:borrowed",
    "both_languages": "ziggurat.exam.generators:both_languages",
    "causal": "ziggurat.exam.generators.causal:rows",
    "code_faults": "ziggurat.exam.generators.code_faults:rows",
    "counterfactual": "ziggurat.exam.generators.counterfactual:rows",
    "counting": "ziggurat.exam.generators.haystack:counting",
    "definition": "ziggurat.exam.generators.definition:rows",
    "format": "ziggurat.exam.generators.format:rows",
    "games.twenty_four": "ziggurat.exam.generators.games:twenty_four",
    "games.unseen": "ziggurat.exam.generators.games:unseen",
    "grammar_pairs": "ziggurat.exam.generators.grammar_pairs:rows",
    "long_writing": "ziggurat.exam.generators.long_writing:rows",
    "mapping": "ziggurat.exam.generators.mapping:rows",
    "mapping.episodes": "ziggurat.exam.generators.mapping:episodes",
    "memory": "ziggurat.exam.generators.memory:rows",
    "name_lists": "ziggurat.exam.generators.name_lists:rows",
    "needle": "ziggurat.exam.generators.haystack:needle",
    "personas": "ziggurat.exam.generators.personas:rows",
    "perturbed": "ziggurat.exam.generators.perturbed:rows",
    "pressure": "ziggurat.exam.generators.pressure:rows",
    "published": "ziggurat.exam.publishers.data:rows",
    "recall": "ziggurat.exam.generators.haystack:recall",
    "sessions": "ziggurat.exam.generators.personas:sessions",
    "small_orders": "ziggurat.exam.generators.small_orders:rows",
    "sums": "ziggurat.exam.generators.sums:rows",
    "swaps": "ziggurat.exam.generators.swaps:rows",
    "talks.followups": "ziggurat.exam.generators.talks:followups",
    "talks.new_words": "ziggurat.exam.generators.talks:new_words",
    "unknowns": "ziggurat.exam.generators.unknowns:mixed",
    "unknowns.people": "ziggurat.exam.generators.unknowns:people",
}
"""Name -> module:function."""


def both_languages(count: int, seed: int, generate: str = "", **settings: Any) -> list[dict[str, Any]]:
    """English and Chinese rows of a generator that takes `language`, in turn, so that the first ones are of both."""
    module, _, function = GENERATORS[generate].partition(":")
    made = getattr(importlib.import_module(module), function)
    sides = []
    for language, number in (("en", (count + 1) // 2), ("zh", count // 2)):
        rows = made(number, seed, language=language, **settings)
        sides.append([{**row, "id": _with_language(str(row["id"]), language)} for row in rows])
    return [row for pair in itertools.zip_longest(*sides) for row in pair if row is not None]


def _with_language(name: str, language: str) -> str:
    return name if language in name.split("-") else f"{language}-{name}"
