"""Citations that are not in the list they had to come from, flagged one by one.

Found are authors with a year ("Lin (2019)", "Lin et al., 2019"), DOIs, arXiv numbers, web addresses, and numbered
references ("[3]"). A citation is supported where the row's `allowed` holds it: "Lin 2019", "10.1000/xyz", "[1]". A row
about an invented subject has an empty `allowed`: every citation in its answer is invented, and the answer has to say
that it does not know the subject, or reject it. `score`: 1 where nothing is flagged
and, if the row says `needs: true`, at least one allowed source is cited. `invented`: flagged citations.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics.common import averaged, targets_of
from ziggurat.exam.rules import stance

_AUTHOR_YEAR = re.compile(
    r"\b([A-Z][\w'’-]+)(?:,? (?:[A-Z]\.,? ?)+)?(?:,? (?:et al\.?|and [A-Z][\w'’-]+"
    r"|& [A-Z][\w'’-]+))?,? ?[(（]?((?:1[89]|20)\d\d)[a-z]?\b"
)
_AUTHOR_YEAR_ZH = re.compile(r"([\u4e00-\u9fff]{2,3}?)(?:等人?)?[(（，,]\s*((?:1[89]|20)\d\d)")
_DOI = re.compile(r"\b10\.\d{4,9}/[^\s\"<>，。)）\]]+")
_ARXIV = re.compile(r"\b(?:arXiv:)?\s?(\d{4}\.\d{4,5})(?:v\d+)?\b", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[^\s\"<>，。)）\]]+")
_NUMBER = re.compile(r"\[(\d{1,2})\]")
NO_AUTHORS = frozenset(
    {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October"}
    | {"November", "December", "In", "Since", "By", "Of", "Between", "Around"}
)


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """
    >>> mark(["See Lin (2019) and Wu (2020)."], Item(id="1", row={"allowed": ["Lin 2019"]}), {}).scores["invented"]
    1.0
    """
    allowed = {one.casefold() for one in targets_of(item.row.get("allowed"))}
    needs = bool(item.row.get("needs", False))
    unknown = item.row.get("allowed") == []

    def one(answer: str) -> Mark:
        cited = citations(answer)
        invented = [text for text in cited if not _supported(text.casefold(), allowed)]
        right = not invented and bool(answer.strip()) and (len(cited) > 0 or not needs)
        why = f"invented: {', '.join(invented[:3])}" if invented else "" if right else "cites nothing"
        if (
            right
            and unknown
            and not (stance.abstains(answer) or stance.rejects(answer) or stance.refuses(answer))
        ):
            right, why = False, "accepts the invented subject"
        return Mark({"score": float(right), "invented": float(len(invented))}, why, {"answer": sorted(cited)})

    return averaged(answers, one)


def _supported(text: str, allowed: Collection[str]) -> bool:
    """Whether a citation is allowed; of a Chinese name, which no blank parts from what precedes it, its end counts."""
    return text in allowed or any("\u4e00" <= one[:1] <= "\u9fff" and text.endswith(one) for one in allowed)


def citations(text: str) -> list[str]:
    """The citations of a text in the form in which `allowed` holds them, each once.

    >>> citations("As Lin et al. (2019) show [2], doi 10.1000/ab.")
    ['Lin 2019', '10.1000/ab', '[2]']
    """
    found = [
        f"{author} {year}"
        for pattern in (_AUTHOR_YEAR, _AUTHOR_YEAR_ZH)
        for author, year in pattern.findall(text)
        if author not in NO_AUTHORS
    ]
    addresses = _ADDRESS.findall(text)
    found += addresses
    rest = _ADDRESS.sub(" ", text)
    found += [one.rstrip(".") for one in _DOI.findall(rest)]
    found += [f"arXiv:{number}" for number in _ARXIV.findall(_DOI.sub(" ", rest))]
    found += [f"[{number}]" for number in _NUMBER.findall(rest)]
    return list(dict.fromkeys(found))
