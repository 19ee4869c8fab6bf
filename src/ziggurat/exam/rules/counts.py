"""Rules that count: words, sentences, points, how often a word occurs. Each takes exactly, at_least, at_most."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from ziggurat.exam.rules import parts
from ziggurat.store.words import is_cjk


def within(number: int, exactly: int | None, at_least: int | None, at_most: int | None) -> bool:
    """Whether a number fits all bounds that are given."""
    return (
        (exactly is None or number == exactly)
        and (at_least is None or number >= at_least)
        and (at_most is None or number <= at_most)
    )


def _counting(count: Callable[[str], int]) -> Callable[..., bool]:
    def check(
        text: str, exactly: int | None = None, at_least: int | None = None, at_most: int | None = None
    ) -> bool:
        return within(count(text), exactly, at_least, at_most)

    return check


def times(text: str, word: str) -> int:
    """How often a word or phrase occurs, without regard to capitals; in an alphabet as a whole word, of which a
    Chinese character beside it is no part.

    >>> times("密码是4817，不是481。", "481")
    1
    """
    text, word = folded(text), folded(word)
    if is_cjk(word):
        return text.count(word)
    count, at = 0, text.find(word)
    while at >= 0 and word:
        end = at + len(word)
        if not (_goes_on(text[at - 1 : at]) or _goes_on(text[end : end + 1])):
            count += 1
        at = text.find(word, end)
    return count


def folded(text: str) -> str:
    """NFKC and no capitals: "H₂O" is "h2o", "１００℃" is "100°c"."""
    return unicodedata.normalize("NFKC", text).casefold()


def _goes_on(neighbour: str) -> bool:
    """Whether a character beside a word belongs to it."""
    return (neighbour.isalnum() or neighbour == "_") and not is_cjk(neighbour)


def word_times(
    text: str,
    word: str,
    exactly: int | None = None,
    at_least: int | None = None,
    at_most: int | None = None,
) -> bool:
    return within(times(text, word), exactly, at_least, at_most)


def letter_times(
    text: str,
    letter: str,
    exactly: int | None = None,
    at_least: int | None = None,
    at_most: int | None = None,
) -> bool:
    return within(text.casefold().count(letter.casefold()), exactly, at_least, at_most)


def _capital_words(text: str) -> int:
    return sum(len(word) > 1 and word.isupper() for word in parts.words(text))


def _placeholders(text: str) -> int:
    """`[name]`, `[address]`."""
    return len(re.findall(r"\[[^\[\]\n]+\]", text))


def _highlights(text: str) -> int:
    """`*marked*` or `**marked**`."""
    return len(re.findall(r"\*\*[^*\n]+\*\*|(?<!\*)\*[^*\s][^*\n]*\*(?!\*)", text))


def _questions(text: str) -> int:
    return sum(one.rstrip("\"'”’)*").endswith(("?", "？")) for one in parts.sentences(text))


RULES: dict[str, Callable[..., bool]] = {
    "words": _counting(lambda text: len(parts.words(text))),
    "sentences": _counting(lambda text: len(parts.sentences(text))),
    "paragraphs": _counting(lambda text: len(parts.paragraphs(text))),
    "lines": _counting(lambda text: len(parts.lines(text))),
    "bullets": _counting(lambda text: len(parts.bullets(text))),
    "numbered": _counting(lambda text: len(parts.numbered(text))),
    "headings": _counting(lambda text: len(parts.headings(text))),
    "questions": _counting(_questions),
    "capital_words": _counting(_capital_words),
    "placeholders": _counting(_placeholders),
    "highlights": _counting(_highlights),
    "word_times": word_times,
    "letter_times": letter_times,
}
