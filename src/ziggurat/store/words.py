"""Words of a text for the search index, in every language with one rule for both databases.

Letters are compared in normal form NFKC without case and, outside of Chinese, Japanese and Korean, without accents. A
run of Chinese characters has no spaces, so each character and each pair of neighbours is a word of the index: 苹果汁
gives 苹 果 汁 苹果 果汁. A query of two or more characters asks for its pairs, so that 苹果 is found and 果苹 is not.
"""

from __future__ import annotations

import re
import unicodedata

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_RUNS = re.compile(rf"[{CJK}]+|[^\W_{CJK}]+")
_IS_CJK = re.compile(rf"[{CJK}]")
MAX_WORDS = 30_000
"""Distinct words of one text; a tsvector holds 1 MB."""
MAX_LETTERS = 64
"""Of a word; a longer one is cut."""


def folded(text: str) -> str:
    """Text as it is compared."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text).casefold()
    return "".join(
        c
        if _IS_CJK.match(c)
        else "".join(p for p in unicodedata.normalize("NFD", c) if not unicodedata.combining(p))
        for c in text
    )


def runs(text: str) -> list[str]:
    """Words and runs of Chinese characters, in order."""
    return _RUNS.findall(folded(text))


def is_cjk(run: str) -> bool:
    return _IS_CJK.match(run) is not None


def index_words(text: str) -> list[str]:
    """The distinct words under which a text is found, in order of their first place."""
    found: dict[str, None] = {}
    for run in runs(text):
        if is_cjk(run):
            found.update(dict.fromkeys(run))
            found.update(dict.fromkeys(run[i : i + 2] for i in range(len(run) - 1)))
        else:
            found[run[:MAX_LETTERS]] = None
        if len(found) >= MAX_WORDS:
            break
    return list(found)[:MAX_WORDS]


def query_words(query: str) -> tuple[list[str], str | None]:
    """Words that a hit must hold, and the beginning of one: the last word, which may still be being typed. One letter
    is the beginning of too many, so it is a word."""
    asked = runs(query)
    typed = bool(asked) and len(asked[-1]) > 1 and not is_cjk(asked[-1])
    prefix = asked.pop()[:MAX_LETTERS] if typed else None
    words: dict[str, None] = {}
    for run in asked:
        if not is_cjk(run) or len(run) == 1:
            words[run[:MAX_LETTERS]] = None
        else:
            words.update(dict.fromkeys(run[i : i + 2] for i in range(len(run) - 1)))
    return list(words), prefix
