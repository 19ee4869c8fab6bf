"""Poems as a file brings them, split by hash, and what stage 1 reads of them.

One row a poem: {"form": "五言绝句", "dynasty", "author", "title", "lines": [...]}. Poems are held out by the hash of
their lines, so the same poem always falls on the same side. Stage 1 reads

    五绝                      the form
    登鹳雀楼                  the title
    白日依山尽，黄河入海流。
    欲穷千里目，更上一层楼。

one quatrain in ACROSTIC_IN with the characters that its lines begin with in place of the title (以“白黄欲更”为头), so
that such a head is known for what it is before anybody asks for an acrostic; and, of other eight-line poems, their
rhyme feet alone: each couplet is cut to its last character, pointed as in the poem, so that where the next foot looks
for the last one is the same place. Few tokens show which characters real poets let rhyme; no rule and no reading enters
them.

    韵脚
    秋。
    流。
    舟。
    留。

Left out: poems with titles longer than TITLE_LIMIT, which spend the context on where the poet was that day.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ziggurat.corpus.rows import read_rows
from ziggurat.corpus.split import falls_below
from ziggurat.errors import DataError
from ziggurat.records import Document
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.verse.prosody import FORMS, Form, endings, well_formed, write_lines

HELD_OUT_SHARE = 0.02
TITLE_LIMIT = 24
FEET_HEADING = "韵脚"
ACROSTIC_IN = 4
LICENSE = "public domain"
_BY_FULL_NAME = {form.full_name: form for form in FORMS.values()}


@dataclass(frozen=True)
class Poem:
    form: Form
    title: str
    lines: tuple[str, ...]
    author: str = ""
    dynasty: str = ""

    @property
    def text(self) -> str:
        """The poem alone, as an answer gives it."""
        return write_lines(self.lines)


@dataclass(frozen=True)
class Anthology:
    """All poems of a file, on their two sides."""

    learned: list[Poem]
    held_out: list[Poem]
    left_out: Counter[str]
    """How many poems were left aside, by reason."""

    def of(self, *forms: str, held_out: bool = False) -> list[Poem]:
        return [poem for poem in (self.held_out if held_out else self.learned) if poem.form.name in forms]


def read_poems(path: Path) -> Anthology:
    """Read, check and split a file of poems."""
    anthology = Anthology([], [], Counter())
    for line, row in read_rows(path):
        poem = _poem(path, line, row)
        if not well_formed(poem.lines, poem.form):
            anthology.left_out["its lines are not those of its form"] += 1
        elif not 0 < len(poem.title) <= TITLE_LIMIT:
            anthology.left_out[f"its title is empty or longer than {TITLE_LIMIT} characters"] += 1
        else:
            side = (
                anthology.held_out if falls_below("".join(poem.lines), HELD_OUT_SHARE) else anthology.learned
            )
            side.append(poem)
    if not anthology.learned or not anthology.held_out:
        raise DataError(
            "there are too few poems to learn from and to hold out; give a larger file.", path=path
        )
    return anthology


def _poem(path: Path, line: int, row: dict[str, Any]) -> Poem:
    form, title, lines = row.get("form"), row.get("title"), row.get("lines")
    known = _BY_FULL_NAME.get(str(form)) or FORMS.get(str(form))
    if known is None:
        raise DataError(
            f"expected one of {', '.join(_BY_FULL_NAME)}, found {form!r}.", path=path, line=line, field="form"
        )
    if not isinstance(title, str):
        raise DataError("expected a text.", path=path, line=line, field="title")
    if not isinstance(lines, list) or not all(isinstance(one, str) for one in lines):
        raise DataError("expected a list of texts.", path=path, line=line, field="lines")
    author, dynasty = str(row.get("author") or ""), str(row.get("dynasty") or "")
    return Poem(known, " ".join(title.split()), tuple(lines), author, dynasty)


def document(poem: Poem) -> Document:
    return Document(text=f"{heading(poem.form, poem.title)}{poem.text}", license=LICENSE, lang="zh")


def heading(form: Form, title: str) -> str:
    """What a base model is given to continue with a poem."""
    return f"{form.name}\n{title}\n"


def headed_document(poem: Poem) -> Document:
    """The poem under the characters that its lines begin with."""
    head = f"以“{''.join(line[0] for line in poem.lines)}”为头"
    return Document(text=f"{heading(poem.form, head)}{poem.text}", license=LICENSE, lang="zh")


def feet_document(poem: Poem) -> Document:
    feet = "\n".join(f"{character}。" for character in endings(poem.lines)[1::2])
    return Document(text=f"{FEET_HEADING}\n{feet}", license=LICENSE, lang="zh")


def documents(anthology: Anthology, *, eight_line_poems: int, feet: int, seed: int = 0) -> list[Document]:
    """The text of stage 1: every quatrain, some eight-line poems, and the rhyme feet of others, shuffled."""
    chance = random.Random(f"{seed} verse documents")
    eight = anthology.of("五律", "七律")
    chance.shuffle(eight)
    whole, feet_of = eight[:eight_line_poems], eight[eight_line_poems : eight_line_poems + feet]
    made = [
        headed_document(poem) if i % ACROSTIC_IN == 0 else document(poem)
        for i, poem in enumerate(anthology.of("五绝", "七绝"))
    ]
    made += [document(poem) for poem in whole]
    made += [feet_document(poem) for poem in feet_of]
    chance.shuffle(made)
    return made


def held_out_documents(anthology: Anthology, count: int) -> list[Document]:
    """Poems never learned from, all forms as they come."""
    return [
        document(poem) for poem in anthology.held_out[:: max(1, len(anthology.held_out) // count)][:count]
    ]


def character_tokenizer(poems: Iterable[Poem], size: int, *, also: str) -> Tokenizer:
    """One token a character for the `size` commonest characters and all of `also`; bytes for the rest."""
    counted: Counter[str] = Counter()
    for poem in poems:
        counted.update("".join(poem.lines))
        counted.update(poem.title)
    kept = [character for character, _ in counted.most_common(size)]
    return Tokenizer.characters("".join(kept) + also)


def known_lines(poems: Sequence[Poem]) -> frozenset[str]:
    """Every line of these poems, to tell what was copied."""
    return frozenset(line for poem in poems for line in poem.lines)
