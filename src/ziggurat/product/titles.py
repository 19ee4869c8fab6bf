"""The title of a chat from its first message: the first words, without a model, the same each time."""

from __future__ import annotations

import re

from ziggurat.store.words import CJK

MAX_WORDS = 6
MAX_LETTERS = 48
MAX_CJK = 16
"""Chinese characters, which are two columns wide."""
_FENCE = re.compile(r"```.*?(```|\Z)", re.DOTALL)
_MARKUP = re.compile(r"^[#>*\-\s]+|[*_`$\\]")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|(?<=[。！？；])|\n")
_CJK = re.compile(f"[{CJK}]")


def short_title(text: str) -> str:
    """A title of up to six words, or up to sixteen Chinese characters; empty where the text has no word.

    >>> short_title("Please explain how tides work, and why there are two of them a day.")
    'Please explain how tides work, and…'
    >>> short_title("请解释一下潮汐是怎么形成的？为什么一天有两次？")
    '请解释一下潮汐是怎么形成的？'
    """
    prose = _FENCE.sub(" ", text).strip() or text.replace("```", " ").strip()
    first = next((s for s in _SENTENCE_END.split(prose) if re.search(r"\w", s)), "")
    words = _MARKUP.sub("", first).split()
    line = " ".join(words)
    if len(_CJK.findall(line)) * 2 > len(line):
        return line if len(line) <= MAX_CJK else line[:MAX_CJK].rstrip("，、,") + "…"
    short = " ".join(words[:MAX_WORDS])
    if len(short) > MAX_LETTERS:
        short = short[:MAX_LETTERS].rsplit(" ", 1)[0] if " " in short[:MAX_LETTERS] else short[:MAX_LETTERS]
    return short if short == line else short.rstrip(",;:") + "…"
