"""What a text consists of: words, sentences, paragraphs, points. One rule for English and Chinese each."""

from __future__ import annotations

import re

from ziggurat.store.words import CJK

_WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+(?:['’.,-][^\W_{CJK}]+)*")
_SHORT = re.compile(r"\b(Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|a\.m|p\.m|No)\.", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]*]*(?=\s|$)|(?<=[。！？])[”’」』）]*|\n+")
_BULLET = re.compile(r"^\s*[-*•+–·]\s+(?=\S)")
_NUMBERED = re.compile(
    r"^\s*(?:\*\*)?(?:\(?\d{1,2}[.)、．）:：]|[一二三四五六七八九十]{1,3}[、.．]|第[一二三四五六七八九十]+[，,、])\s*(?=\S)"
)
_HEADING = re.compile(r"^\s*#{1,6}\s+\S")


def words(text: str) -> list[str]:
    """Words of alphabetic scripts; each Chinese or Japanese character is one.

    >>> words("It's 3.5 km to 老街.")
    ["It's", '3.5', 'km', 'to', '老', '街']
    """
    return _WORD.findall(text)


def sentences(text: str) -> list[str]:
    """Sentences: what ends with . ! ? … before a blank, with 。！？, or with a line. Headings and bare marks are none.

    >>> sentences("Dr. Lee came at 3.5 km. 他走了。Why?")
    ['Dr. Lee came at 3.5 km.', '他走了。', 'Why?']
    """
    hidden = _SHORT.sub(lambda match: match[0].replace(".", "\x00"), text)
    found, start = [], 0
    for match in _SENTENCE_END.finditer(hidden):
        found.append(hidden[start : match.end()])
        start = match.end()
    found.append(hidden[start:])
    return [one.replace("\x00", ".").strip() for one in found if words(_NUMBERED.sub("", one))]


def paragraphs(text: str) -> list[str]:
    """Blocks that blank lines part."""
    return [one.strip() for one in re.split(r"\n\s*\n", text) if one.strip()]


def lines(text: str) -> list[str]:
    """Lines that are not blank."""
    return [one.strip() for one in text.splitlines() if one.strip()]


def bullets(text: str) -> list[str]:
    """The texts of points with a bullet: a line that begins with - * • + – or ·."""
    return [_BULLET.sub("", one).strip() for one in text.splitlines() if _BULLET.match(one)]


def numbered(text: str) -> list[str]:
    """The texts of numbered points: a line that begins with `1.`, `1)`, `(1)`, `1、` or `一、`."""
    return [_NUMBERED.sub("", one).strip() for one in text.splitlines() if _NUMBERED.match(one)]


def headings(text: str) -> list[str]:
    """Markdown headings."""
    return [one.strip() for one in text.splitlines() if _HEADING.match(one)]
