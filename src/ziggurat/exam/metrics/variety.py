"""Repeated samples of one prompt: are they different, and does none of them go off the rails?

    overlap     the mean, over pairs of samples, of the share of different 2-grams that both have (Jaccard)
    varied      1 where `overlap` is at most `most_overlap` (default 0.5)
    sound       the share of samples that neither loop, nor break off, nor change the language, nor are far too
                short or too long beside the median (a third, three times)
    spread      standard deviation of the lengths in words / their mean
    score       `sound` where `varied`, else 0

`settings["finished"]: false` leaves the check of the ending out (a model that is cut at max_tokens never ends).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import Any

from ziggurat.errors import DataError
from ziggurat.evaluation.diversity import distinct_n
from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics import text_facts as facts
from ziggurat.exam.rules.language import language as in_language

ENDED = re.compile(r"[.!?。！？…~)\]}\"'”’」』`*]\s*$|[\U0001F300-\U0001FAFF]\s*$")


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """
    Raises:
        DataError: fewer than two samples.
    """
    if len(answers) < 2:
        raise DataError("the metric variety compares samples; set `samples` of the task to 2 or more.")
    pairs = [facts.jaccard(a, b, 2) for a, b in combinations(answers, 2)]
    overlap = sum(pairs) / len(pairs)
    lengths = [len(facts.words(answer)) for answer in answers]
    language = str(item.row.get("language", settings.get("language", "")))
    faults = [
        derailed(answer, language, median(lengths), finished=bool(settings.get("finished", True)))
        for answer in answers
    ]
    sound = sum(not fault for fault in faults) / len(faults)
    varied = overlap <= float(settings.get("most_overlap", 0.5))
    why = f"{overlap:.0%} overlap" if not varied else next((f for f in faults if f), "")
    scores = {
        "score": sound if varied else 0.0,
        "overlap": overlap,
        "varied": float(varied),
        "sound": sound,
        "spread": facts.spread(lengths),
        "distinct_2": distinct_n(answers, 2),
    }
    return Mark(scores, why)


def derailed(text: str, language: str, typical_words: float, *, finished: bool = True) -> str:
    """What went wrong in a text, in a few words; "" for nothing. `language` en or zh; "" leaves it out."""
    if not facts.words(text):
        return "is empty"
    if facts.looping(text) or facts.repetition(text) > 0.5:
        return "repeats itself"
    if language and not in_language(text, language):
        return f"is not {language}"
    if finished and not ENDED.search(text):
        return "breaks off"
    count = len(facts.words(text))
    if not typical_words / 3 <= count <= typical_words * 3:
        return f"{count} words where {typical_words:g} are usual"
    return ""
