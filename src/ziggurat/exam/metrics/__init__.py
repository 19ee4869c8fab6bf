"""From an answer to a mark: one small file for each kind, all with one signature.

A metric is `mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark`, found by its name in
`METRICS`. It sees nothing but the answers and the item, so that it can be tried without a model.

A module may also have `summary(found: Sequence[Found], settings: Mapping[str, Any]) -> Mapping[str, float | Interval]`:
figures of a whole task that are no means over its items (a calibration error, an F1). `score` among them replaces the
task's main figure. `basis(settings: Mapping[str, Any]) -> str` is a hash of what the metric reads beside answers and
items (a judge, a corpus); a result belongs to it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from ziggurat.errors import UsageError, did_you_mean
from ziggurat.exam.item import Item, Mark

Metric = Callable[[Sequence[str], Item, Mapping[str, Any]], Mark]
METRICS: dict[str, str] = {
    "abstains": "ziggurat.exam.metrics.abstains:mark",
    "binary": "ziggurat.exam.metrics.binary:mark",
    "bleu": "ziggurat.exam.metrics.bleu:mark",
    "calibration": "ziggurat.exam.metrics.calibration:mark",
    "card": "ziggurat.exam.metrics.card:mark",
    "choice_letter": "ziggurat.exam.metrics.letters:mark",
    "choice_set": "ziggurat.exam.metrics.letters:mark_set",
    "citations": "ziggurat.exam.metrics.citations:mark",
    "contains": "ziggurat.exam.metrics.contains:mark",
    "equivalence": "ziggurat.exam.metrics.equivalence:mark",
    "exact": "ziggurat.exam.metrics.exact:mark",
    "facts": "ziggurat.exam.metrics.facts:mark",
    "game24": "ziggurat.exam.metrics.game24:mark",
    "grammar": "ziggurat.exam.metrics.grammar:mark",
    "judge": "ziggurat.exam.metrics.judge:mark",
    "long_answer": "ziggurat.exam.metrics.long_answer:mark",
    "names": "ziggurat.exam.metrics.names:mark",
    "novelty": "ziggurat.exam.metrics.novelty:mark",
    "number": "ziggurat.exam.metrics.number:mark",
    "percentile": "ziggurat.exam.metrics.percentile:mark",
    "personal_data": "ziggurat.exam.metrics.personal_data:mark",
    "premise": "ziggurat.exam.metrics.premise:mark",
    "refuses": "ziggurat.exam.metrics.refuses:mark",
    "regex": "ziggurat.exam.metrics.regex:mark",
    "rules": "ziggurat.exam.metrics.rules:mark",
    "swaps": "ziggurat.exam.metrics.swaps:mark",
    "tries": "ziggurat.exam.metrics.tries:mark",
    "turns": "ziggurat.exam.metrics.turns:mark",
    "variety": "ziggurat.exam.metrics.variety:mark",
}
"""Name -> module:function."""


@cache
def metric(name: str) -> Metric:
    """The metric of a name. UsageError where there is none."""
    found: Metric = getattr(importlib.import_module(_target(name)[0]), _target(name)[1])
    return found


@cache
def summary(name: str) -> Callable[..., Mapping[str, Any]] | None:
    """The figures of a whole task that a metric's module adds; None where it adds none."""
    found: Callable[..., Mapping[str, Any]] | None = getattr(
        importlib.import_module(_target(name)[0]), "summary", None
    )
    return found


@cache
def basis(name: str) -> Callable[[Mapping[str, Any]], str] | None:
    """A metric's `basis(settings)`: a hash of what it reads beside answers and items; None where it reads nothing."""
    found: Callable[[Mapping[str, Any]], str] | None = getattr(
        importlib.import_module(_target(name)[0]), "basis", None
    )
    return found


def _target(name: str) -> tuple[str, str]:
    if name not in METRICS:
        raise UsageError(f'There is no metric "{name}".{did_you_mean(name, METRICS)}')
    module, _, function = METRICS[name].partition(":")
    return module, function
