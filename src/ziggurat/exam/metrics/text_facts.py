"""What can be counted in a text: words, sentences, lines, list items, numbers, its language, its repetitions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ziggurat.evaluation.diversity import units

HAN = re.compile(r"[㐀-鿿豈-﫿]")
LATIN_WORD = re.compile(r"[A-Za-zÀ-ɏ]+")
NUMBER = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?")
ITEM = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)、．])\s*\S")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|(?<=[。！？])[」』”]*|\n+")
FENCE = re.compile(r"```[A-Za-z]*\n(.*?)```", re.DOTALL)
ASKS = (
    "could you clarify",
    "can you clarify",
    "please clarify",
    "please specify",
    "please tell me",
    "let me know which",
    "请告诉我",
    "请说明",
    "请问",
    "请提供",
)


def words(text: str) -> list[str]:
    """Words of alphabetic scripts and single Chinese characters, in lower case; no marks.

    >>> words("It's 老街, No. 5")
    ['it', 's', '老', '街', 'no', '5']
    """
    return [unit.lower() for unit in units(text) if re.match(r"\w", unit)]


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def sentences(text: str) -> list[str]:
    """Parts with at least one word, cut after closing marks and at line ends.

    >>> sentences("One. Two? 三。四！")
    ['One.', 'Two?', '三。', '四！']
    """
    return [part.strip() for part in SENTENCE_END.split(text) if words(part)]


def list_items(text: str) -> list[str]:
    """Lines that begin with a bullet or a number."""
    return [line for line in text.splitlines() if ITEM.match(line)]


def numbers(text: str) -> list[float]:
    """Every number in order of place.

    >>> numbers("1,234 and -5.5")
    [1234.0, -5.5]
    """
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def unfenced(text: str) -> str:
    """The inside of the only fenced block, else the text."""
    blocks = FENCE.findall(text)
    return blocks[0] if len(blocks) == 1 else text.strip()


def plain(text: str) -> str:
    """For comparison: words alone.

    >>> plain(" The Answer: 42. ")
    'the answer 42'
    """
    return " ".join(words(text))


def language(text: str) -> str:
    """en, zh, mixed (each a fifth of the words or more), or none. Any Latin script counts as en: a coarse rule."""
    han, latin = len(HAN.findall(text)), len(LATIN_WORD.findall(text))
    if not han + latin:
        return "none"
    share = han / (han + latin)
    return "zh" if share > 0.8 else "en" if share < 0.2 else "mixed"


def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
    found = words(text)
    return Counter(zip(*(found[i:] for i in range(n)), strict=False))


def share_of_grams(text: str, other: str, n: int) -> float:
    """The share of the text's n-grams that occur in the other; 0 where it has none."""
    ours, theirs = grams(text, n), grams(other, n)
    total = ours.total()
    return sum(count for gram, count in ours.items() if gram in theirs) / total if total else 0.0


def jaccard(text: str, other: str, n: int) -> float:
    """Different n-grams that both have / that either has; 1 for two equal texts without n-grams."""
    ours, theirs = set(grams(text, n)), set(grams(other, n))
    if not ours | theirs:
        return float(plain(text) == plain(other))
    return len(ours & theirs) / len(ours | theirs)


def repetition(text: str, n: int = 4) -> float:
    """The share of n-grams that an earlier place of the text has already.

    >>> repetition("a b c d a b c d a b c d")
    0.5555555555555556
    """
    found = grams(text, n)
    return 1 - len(found) / found.total() if found else 0.0


def looping(text: str) -> bool:
    """Whether the end repeats itself: two or more words three times in a row, or one line three times."""
    found = words(text)
    for size in range(1, len(found) // 3 + 1):
        tail = found[-size:]
        if found[-2 * size : -size] == tail and found[-3 * size : -2 * size] == tail and size * 3 >= 6:
            return True
    ends = lines(text)[-3:]
    return len(ends) == 3 and len(set(ends)) == 1


def spread(values: Sequence[float]) -> float:
    """Standard deviation / mean (coefficient of variation); 0 for fewer than two values or a mean of 0."""
    if len(values) < 2 or not (mean := sum(values) / len(values)):
        return 0.0
    return float((sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5 / mean)
