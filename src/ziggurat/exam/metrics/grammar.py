"""Errors of form per 1,000 words, by a small checker of English and Chinese.

English: a word twice ("the the"), a/an before the wrong sound, a singular pronoun with a plural verb and the other way
round ("he go", "they was"), "could of", a sentence that begins in lower case, a blank before a comma, brackets and
quotation marks left open. Chinese: Western marks between characters, a doubled particle or mark, brackets and quotes
left open, 的 before a mark where nothing follows. It finds the plainest errors and no others: a figure of 0 does not
mean that there are none. `score`: 1 where an answer has at least `settings.least` words
(default 20) and at most `settings.per_1000` (default 5) errors per 1,000.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.metrics.common import averaged
from ziggurat.exam.rules import parts

PER_1000 = 5.0
LEAST = 20
"""Words; a shorter answer shows too little."""
_AN = (  # before a vowel as it sounds, not as it is written
    r"(?:a[a-z]|e(?!u|we)[a-z]|i[a-z]|o(?!ne\b|nce\b|ne-)[a-z]|hour|honest|honou?r|heir"
    r"|u(?:g|p|r(?!a|i)|l|nder|n(?!i|anim)[a-z]|nin|m|s(?!e|a|u)|t(?:ter|most)))"
)
_A = (
    r"(?:(?-i:[bcdfgjklmnpqrstvwxyzBCDFGJKLMNPQRSTVWXYZ][a-z]{2})|h(?!our|onest|ono|eir|erb)[a-z]"
    r"|uni(?!n|m)|use|usu|euro|one\b)"
)
_PATTERNS: dict[str, re.Pattern[str]] = {
    "word twice": re.compile(
        r"\b(?!(?:that|had|bye|very|ha|no|so|really|long|far|many|knock|tick|hush)\b)([a-z]+)[ \t]+\1\b", re.I
    ),
    "a for an": re.compile(rf"\ba (?={_AN})", re.I),
    "an for a": re.compile(rf"\ban (?={_A})", re.I),
    "agreement": re.compile(
        r"(?:^|[.!?]\s+|\b(?:and|but|because|when)\s)"
        r"(?:(?:he|she|it) (?:are|have|do|go|want|need|make|take|say|know|like)|I (?:is|are|has|does|goes))\b"
        r"|(?:\b(?:we|they)|(?:^|[.!?]\s+|\b(?:but|because|when)\s)you) "
        r"(?:is|was|has|does|goes|wants|needs|makes|takes|says|knows)\b"
        r"|\bthere is (?:two|three|four|five|six|many|several)\b",
        re.I | re.M,
    ),
    "could of": re.compile(r"\b(?:could|should|would|must|might) of\b(?! course)", re.I),
    "lower-case sentence": re.compile(
        r"(?<=[a-z]{3}[.!?] )(?<!\betc\. )(?<!approx\. )(?<!incl\. )[a-z](?=[a-z]+ )"
    ),
    "blank before a mark": re.compile(r"(?<=\w) [,;!?](?=\s|$)"),
    "Western mark in Chinese": re.compile(r"(?<=[\u4e00-\u9fff])[,;!?](?=[\u4e00-\u9fff])"),
    "doubled particle": re.compile(
        r"(?<![目标])的的(?!确)|(?<![为不])了了(?!吗)|(?<![于但可总])是是(?!非)|(?<![现存实所自内外潜])在在"
        r"|(?<!暖)和和(?![气美])|(?<![觉值获])得得|(?<![当本各外内土场草耕湿陆])地地(?!道)"
    ),
    "doubled mark": re.compile(r"[，、；：]{2,}|。。(?!。)|，。|。，"),
    "particle before a mark": re.compile(
        r"(?:(?<![暖温平缓柔祥饱随总附掺搀谦中亲讲求共调违议失])和|(?<![参给赠授赋])与"
        r"|(?<![现存实所自内外潜好何健还都不也安同常仍])在|(?<![棉盖薄厚单])被|(?<![一二两三几火拖车])把)[，。！？]"
    ),
}
_PAIRS = [("(", ")"), ("[", "]"), ("（", "）"), ("“", "”"), ("「", "」"), ("《", "》"), ("【", "】")]


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """
    >>> mark(["It is a apple on the the table."], Item(id="1"), {}).detail["errors"]
    ['a for an', 'word twice']
    """
    limit = float(settings.get("per_1000", PER_1000))
    least = int(settings.get("least", LEAST))

    def one(answer: str) -> Mark:
        count = len(parts.words(answer))
        found = errors(answer)
        rate = 1000 * len(found) / count if count else 0.0
        good = count >= max(1, least) and rate <= limit
        why = ", ".join(found[:4]) if found else "" if good else f"only {count} words"
        return Mark({"score": float(good)}, why, {"errors": sorted(found), "words": count})

    return averaged(answers, one)


def errors(text: str) -> list[str]:
    """The name of each error found; code blocks are left out."""
    text = re.sub(r"```.*?(?:```|\Z)", " ", text, flags=re.DOTALL)
    found = [name for name, pattern in _PATTERNS.items() for _ in pattern.finditer(text)]
    plain = re.sub(r"(?<![(\w])(?:\d{1,2}|[a-z])\)|[:;]-?[()]", " ", text)  # "1)" and faces
    found += [f"{left}{right} left open" for left, right in _PAIRS if plain.count(left) != plain.count(right)]
    if text.count('"') % 2:
        found.append('"" left open')
    return found


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, float]:
    """Errors per 1,000 words over all answers together, and how many words that are."""
    words = sum(int(one.mark.detail.get("words", 0)) for one in found)
    count = sum(len(one.mark.detail.get("errors", [])) for one in found)
    return {"errors_per_1000": 1000 * count / words, "words": float(words)} if words else {}
