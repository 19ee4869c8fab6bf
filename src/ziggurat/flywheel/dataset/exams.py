"""Texts of exams, which no training record may contain.

A record is contaminated if a text of it shares N words in a row with an exam's text; an exam's text of fewer words must
be the whole message. What a word is: corpus/overlap.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ziggurat.corpus.overlap import N, grams, words_of
from ziggurat.errors import UsageError
from ziggurat.files import sha256_file

SHORTEST = 3
"""Words of a text that an exam must have to count: `Hello` is nobody's secret."""
TOWN = "town:"


class Exams:
    """The texts of several exams. `names` says what they are, each with the number of its texts."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.names: dict[str, dict[str, Any]] = {}
        self._long: set[tuple[str, ...]] = set()
        self._whole: set[tuple[str, ...]] = set()
        self.add("given", texts)

    def add(self, name: str, texts: Iterable[str], **more: Any) -> None:
        count = 0
        for text in texts:
            words, count = words_of(text), count + 1
            if len(words) >= N:
                self._long.update(grams(words))
            elif len(words) >= SHORTEST:
                self._whole.add(tuple(words))
        if count:
            self.names[name] = {"texts": count, **more}

    def hold(self, text: str) -> bool:
        """Whether an exam holds this text or a part of it."""
        words = words_of(text)
        return tuple(words) in self._whole or any(gram in self._long for gram in grams(words))


def open_exams(names: Sequence[str]) -> Exams:
    """`town:SEED`, or files of JSON Lines, JSON or text.

    Raises:
        UsageError: a file is missing or cannot be read.
    """
    found = Exams()
    for name in names:
        if name.startswith(TOWN):
            found.add(name, town_texts(_seed(name)))
        else:
            path = Path(name).expanduser()
            found.add(path.name, file_texts(path), sha256=sha256_file(path))
    return found


def _seed(name: str) -> int:
    text = name.removeprefix(TOWN)
    if not text.isdigit():
        raise UsageError(f"{name}: the seed of a town is a whole number, such as town:1.")
    return int(text)


@lru_cache(4)
def town_texts(seed: int) -> tuple[str, ...]:
    """The questions of the town's exams and of its development set."""
    from ziggurat.town.exam import write_development, write_exam, write_first_words
    from ziggurat.town.people import build_town

    town = build_town(seed)
    items = [*write_exam(town), *write_first_words(town), *write_development(town)]
    return tuple(dict.fromkeys(item.question.messages[-1].content for item in items))


def file_texts(path: Path) -> list[str]:
    """Every text in a file: of JSON, all strings; else each line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the exam {path} cannot be read ({error}); name a file of text or JSON.") from None
    if path.suffix == ".json":
        lines = ["\n".join(lines)]
    found: list[str] = []
    for line in lines:
        if path.suffix in (".json", ".jsonl"):
            try:
                _strings(json.loads(line or "null"), found)
            except ValueError:
                raise UsageError(f"the exam {path} holds a line that is not JSON; mend it.") from None
        else:
            found.append(line)
    return found


def _strings(value: Any, found: list[str]) -> None:
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            _strings(inner, found)
