"""Whether a model's confidence is right: calibration error, risk and coverage, loss; over all rows of a task.

Confidence: of a choice its share of the probability of all choices, without regard to their lengths, whatever way of
comparing picked it (`mark.detail["nats"]`, else `"scores"`); of an answer asked several times the share of its
commonest answer (`mark.detail["confidence"]`). Figures:

    ece            expected calibration error, ten bins of equal width (Guo et al., arXiv:1706.04599, eq. 3)
    risk_coverage  area under the curve of error against coverage, surest first (Geifman and El-Yaniv,
                   arXiv:1705.08500); without any order it is the error rate, and lower is better
    risk_at_80     error among the surest 80 %
    confidence     mean; above `score`, a model is overconfident
    choice_nats    of a choice: mean of -log(softmax of the right choice)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.exam.item import Found, Item, Mark

BINS = 10


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """UsageError: this metric has figures of a whole task alone."""
    raise UsageError(
        "the metric calibration has figures of a whole task only; use it for the form choice, and facts for answers."
    )


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, float]:
    """The figures above; `by_stratum: true` adds `choice_nats_<stratum>`."""
    sure = [pair for one in found if (pair := confidence(one)) is not None]
    if not sure:
        return {}
    figures = {
        "ece": ece(sure),
        "risk_coverage": risk_coverage(sure),
        "risk_at_80": risk_at(sure, 0.8),
        "confidence": sum(c for c, _ in sure) / len(sure),
    }
    nats: dict[str, list[float]] = {}
    for one in found:
        detail = one.mark.detail
        if "scores" in detail and "right" in detail:
            loss = -math.log(max(softmax(nats_of(detail))[int(detail["right"])], 1e-12))
            nats.setdefault(one.stratum, []).append(loss)
    if nats:
        every = [value for values in nats.values() for value in values]
        figures["choice_nats"] = sum(every) / len(every)
        if settings.get("by_stratum", False):
            figures |= {f"choice_nats_{name}": sum(v) / len(v) for name, v in nats.items()}
    return figures


def confidence(found: Found) -> tuple[float, bool] | None:
    """How sure the answer is, and whether it is right; None where that is not known."""
    detail = found.mark.detail
    if "scores" in detail and "picked" in detail:
        return softmax(nats_of(detail))[int(detail["picked"])], detail["picked"] == detail["right"]
    if "confidence" in detail:
        return float(detail["confidence"]), bool(detail["correct"])
    return None


def nats_of(detail: Mapping[str, Any]) -> Sequence[float]:
    given: Sequence[float] = detail.get("nats", detail["scores"])
    return given


def softmax(scores: Sequence[float]) -> list[float]:
    """
    >>> softmax([0.0, 0.0])
    [0.5, 0.5]
    """
    top = max(scores)
    parts = [math.exp(one - top) for one in scores]
    return [one / sum(parts) for one in parts]


def ece(sure: Sequence[tuple[float, bool]], bins: int = BINS) -> float:
    """Mean over all answers of |share right - mean confidence| of their bin; a confidence of 1 is in the last bin.

    >>> round(ece([(0.95, True), (0.95, False)]), 2)
    0.45
    """
    by_bin: dict[int, list[tuple[float, bool]]] = {}
    for one in sure:
        by_bin.setdefault(min(int(one[0] * bins), bins - 1), []).append(one)
    gap = sum(abs(sum(right for _, right in some) - sum(c for c, _ in some)) for some in by_bin.values())
    return gap / len(sure)


def risk_coverage(sure: Sequence[tuple[float, bool]]) -> float:
    """Mean over k = 1..n of the error rate among the k surest; equal confidences share their mean error."""
    wrong = _wrong_in_order(sure)
    total, area = 0.0, 0.0
    for k, one in enumerate(wrong, 1):
        total += one
        area += total / k
    return area / len(wrong)


def risk_at(sure: Sequence[tuple[float, bool]], coverage: float) -> float:
    wrong = _wrong_in_order(sure)
    k = max(1, math.ceil(coverage * len(wrong)))
    return sum(wrong[:k]) / k


def _wrong_in_order(sure: Sequence[tuple[float, bool]]) -> list[float]:
    """Errors, surest first; answers of equal confidence have no order, so each holds their mean error."""
    groups: dict[float, list[bool]] = {}
    for c, right in sure:
        groups.setdefault(c, []).append(not right)
    return [sum(some) / len(some) for c in sorted(groups, reverse=True) for some in [groups[c]] for _ in some]
