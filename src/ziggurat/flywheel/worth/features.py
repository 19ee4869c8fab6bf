"""What of an answer can be seen without a model: its length, its form, its first words, its words.

It is what the model of reliability learns common taste from, where two people never judge the same pair.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ziggurat.corpus.overlap import words_of
from ziggurat.flywheel.worth.reliability import Floats

SENTENCES = re.compile(r"[.!?。！？]+")
LISTS = re.compile(r"(?m)^\s*(?:[-*•]|\d+[.)])\s")
FIRST, FIRST_CELLS, CELLS = 3, 32, 64
FORMS = 8
WIDTH = FORMS + FIRST_CELLS + CELLS
PENALTY: Floats = np.concatenate([np.full(FORMS, 1.0), np.full(FIRST_CELLS, 4.0), np.full(CELLS, 8.0)])
"""Few numbers of form may weigh much; many cells of hashed words must not."""


def text_of(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a completion as a record holds it."""
    if isinstance(completion, str):
        return completion
    return "\n".join(str(turn.get("content") or "") for turn in completion if turn["role"] == "assistant")


def features(question: str, answer: str) -> Floats:
    """(WIDTH) of an answer."""
    words, asked = words_of(answer), set(words_of(question))
    count = max(1, len(words))
    sentences = len(SENTENCES.findall(answer))
    form = [
        np.log1p(len(answer)),
        np.log1p(sentences),
        min(sentences, 3),
        np.log1p(len(LISTS.findall(answer))),
        sum(word in asked for word in words) / count,
        sum(word.isdigit() for word in words) / count,
        float("?" in answer or "？" in answer),
        len(set(words)) / count,
    ]
    first, cells = np.zeros(FIRST_CELLS), np.zeros(CELLS)
    for i in range(1, min(FIRST, len(words)) + 1):
        first[_cell(" ".join(words[:i]), FIRST_CELLS)] = 1.0
    for word in set(words):
        cells[_cell(word, CELLS)] += 1.0
    return np.concatenate([form, first, np.sqrt(cells)])


def _cell(text: str, cells: int) -> int:
    return zlib.crc32(text.encode("utf-8", "replace")) % cells
