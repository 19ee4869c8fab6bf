"""Rules of content: what a text holds, lacks, equals."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

import re2

from ziggurat.exam.rules import parts
from ziggurat.exam.rules.counts import times

_SPOKEN = re.compile(r"^(?:the answer is|answer|答案是|答案)\s*[:：]?\s*", re.IGNORECASE)


_ACCENTS = re.compile("[\u0300-\u036f]")


def plain(text: str) -> str:
    """Text as it is compared: NFKC, no capitals, no punctuation at its ends or in it, blanks joined."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join(" " if unicodedata.category(c)[0] in "PS" and c not in "+-%$" else c for c in text)
    return " ".join(text.split())


def contains(text: str, any: Sequence[str] = (), all: Sequence[str] = ()) -> bool:
    """Holds at least one of `any` and each of `all`, as whole words without regard to capitals and accents."""
    return (not any or _one(text, any)) and not [word for word in all if not _one(text, [word])]


def _one(text: str, words: Sequence[str]) -> bool:
    text = bare(text)
    return bool([word for word in words if times(text, bare(word))])


def bare(text: str) -> str:
    """The text without accents, in NFKC.

    >>> bare("Gödel, Dvořák")
    'Godel, Dvorak'
    """
    return unicodedata.normalize("NFKC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text)))


def lacks(text: str, words: Sequence[str]) -> bool:
    return not _one(text, words)


def keeps(text: str, right: Sequence[str], wrong: Sequence[str] = ()) -> bool:
    """Says one of the right things, and states none of the wrong ones; to deny a wrong one is no statement of it.

    >>> [keeps(t, ["7"], ["8"]) for t in ("It has 7 days, not 8.", "It has 7 days, or 8.", "It has 8.")]
    [True, False, False]
    """
    return _one(text, right) and not states(text, wrong)


_DENIAL = (
    r"(?:\b(?:not|never|no|rather than|instead of|isn['’]t|aren['’]t|don['’]t|doesn['’]t)\b[\w\s\"'“]{0,16}?"
    r"|(?:不是|并不是|而非|并非|不等于|不会是|不可能是|没有|不在|不从)[^，。,.]{0,5}?)"
)


def states(text: str, words: Sequence[str]) -> bool:
    """Says one of the words without a denial just before it ("not", "rather than", 不是, 而非)."""
    text, words = bare(text), [bare(word) for word in words]
    return any_of(
        [re.sub(_DENIAL + re.escape(word), " ", text, flags=re.IGNORECASE) for word in words], words
    )


def any_of(texts: Sequence[str], words: Sequence[str]) -> bool:
    return sum(times(text, word) for text, word in zip(texts, words, strict=True)) > 0


def equals(text: str, any: Sequence[str], first_line: bool = True) -> bool:
    """Is one of the texts, but for capitals, punctuation and "The answer is"."""
    said = next(iter(parts.lines(text)), "") if first_line else text
    return plain(_SPOKEN.sub("", said)) in {plain(one) for one in any}


def verbatim(text: str, phrase: str) -> bool:
    """Is this very text; quotation marks around it do not count."""
    return text.strip().strip("\"'“”「」`").strip() == phrase.strip()


def matches(text: str, pattern: str, whole: bool = False) -> bool:
    """Matches an RE2 expression, without regard to capitals."""
    compiled = re2.compile(f"(?is){pattern}")
    return (compiled.fullmatch(text) if whole else compiled.search(text)) is not None


def word_at(text: str, place: int, word: str) -> bool:
    """The word at a place (1: the first; -1: the last)."""
    found = parts.words(text)
    index = place - 1 if place > 0 else place
    return -len(found) <= index < len(found) and found[index].casefold() == word.casefold()


def items(text: str, any_of: Sequence[str], exactly: int) -> bool:
    """Names exactly so many different ones of a set ("three planets")."""
    return len({word for word in any_of if times(text, word)}) == exactly


def in_order(text: str, words: Sequence[str]) -> bool:
    """Names all words, each for the first time after the one before it."""
    places = [text.casefold().find(word.casefold()) for word in words]
    return min(places) >= 0 and places == sorted(places) and len(set(places)) == len(places)


RULES: dict[str, Callable[..., bool]] = {
    "contains": contains,
    "lacks": lacks,
    "keeps": keeps,
    "equals": equals,
    "verbatim": verbatim,
    "matches": matches,
    "word_at": word_at,
    "items": items,
    "in_order": in_order,
}
