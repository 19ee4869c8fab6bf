"""Layer 2, counted: whether an answer is the model's own refusal.

Logistic regression over words and pairs of words (characters, pairs and triples of them in Chinese) of an answer's
beginning. `train` fits it on labelled answers with numpy alone; the weights of the package are in
`data/refusals.json`, with what was measured on answers that were held out. It recognises the wordings of refusals in
English and Chinese; it does not know whether a request should have been refused.

    {"text": "I can't help with that.", "refusal": true}        a line of the labelled answers
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from ziggurat.errors import DataError
from ziggurat.files import read_json, write_json
from ziggurat.safety.disguises import folded

REFUSALS_FORMAT = 1
"""Version of refusals.json."""
BEGINNING = 240
"""Characters of an answer that are read: a refusal comes first."""
MIN_COUNT = 2
"""Training texts in which a feature must occur."""
STRENGTH = 0.5
"""Of the quadratic penalty, divided by the number of texts."""
STEPS = 400
_WORD = re.compile(r"[a-z']+|[\u3400-\u9fff]|[^\sa-z\u3400-\u9fff]")


class LabelledAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: str
    refusal: bool


class Figures(NamedTuple):
    """On held-out answers."""

    texts: int
    refusals: int
    flagged: int
    hits: int  # flagged refusals

    @property
    def precision(self) -> float | None:
        return self.hits / self.flagged if self.flagged else None

    @property
    def recall(self) -> float | None:
        return self.hits / self.refusals if self.refusals else None


def features(text: str) -> set[str]:
    """The words of a text's beginning, their pairs, and triples of Chinese characters."""
    words = ["^", *_WORD.findall(folded(text[:BEGINNING]).casefold())]
    pairs = {f"{a} {b}" for a, b in pairwise(words)}
    triples = {
        f"{a} {b} {c}"
        for a, b, c in zip(words, words[1:], words[2:], strict=False)
        if all("\u3400" <= one <= "\u9fff" or one == "^" for one in (a, b, c))
    }
    return {*words, *pairs, *triples}


class RefusalClassifier:
    """`score` estimates the probability that an answer is a refusal."""

    def __init__(
        self, weights: dict[str, float], bias: float, measured: dict[str, int] | None = None
    ) -> None:
        self.weights, self.bias, self.measured = weights, bias, measured or {}

    def score(self, answer: str) -> float:
        found = features(answer)
        known = sum(self.weights.get(one, 0.0) for one in found)
        return 1 / (1 + math.exp(-(self.bias + known / math.sqrt(len(found)))))

    def is_refusal(self, answer: str) -> bool:
        return bool(answer.strip()) and self.score(answer) >= 0.5

    def save(self, path: Path) -> None:
        described = {"bias": round(self.bias, 4), "weights": self.weights, "measured": self.measured}
        write_json(path, described, REFUSALS_FORMAT)

    @classmethod
    def load(cls, path: Path) -> RefusalClassifier:
        """
        Raises:
            RunError: the file is missing or malformed.
        """
        described = read_json(path, REFUSALS_FORMAT)
        return cls(described["weights"], described["bias"], described["measured"])

    @classmethod
    @cache
    def default(cls) -> RefusalClassifier:
        """The one of the package."""
        text = (files("ziggurat.safety") / "data" / "refusals.json").read_text(encoding="utf-8")
        described = json.loads(text)
        return cls(described["weights"], described["bias"], described["measured"])


def read_labelled_answers(path: Path) -> list[LabelledAnswer]:
    """
    Raises:
        DataError: a line has another form.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(LabelledAnswer.model_validate_json(line))
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise DataError(f'expected {{"text", "refusal"}} ({reason}).', path=path, line=number) from None
    return rows


def held_out(row: LabelledAnswer) -> bool:
    """Whether a text belongs to the held-out quarter; its hash decides, so that it does not depend on the file."""
    return hashlib.sha256(folded(row.text).casefold().encode()).digest()[0] % 4 == 0


def train(rows: Sequence[LabelledAnswer]) -> tuple[RefusalClassifier, Figures]:
    """A classifier fitted on three quarters of the texts, and its figures on the others.

    The problem is convex, so plain gradient descent needs no seed.

    Raises:
        DataError: one of the two kinds is missing among the training texts.
    """
    learned = [row for row in rows if not held_out(row)]
    if len({row.refusal for row in learned}) < 2:
        raise DataError("the training answers are all of one kind; label refusals and other answers.")
    counts = Counter(one for row in learned for one in features(row.text))
    names = sorted(one for one, count in counts.items() if count >= MIN_COUNT)
    place = {name: i for i, name in enumerate(names)}
    x: NDArray[np.float64] = np.zeros((len(learned), len(names)))
    for i, row in enumerate(learned):
        found = features(row.text)
        for one in found & place.keys():
            x[i, place[one]] = 1 / math.sqrt(len(found))
    y = np.array([row.refusal for row in learned], dtype=np.float64)
    weight, bias = np.zeros(len(names)), 0.0
    for step in range(STEPS):
        rate = 20.0 / (1 + step / 100)
        error = 1 / (1 + np.exp(-(x @ weight + bias))) - y
        weight -= rate * (x.T @ error + STRENGTH * weight / 10) / len(y)
        bias -= rate * float(error.mean())
    kept = {
        name: round(float(value), 3) for name, value in zip(names, weight, strict=True) if abs(value) >= 0.02
    }
    made = RefusalClassifier(kept, float(bias))
    figures = measure(made, [row for row in rows if held_out(row)])
    return RefusalClassifier(kept, float(bias), figures._asdict()), figures


def measure(made: RefusalClassifier, rows: Sequence[LabelledAnswer]) -> Figures:
    flags = [made.is_refusal(row.text) for row in rows]
    hits = sum(flag and row.refusal for flag, row in zip(flags, rows, strict=True))
    return Figures(len(rows), sum(row.refusal for row in rows), sum(flags), hits)
