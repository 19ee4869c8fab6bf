"""The text of a series: pieces of files or of the town's documents, in one shuffled order for all its runs.

    text -> pieces of a few paragraphs -> (held out | learned, in the order of their hashes)

A run reads the front of that order, as much as its tokens need, so that a small run need not encode all of it. Where
there is less text than that, it reads all of it several times. A share of a skill is counted in characters.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ziggurat.corpus.files import load_kind
from ziggurat.corpus.split import split, text_hash
from ziggurat.errors import DataError
from ziggurat.exam.scaling.skills import Skill
from ziggurat.records import Document
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.town.documents import held_out_documents, write_documents
from ziggurat.town.people import build_town

PIECE_CHARACTERS = 1500
HELD_OUT_SHARE = 0.05
HELD_OUT_CHARACTERS = 100_000
TOKENIZER_CHARACTERS = 2_000_000
TOWN_DOCUMENTS, TOWN_HELD_OUT = 60_000, 400
"""At most so many of the town's documents are written, about 4 million tokens."""
SPARE = 1.03
"""Text that a run reads, against what its tokens need: texts differ in their characters a token."""


@dataclass(frozen=True)
class Text:
    """The series' text without a skill."""

    learned: list[str]
    held_out: list[str]
    entries: list[dict[str, Any]]
    """Of the files, for manifests; empty for the town, whose text is made."""
    name: str

    @property
    def characters(self) -> int:
        return sum(map(len, self.learned))

    @property
    def fingerprint(self) -> str:
        """Changes with the text."""
        known = hashlib.sha256()
        for part in (self.learned, self.held_out):
            for text in part:
                known.update(text_hash(text))
            known.update(b"|")
        return known.hexdigest()


def read_text(files: Sequence[Path], town: int, skill: Skill | None) -> Text:
    """The text of files, or the documents of a town. Raises DataError for too little text."""
    if files:
        loaded = load_kind("documents", files)
        found = [piece for document in loaded.records for piece in pieces(document.text)]
        learned, held = split(found, lambda text: text, HELD_OUT_SHARE)
        name, entries = ", ".join(file.name for file in files), loaded.entries
    else:
        left_out = skill.teaches if skill else ()
        built = build_town(town)
        learned = [d.text for d in write_documents(built, TOWN_DOCUMENTS) if d.source not in left_out]
        held = [d.text for d in held_out_documents(built, TOWN_HELD_OUT) if d.source not in left_out]
        name, entries = f"town {town}", []
    if not held:
        raise DataError(
            f"the text has {len(learned)} pieces of about {PIECE_CHARACTERS:,} characters, and none could be held out "
            "to measure the loss; give more text."
        )
    return Text(sorted(learned, key=text_hash), list(_front(held, HELD_OUT_CHARACTERS)), entries, name)


def pieces(text: str) -> Iterator[str]:
    """Whole lines, about PIECE_CHARACTERS of them at a time; a longer line is cut."""
    held: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        for start in range(0, len(line), PIECE_CHARACTERS):
            held.append(line[start : start + PIECE_CHARACTERS])
            size += len(held[-1])
            if size >= PIECE_CHARACTERS:
                yield "".join(held)
                held, size = [], 0
    if "".join(held).strip():
        yield "".join(held)


def train_tokenizer(text: Text, skill: Skill | None, vocabulary: int) -> Tokenizer:
    """One for all runs of the series, whatever share of the skill they read."""
    sample = list(_front(text.learned, TOKENIZER_CHARACTERS))
    if skill:
        sample += skill.documents(sum(map(len, sample)) // 20)
    return Tokenizer.train(sample, vocabulary)


def characters_per_token(text: Text, tokenizer: Tokenizer) -> float:
    """Of the text without a skill, counted on the held-out pieces."""
    return sum(map(len, text.held_out)) / sum(len(ids) + 1 for ids in tokenizer.encode_batch(text.held_out))


def documents(text: Text, skill: Skill | None, share: float, characters: float) -> list[Document]:
    """So many characters (or all there are), `share` percent of them lines of the skill, in shuffled order."""
    part = share / 100 if skill else 0.0
    read = list(_front(text.learned, int(characters * SPARE * (1 - part))))
    found = [Document(text=one, source="text") for one in read]
    if skill and part:
        wanted = sum(map(len, read)) * part / (1 - part)
        found += [Document(text=one, source=f"skill:{skill.name}") for one in skill.documents(round(wanted))]
        random.Random(f"{skill.name} {share}").shuffle(found)
    return found


def _front(texts: Iterable[str], characters: int) -> Iterator[str]:
    """Whole texts until `characters` are reached."""
    for text in texts:
        if characters <= 0:
            return
        yield text
        characters -= len(text)
