"""The questions of another task, as they are (`borrowed`) or asked carelessly (`rows`): typing errors, lower case,
words in another order. Rows of one question share `pair`, so that equal answers can be counted.

Kinds: clean, typo, lower, no_marks, shuffled (words, or pairs of Chinese characters, in any order), reversed (from the
last word to the first), and the row's own wordings: paraphrase, mixed (two languages in one question).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.store.words import is_cjk

OWN = ("paraphrase", "mixed")
"""Kinds that are written in the row, not made."""
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
"""The rows of letters of an English keyboard."""


def borrowed(
    count: int, _seed: int, task: str = "", where: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The first rows of another shipped task, those with `where`'s values; nothing is drawn."""
    rows = [row for row in _rows_of(task) if all(row.get(k) == v for k, v in (where or {}).items())]
    return [dict(row) for row in rows[:count]]


def rows(
    count: int,
    seed: int,
    task: str = "",
    kinds: Sequence[str] = ("clean", "typo", "lower"),
    field: str = "question",
) -> list[dict[str, Any]]:
    """Each of the first questions of a task once for every kind that it has; `count` is of questions.

    Args:
        field: of the row, whose text is changed.

    Raises:
        UsageError: a kind that there is not.
    """
    for kind in kinds:
        if kind not in (*OWN, *KINDS):
            raise UsageError(
                f'rows.settings.kinds: there is no kind "{kind}"; there are {", ".join((*KINDS, *OWN))}.'
            )
    found = []
    for row in _rows_of(task)[:count]:
        for kind in kinds:
            draw = random.Random(f"perturbed:{seed}:{row['id']}:{kind}")
            text = row.get(kind) if kind in OWN else KINDS[kind](str(row[field]), draw)
            if text:
                found.append(
                    {**row, "id": f"{row['id']}:{kind}", field: text, "kind": kind, "pair": str(row["id"])}
                )
    return found


def _rows_of(task: str) -> list[Mapping[str, Any]]:
    from ziggurat.exam.reading import SHIPPED, read_task  # which finds generators by name

    if not task or not (SHIPPED / task).is_dir():
        raise UsageError(f'rows.settings.task is "{task}"; it names the shipped task whose rows are taken.')
    return read_task(SHIPPED / task).rows


# --- changes ------------------------------------------------------------------------------------------------------


def typo(text: str, draw: random.Random) -> str:
    """About one typing error in fifteen letters, at least one: a letter left out, doubled, exchanged with the next, or
    the key beside it. Of Chinese: one character left out or two exchanged in about ten."""
    places = [i for i, c in enumerate(text) if c.isalpha()]
    if len(places) < 3:
        return text
    chinese = is_cjk(text[places[0]])
    letters = list(text)
    for i in draw.sample(places[1:], max(1, len(places) // (10 if chinese else 15))):
        change = draw.choice(("swap", "drop") if chinese else ("swap", "drop", "double", "key"))
        if change == "swap" and i + 1 < len(text) and text[i + 1].isalpha():
            letters[i], letters[i + 1] = letters[i + 1], letters[i]
        elif change == "double":
            letters[i] += letters[i]
        elif change == "key" and (near := beside(text[i].lower())):
            letters[i] = draw.choice(near)
        else:
            letters[i] = ""
    return "".join(letters)


def beside(letter: str) -> str:
    """The keys left and right of a letter's."""
    row = next((keys for keys in _KEYS if letter in keys), "")
    at = row.find(letter)
    return row[max(at - 1, 0) : at] + row[at + 1 : at + 2] if row else ""


def lower(text: str, _draw: random.Random) -> str:
    return text.lower()


def no_marks(text: str, _draw: random.Random) -> str:
    return " ".join(re.sub(r"[^\w\s']", " ", text).split())


def shuffled(text: str, draw: random.Random) -> str:
    """The words in another order; the mark at the end stays there."""
    pieces, end = _pieces(text)
    order = pieces[:]
    for _ in range(10):
        draw.shuffle(order)
        if order != pieces:
            break
    return _joined(order) + end


def backwards(text: str, _draw: random.Random) -> str:
    pieces, end = _pieces(text)
    return _joined(pieces[::-1]) + end


def _pieces(text: str) -> tuple[list[str], str]:
    """Words, or pairs of Chinese characters with what stands between them."""
    end = re.search(r"[^\w\s]*\s*$", text)
    mark = end[0] if end else ""
    body = text[: len(text) - len(mark)]
    if any(is_cjk(c) for c in body):
        return re.findall(r"[A-Za-z0-9]+|[^A-Za-z0-9\s]{1,2}", body), mark
    return body.split(), mark


def _joined(pieces: Sequence[str]) -> str:
    return ("" if any(is_cjk(one[0]) for one in pieces) else " ").join(pieces)


KINDS: dict[str, Callable[[str, random.Random], str]] = {
    "clean": lambda text, _draw: text,
    "typo": typo,
    "lower": lower,
    "no_marks": no_marks,
    "shuffled": shuffled,
    "reversed": backwards,
}
