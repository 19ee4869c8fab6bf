"""Which of a set of texts were found: names in a sentence, for example. The answer is a list; commas, lines, bullets.

`score`: 1 where exactly the target's are named (a set; order and repetitions do not count). `precision`, `recall`,
`f1` of the answer's items.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics.common import averaged, targets_of
from ziggurat.exam.rules.content import plain

_LEAD = re.compile(r"^[^:：\n]{0,60}[:：]\s*")
_PART = re.compile(r"[,，、;；\n]+")
_AND = re.compile(r"\s+(?:and|&)\s+|\s*和\s*")
_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)、])\s*")
NOTHING = {"none", "no names", "no name", "there are none", "无", "没有", "没有人名"}


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """
    >>> mark(["Names: Ann, Bo"], Item(id="1", target=["Bo", "Ann"]), {}).scores["score"]
    1.0
    """
    wanted = {plain(one) for one in targets_of(item.target)}

    def one(answer: str) -> Mark:
        given = {plain(one) for one in items_of(answer, wanted)}
        both = len(given & wanted)
        precision = both / len(given) if given else float(not wanted)
        recall = both / len(wanted) if wanted else float(not given)
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        why = "" if given == wanted else f"{both} of {len(wanted)} found, {len(given - wanted)} too many"
        scores = {"score": float(given == wanted), "precision": precision, "recall": recall, "f1": f1}
        return Mark(scores, why, {"answer": sorted(given)})

    return averaged(answers, one)


def items_of(answer: str, wanted: Collection[str] = ()) -> list[str]:
    """The items of a list as a model writes it: in the first block of the answer, without what leads to it.

    `wanted`: items that hold the word for "and" and stay whole (郑和平).
    """
    block = re.split(r"\n\s*\n", answer.strip())[0]
    parts = [_MARK.sub("", one) for one in _PART.split(_LEAD.sub("", block))]
    found = [piece for one in parts for piece in ([one] if plain(one) in wanted else _AND.split(one))]
    found = [re.sub(r"^(?:and|the)\s+", "", one).strip(" .。!！\"'“”*`") for one in found]
    return [one for one in found if one and one.casefold() not in NOTHING]
