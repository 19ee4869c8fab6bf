"""Questions with the answers yes and no: precision, recall, F1 and accuracy over all rows, and by stratum.

Yes is choice 0 (setting `positive`). F1 = 2 TP / (2 TP + FP + FN); precision is 0 where yes is never said. Accuracy
alone says little where one answer is common: always saying no has an F1 of 0. `gap_<stratum>` is the F1 of the first
stratum less that of another one: what a model loses under a paraphrase or under other names.

For the form choice only `summary` is used. For the form answer, `mark` reads the first "yes" or "no" of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ziggurat.evaluation.statistics import Interval, sums_bootstrap
from ziggurat.exam.item import Found, Item, Mark

_SAYS = re.compile(r"\b(yes|no)\b|(不是|不能|不会|不对|没有|否|不)|(是|能|会|对|有)", re.IGNORECASE)


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """`item.target`: 0, "yes" or "是" for yes; an answer that says neither is wrong."""
    del settings
    right = 0 if str(item.target).strip().lower() in ("0", "yes", "true", "是") else 1
    said = [spoken(answer) for answer in answers]
    score = sum(one == right for one in said) / len(said)
    picked = 1 - right if said[0] is None else said[0]
    return Mark(
        {"score": score}, "" if score == 1 else "wrong", {"picked": picked, "right": right, "answer": said[0]}
    )


def spoken(text: str) -> int | None:
    """0 for yes, 1 for no, None for neither; the first that is said counts.

    >>> [spoken(t) for t in ("Yes.", "No, it does not.", "不会。", "会。", "Perhaps")]
    [0, 1, 1, 0, None]
    """
    found = _SAYS.search(text)
    if found is None:
        return None
    return 0 if found[3] or (found[1] or "").lower() == "yes" else 1


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, float | Interval]:
    """`precision`, `recall`, `f1` with intervals over clusters (pairs, where there are no clusters), and
    `f1_<stratum>`, `gap_<stratum>`."""
    positive = int(settings.get("positive", 0))
    picked = np.array([one.mark.detail["picked"] == positive for one in found])
    right = np.array([one.mark.detail["right"] == positive for one in found])
    groups = [one.cluster or one.pair or one.id for one in found]
    counts = np.stack([picked & right, picked & ~right, ~picked & right], axis=1).astype(np.float64)
    figures: dict[str, float | Interval] = {
        "precision": sums_bootstrap(counts, _precision, groups),
        "recall": sums_bootstrap(counts, _recall, groups),
        "f1": sums_bootstrap(counts, _f1, groups),
    }
    strata = list(dict.fromkeys(one.stratum for one in found if one.stratum))
    by_stratum = {
        name: float(_f1(counts[[one.stratum == name for one in found]].sum(axis=0)[None])[0])
        for name in strata
    }
    figures |= {f"f1_{name}": value for name, value in by_stratum.items()}
    figures |= {f"gap_{name}": by_stratum[strata[0]] - by_stratum[name] for name in strata[1:]}
    return figures


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _precision(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    return _ratio(totals[:, 0], totals[:, 0] + totals[:, 1])


def _recall(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    return _ratio(totals[:, 0], totals[:, 0] + totals[:, 2])


def _f1(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    return _ratio(2 * totals[:, 0], 2 * totals[:, 0] + totals[:, 1] + totals[:, 2])
