"""Long answers on five axes by rule, each from 0 to 1 (1 is best), and as `score` their mean times relevance, so
that fine sentences on another subject are worth nothing.

    repetition     1 - the share of 4-grams that an earlier place of the answer has already
    contradiction  1 - the share of the row's facts that no sentence mentions or some sentence denies: it names the
                   fact's `about` and says another value of the same kind, or the same value after a "not"
    relevance      the share of windows of five sentences that mention something of the topic (`topic`: words)
    richness       half: different words in a window of 100 words (MATTR, Covington and McFall 2010; 0.7 counts as
                   full); half: the share of the row's `points` that the answer touches
    consistency    language, narrator (I, or they) and names hold from the first third to the last

An answer of fewer than `least` words (default 300: about 400 tokens) is scored in proportion: the score times
its words / `least`, so that saying nothing is no way to be free of faults.

    {"topic": ["mill"], "points": [["wheel"], ["owner", "miller"]],
     "facts": [{"about": "mill", "value": "1874", "kind": "year"}], "names": ["Ida"], "language": "en"}

Left out: whether what is said of the world is true, and contradictions between two sentences that name no given fact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics import text_facts as facts
from ziggurat.exam.rules import parts
from ziggurat.exam.rules.counts import times
from ziggurat.exam.rules.language import shares_of

YEAR = re.compile(r"(?<!\d)1[0-9]\d\d(?!\d)|(?<!\d)20\d\d(?!\d)")
DENIES = re.compile(r"\b(?:not|never|n't|no longer)\b|n't\b|不是|并非|没有", re.IGNORECASE)
WINDOW = 5
MATTR_WORDS = 100
FULL_MATTR = 0.7


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    marks = [axes(answer, item.row, int(settings.get("least", 300))) for answer in answers]
    scores = {name: sum(one[name] for one in marks) / len(marks) for name in marks[0]}
    worst = min((name for name in scores if name not in ("score", "words")), key=lambda name: scores[name])
    return Mark(scores, f"{worst} {scores[worst]:.2f}" if scores[worst] < 0.8 else "")


def axes(text: str, row: Mapping[str, Any], least: int) -> dict[str, float]:
    """The five axes, `score` and `words` of one answer."""
    count = len(facts.words(text))
    if not count:
        names = ("repetition", "contradiction", "relevance", "richness", "consistency", "score", "words")
        return dict.fromkeys(names, 0.0)
    found = {
        "repetition": 1 - facts.repetition(text),
        "contradiction": 1 - contradicted(text, row.get("facts", [])),
        "relevance": relevance(text, row["topic"]),
        "richness": richness(text, row.get("points", [])),
        "consistency": consistency(text, str(row.get("language", "en")), row.get("names", [])),
    }
    mean = sum(found.values()) / len(found)
    return {**found, "score": mean * found["relevance"] * min(1.0, count / least), "words": float(count)}


def contradicted(text: str, given: Sequence[Mapping[str, str]]) -> float:
    """The share of given facts that no sentence mentions or that some sentence denies.

    A `year` is denied by a sentence with its `about` and years without the right one; a `choice` by a sentence with
    its `about` and one of `others` but not the value; each also by its value after a word of denial.
    """
    denied = 0
    for fact in given:
        about = [one for one in parts.sentences(text) if times(one, fact["about"])]
        denied += not about or any(_denies(sentence, fact) for sentence in about)
    return denied / len(given) if given else 0.0


def _denies(sentence: str, fact: Mapping[str, Any]) -> bool:
    value = str(fact["value"])
    if times(sentence, value):
        before = sentence[: sentence.lower().find(value.lower())]
        return bool(DENIES.search(before[-30:]))
    if fact.get("kind") == "year":
        return bool(YEAR.search(sentence))
    return any(times(sentence, str(other)) for other in fact.get("others", []))


def relevance(text: str, topic: Sequence[str]) -> float:
    found = parts.sentences(text)
    windows = [" ".join(found[i : i + WINDOW]) for i in range(0, len(found), WINDOW)]
    return sum(any(times(window, word) for word in topic) for window in windows) / len(windows)


def richness(text: str, points: Sequence[Sequence[str]]) -> float:
    words = facts.words(text)
    size = min(MATTR_WORDS, len(words))
    windows = [len(set(words[i : i + size])) / size for i in range(len(words) - size + 1)]
    varied = min(1.0, sum(windows) / len(windows) / FULL_MATTR)
    if not points:
        return varied
    touched = sum(any(times(text, word) for word in point) for point in points) / len(points)
    return (varied + touched) / 2


def consistency(text: str, language: str, names: Sequence[str]) -> float:
    """The share of three that hold: every third is in the language; the narrator of the first third is that of the
    last; half or more of the given names that the first third mentions come back after it."""
    found = parts.sentences(text)
    size = max(1, len(found) // 3)
    first, last = " ".join(found[:size]), " ".join(found[-size:])
    middle = " ".join(found[size:-size]) if len(found) > 2 * size else ""
    one_language = all(_in(part, language) for part in (first, middle, last))
    present = [name for name in names if times(first, name)]
    kept = [name for name in present if times(" ".join(found[size:]), name)]
    return (one_language + (_narrator(first) == _narrator(last)) + (2 * len(kept) >= len(present))) / 3


def _in(text: str, language: str) -> bool:
    shares = shares_of(text)
    return not shares or shares.get(language, 0.0) >= 0.7


def _narrator(text: str) -> str:
    """first person or third, by which pronoun is commoner."""
    ours = len(re.findall(r"\b(?:I|my|me|we|our)\b|我", text))
    theirs = len(re.findall(r"\b(?:he|she|they|his|her|their|it|its)\b|他|她|它", text, re.IGNORECASE))
    return "first" if ours > theirs else "third"
