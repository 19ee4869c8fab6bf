"""Constraints on an answer that a program can check, and the reward that GRPO learns from (`score`).

A constraint is a dictionary: its `kind`, and the kind's own numbers or words.

    {"kind": "max_words", "n": 30}      {"kind": "contains", "word": "water"}      {"kind": "json", "keys": ["a", "b"]}

The file stands alone, so that it can be named as a reward: --set reward_function=benchmarks/real/rules.py:score
Left out: any judgement of what the answer says. `constraints.py` measures that apart, with an encoder.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Constraint = Mapping[str, Any]

ALL_MET = 0.5
"""Share of the score that needs every constraint; the rest counts those that are met."""
FEWEST_WORDS, LEAST_DISTINCT = 3, 0.4
"""An answer of fewer words, or of fewer different words among all, is degenerate and scores DEGENERATE."""
DEGENERATE = -0.5

BULLET = re.compile(r"^\s*[-*•]\s+\S")
NUMBERED = re.compile(r"^\s*(\d+)[.)]\s+\S")
FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|mr|mrs|ms|dr|prof|st|vs|no|approx)\.", re.IGNORECASE)

STOP_WORDS = {
    "en": "the and is are of to in that it for with you your this be on as can by or have from not an",
    "es": "el la los las de y es en que un una para con por se su del como más pero son al no lo tu puedes",
    "fr": "le la les des de et est en que un une pour avec dans vous votre du sur pas ce qui ne il plus sont vous",
    "de": "der die das und ist in zu den von mit ein eine nicht sie für auf es dem im auch sind als wenn können",
}
LEAST_STOP_WORDS = 3
"""An answer is in a language if so many of its words are stop words of it, and more than of any other."""


# --- texts ------------------------------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """What stands between blanks and holds a letter or a digit: "It's 5 o'clock - now." has 4."""
    return [one for one in text.split() if any(c.isalnum() for c in one)]


def sentences(text: str) -> list[str]:
    """Pieces that end in . ! or ? (or their runs) before a blank or the end, or at the end of a line; pieces without
    a letter are none. "e.g." and a number such as 3.5 or the "1." of a list end nothing."""
    found = []
    for line in text.splitlines():
        plain = re.sub(r"^\s*(?:\d+[.)]|[-*•])\s+", "", line)
        plain = ABBREVIATION.sub(lambda match: match[0].replace(".", ""), plain)
        found += re.split(r"(?<=[.!?])[\"')\]]*\s+", plain)
    return [one for one in found if any(c.isalpha() for c in one)]


def has_word(text: str, word: str) -> bool:
    """Whole words, whatever their case."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def language(text: str) -> str | None:
    """en, es, fr or de by stop words; None where there are too few, or a tie."""
    counts = Counter(re.findall(r"[^\W\d_]+", text.lower()))
    seen = {name: sum(counts[w] for w in set(list_.split())) for name, list_ in STOP_WORDS.items()}
    best = max(seen, key=lambda name: seen[name])
    tied = sum(value == seen[best] for value in seen.values()) > 1
    return None if tied or seen[best] < LEAST_STOP_WORDS else best


def is_degenerate(text: str) -> bool:
    """Hardly a word, or the same few words again and again."""
    found = [one.strip(".,;:!?\"'()[]*-").lower() for one in words(text)]
    return len(found) < FEWEST_WORDS or len(set(found)) < LEAST_DISTINCT * len(found)


# --- constraints ------------------------------------------------------------------------------------------------------


def _bullets(text: str, one: Constraint) -> bool:
    return sum(bool(BULLET.match(line)) for line in text.splitlines()) == one["n"]


def _numbered(text: str, one: Constraint) -> bool:
    numbers = [int(match[1]) for line in text.splitlines() if (match := NUMBERED.match(line))]
    return numbers == list(range(1, one["n"] + 1))


def _json(text: str, one: Constraint) -> bool:
    fenced = FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except ValueError:
        return False
    return isinstance(value, dict) and set(value) == set(one["keys"]) and all(value.values())


def _title(text: str, one: Constraint) -> bool:  # noqa: ARG001
    first, _, rest = text.partition("\n")
    return re.fullmatch(r"\[[^\[\]]*\w[^\[\]]*\]", first.strip()) is not None and len(words(rest)) > 0


def _quoted(text: str, one: Constraint) -> bool:  # noqa: ARG001
    return len(words(text)) > 0 and len(text) > 1 and text[0] in '"“' and text[-1] in '"”'


def _cased(text: str, folded: str) -> bool:
    return any(c.isalpha() for c in text) and text == folded


def _parts(text: str, one: Constraint) -> bool:
    pieces = re.split(r"^\s*\*\*\*\s*$", text, flags=re.MULTILINE)
    return len(pieces) == one["n"] and all(len(words(piece)) > 0 for piece in pieces)


CHECKS: dict[str, Callable[[str, Constraint], bool]] = {
    "bullets": _bullets,
    "numbered": _numbered,
    "json": _json,
    "title": _title,
    "quoted": _quoted,
    "starts": lambda text, one: text.startswith(one["text"]) and len(text) > len(one["text"]),
    "ends": lambda text, one: text.endswith(one["text"]) and len(text) > len(one["text"]),
    "contains": lambda text, one: has_word(text, one["word"]),
    "avoid": lambda text, one: len(words(text)) > 0 and not has_word(text, one["word"]),
    "lower": lambda text, one: _cased(text, text.lower()),  # noqa: ARG005
    "no_comma": lambda text, one: len(words(text)) > 0 and "," not in text,  # noqa: ARG005
    "max_words": lambda text, one: 0 < len(words(text)) <= one["n"],
    "language": lambda text, one: language(text) == one["code"],
    # not trained on
    "upper": lambda text, one: _cased(text, text.upper()),  # noqa: ARG005
    "sentences": lambda text, one: len(sentences(text)) == one["n"],
    "question": lambda text, one: text.endswith("?"),  # noqa: ARG005
    "twice": lambda text, one: len(re.findall(rf"(?<!\w){re.escape(one['word'])}(?!\w)", text, re.I)) >= 2,
    "parts": _parts,
}
"""Each takes the answer without blanks at its ends."""


def is_met(constraint: Constraint, text: str) -> bool:
    """Whether the answer meets it. Raises KeyError for an unknown kind or a missing number."""
    return CHECKS[constraint["kind"]](text.strip(), constraint)


def all_met(constraints: Sequence[Constraint], text: str) -> bool:
    """The strict reading: every constraint of the prompt."""
    return all(is_met(one, text) for one in constraints)


def score(prompt: list[Any], completion: str, row: Mapping[str, Any]) -> float:  # noqa: ARG001
    """The reward: half of it is the share of `row["constraints"]` that is met, half is for all of them."""
    if is_degenerate(completion):
        return DEGENERATE
    met = [is_met(one, completion) for one in row["constraints"]]
    return (1 - ALL_MET) * sum(met) / len(met) + ALL_MET * all(met)
