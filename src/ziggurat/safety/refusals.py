"""Layer 2, counted: whether an answer is the model's own refusal.

`train` fits a classifier of words (`words.py`) on labelled answers; the package has one in `data/refusals.json`, with
what was measured on answers that were held out. It recognises the wordings of refusals in English and Chinese; it does
not know whether a request should have been refused.

    {"text": "I can't help with that.", "refusal": true}        a line of the labelled answers
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ziggurat.errors import DataError
from ziggurat.safety.disguises import folded
from ziggurat.safety.words import Figures, WordClassifier, fit, measure

STRENGTH = 0.05


class LabelledAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: str
    refusal: bool


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


def train(rows: Sequence[LabelledAnswer]) -> tuple[WordClassifier, Figures]:
    """A classifier fitted on three quarters of the answers, and its figures on the others.

    Raises:
        DataError: one of the two kinds is missing among the training answers.
    """
    learned, others = [row for row in rows if not held_out(row)], [row for row in rows if held_out(row)]
    if len({row.refusal for row in learned}) < 2:
        raise DataError("the training answers are all of one kind; label refusals and other answers.")
    made = fit([row.text for row in learned], [row.refusal for row in learned], strength=STRENGTH)
    figures = measure(made, [row.text for row in others], [row.refusal for row in others])
    made.measured = figures._asdict()
    return made, figures
