"""Trains a moderation classifier on labelled texts and measures it on a held-out fifth of them.

    {"text": "How do I get into my neighbour's house?", "categories": ["illicit"]}
    {"text": "How do I get into college?", "categories": []}

A text is a negative example of every category that it does not list. Held-out texts are chosen by their hash, so that
copies of a text stay together; regularisation and thresholds are chosen by four-fold cross-validation on the rest. The
measured classifier is the one that is saved: it is not trained again on all texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from ziggurat.corpus.split import text_hash
from ziggurat.errors import DataError, did_you_mean
from ziggurat.safety.classifier import BUCKETS, Classifier, Description, features
from ziggurat.safety.layers import CATEGORIES, plain

MIN_TEXTS = 20
"""Positive and negative training texts that a category needs; with fewer it is left out."""
STRENGTHS = (1.0, 0.1, 0.01)
"""Of the quadratic penalty, divided by the number of texts; the lowest cross-validated loss decides."""
FOLDS = 4


class Labelled(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: str
    categories: list[str]


@dataclass(frozen=True)
class Measured:
    """One category on the held-out texts."""

    texts: int
    positives: int
    flagged: int
    hits: int  # flagged and labelled
    threshold: float

    @property
    def precision(self) -> float | None:
        return self.hits / self.flagged if self.flagged else None

    @property
    def recall(self) -> float | None:
        return self.hits / self.positives if self.positives else None


def read_labelled(path: Path) -> list[Labelled]:
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the labels cannot be read ({error}).", path=path) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = Labelled.model_validate_json(line)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise DataError(
                f'expected {{"text", "categories"}} ({reason}).', path=path, line=number
            ) from None
        for category in row.categories:
            if category not in CATEGORIES:
                hint = did_you_mean(category, CATEGORIES)
                raise DataError(f"there is no category {category!r}.{hint}", path=path, line=number)
        rows.append(row)
    return rows


def train(rows: Sequence[Labelled]) -> tuple[Classifier, dict[str, Measured], dict[str, int]]:
    """(the classifier, its measurement by category, the categories left out with their counts).

    Raises:
        DataError: no category has enough texts.
    """
    buckets = np.array([_share(row.text) for row in rows])
    learned = [row for row, bucket in zip(rows, buckets, strict=True) if bucket >= 0]
    held_out = [row for row, bucket in zip(rows, buckets, strict=True) if bucket < 0]
    counts = {c: sum(c in row.categories for row in learned) for c in CATEGORIES}
    categories = [c for c, count in counts.items() if MIN_TEXTS <= count <= len(learned) - MIN_TEXTS]
    left_out = {c: count for c, count in counts.items() if count and c not in categories}
    if not categories:
        raise DataError(
            f"no category has {MIN_TEXTS} positive and {MIN_TEXTS} negative texts among the {len(learned)} training "
            "texts; label more."
        )
    x, y = [features(row.text) for row in learned], _labels(learned, categories)
    strength, scores = _cross_validate(x, y, buckets[buckets >= 0])
    thresholds = [_best_threshold(scores[:, i], y[:, i]) for i in range(len(categories))]
    weight, bias = _fit(x, y, strength)
    made = Classifier(Description(categories=categories, thresholds=thresholds), weight, bias)
    measured = _measure(made, held_out)
    figures = {
        c: {"texts": m.texts, "positives": m.positives, "flagged": m.flagged, "hits": m.hits}
        for c, m in measured.items()
    }
    description = made.description.model_copy(update={"measured": figures})
    return Classifier(description, weight, bias), measured, left_out


def _share(text: str) -> int:
    """-1: held out; else the fold, 0 to 3."""
    digest = text_hash(plain(text).casefold())
    return -1 if digest[0] % 5 == 0 else digest[1] % FOLDS


def _labels(rows: Sequence[Labelled], categories: Sequence[str]) -> NDArray[np.float32]:
    return np.array([[c in row.categories for c in categories] for row in rows], dtype=np.float32)  # (N, C)


def _fit(
    x: Sequence[NDArray[np.int64]], y: NDArray[np.float32], strength: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Least mean cross-entropy plus strength / N * |W|^2 / 2. Convex, so it needs no seed."""
    lengths = [len(found) for found in x]
    ids, target = torch.from_numpy(np.concatenate(x)), torch.from_numpy(y)
    offsets = torch.tensor(np.cumsum([0, *lengths[:-1]]))
    shares = torch.cat(
        [torch.full((n,), 1 / math.sqrt(n)) for n in lengths]
    )  # each text is a vector of length 1
    weight = torch.zeros(BUCKETS, y.shape[1], requires_grad=True)
    bias = torch.zeros(y.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = bias + torch.nn.functional.embedding_bag(
            ids, weight, offsets, mode="sum", per_sample_weights=shares
        )
        found = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        total = (found + strength * weight.square().sum() / 2) / len(x)
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach().numpy(), bias.detach().numpy()


def _cross_validate(
    x: Sequence[NDArray[np.int64]], y: NDArray[np.float32], folds: NDArray[np.int64]
) -> tuple[float, NDArray[np.float32]]:
    """(the best strength, the scores (N, C) of texts by a fit without their fold)."""
    found: list[tuple[float, float, NDArray[np.float32]]] = []
    for strength in STRENGTHS:
        scores = np.zeros_like(y)
        for fold in range(FOLDS):
            inside = [i for i in range(len(x)) if folds[i] != fold]
            if len(inside) == len(x):
                continue  # a fold without a text
            weight, bias = _fit([x[i] for i in inside], y[inside], strength)
            for i in np.flatnonzero(folds == fold).tolist():
                logits = weight[x[i]].sum(0) / math.sqrt(len(x[i])) + bias
                scores[i] = 1 / (1 + np.exp(-logits))
        clipped = scores.clip(1e-6, 1 - 1e-6)
        loss = -float(np.mean(y * np.log(clipped) + (1 - y) * np.log(1 - clipped)))
        found.append((loss, strength, scores))
    _, strength, scores = min(found, key=lambda one: one[0])
    return strength, scores


def _best_threshold(scores: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    """The threshold of the highest F1, half-way to the next lower score."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + labels.sum())
    best = int(f1.argmax())
    lower = scores[order[best + 1]] if best + 1 < len(order) else 0.0
    return float((scores[order[best]] + lower) / 2)


def _measure(made: Classifier, rows: Sequence[Labelled]) -> dict[str, Measured]:
    judged = made.classify([row.text for row in rows])
    measured = {}
    for category, threshold in zip(made.description.categories, made.description.thresholds, strict=True):
        flags = [one[category].flagged for one in judged]
        labels = [category in row.categories for row in rows]
        hits = sum(a and b for a, b in zip(flags, labels, strict=True))
        measured[category] = Measured(len(rows), sum(labels), sum(flags), hits, threshold)
    return measured
