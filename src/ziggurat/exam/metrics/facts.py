"""A fact with its accepted wordings: right, abstained, or fabricated; over several samples, whether they agree.

`score`: the share of samples that hold the right answer, and none of the row's `wrong` ones. `abstained` and
`fabricated` (neither right nor abstaining) are the other shares: the three add up to 1. With samples: `agreement`,
the share of the commonest answer, and `one_answer`, 1 where it reaches `settings.consistent` (default 0.95), which the
same question asked ten times must. Answers are the same where they name the same accepted (or `wrong`) wordings, else
where their numbers are the same, else where their first sentence is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.metrics import calibration, equivalence
from ziggurat.exam.metrics.common import targets_of
from ziggurat.exam.rules import parts, stance
from ziggurat.exam.rules.content import contains, keeps, plain

CONSISTENT = 0.95
"""Share of equal answers above which a question counts as answered one way (docs: same question ten times)."""


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """
    >>> mark(["Lu Xun is the pen name of Zhou Shuren."], Item(id="1", target=["same", "pen name"]), {}).scores["score"]
    1.0
    """
    wanted, wrong = targets_of(item.target), targets_of(item.row.get("wrong"))
    kinds = [_kind(answer, wanted, wrong) for answer in answers] or ["fabricated"]
    scores = {
        "score": kinds.count("right") / len(kinds),
        "abstained": kinds.count("abstained") / len(kinds),
        "fabricated": kinds.count("fabricated") / len(kinds),
    }
    keys = [key_of(answer, kind, wanted, wrong) for answer, kind in zip(answers, kinds, strict=False)]
    commonest, times = Counter(keys).most_common(1)[0] if keys else ("", 0)
    if len(keys) > 1:
        scores["agreement"] = times / len(keys)
        scores["one_answer"] = float(scores["agreement"] >= float(settings.get("consistent", CONSISTENT)))
    share = times / len(keys) if keys else 0.0
    right = commonest.startswith("right")
    why = "" if kinds[0] == "right" else kinds[0]
    return Mark(scores, why, {"answer": commonest, "confidence": share, "correct": right, "answers": keys})


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, float]:
    """Of samples whether their agreement tells how right they are (`calibration`); with `settings.clean`, the name of
    a stratum, whether other wordings are answered alike (`equivalence`)."""
    figures: dict[str, float] = {}
    if any(len(one.answers) > 1 for one in found):
        figures |= calibration.summary(found, settings)
    if "clean" in settings:
        figures |= equivalence.summary(found, settings)
    return figures


def _kind(answer: str, wanted: Sequence[str], wrong: Sequence[str]) -> str:
    if not answer.strip():
        return "fabricated"
    if keeps(answer, wanted, wrong):
        return "right"
    return "abstained" if stance.abstains(answer) or stance.refuses(answer) else "fabricated"


def key_of(answer: str, kind: str, wanted: Sequence[str], wrong: Sequence[str]) -> str:
    """What an answer says, in a form in which equal answers are equal text."""
    if kind in ("right", "abstained"):
        return kind
    named = [one for one in (*wanted, *wrong) if contains(answer, any=[one])]
    if named:
        return "+".join(plain(one) for one in named)
    if numbers := re.findall(r"\d[\d,.]*\d|\d", answer):
        return str(numbers[0]).replace(",", "")
    return plain((parts.sentences(answer) or [answer])[0])
