"""A judge against people, by the measures that hold between people: is it one more person, or a worse one?

People's rankings and pairs of one set of answers are items; the judge ranks the same answers by asking about all their
pairs in both orders. Reported are the agreement between people, of the judge with the people's consensus, and of the
judge with each person, all by `workbench.labelling.measures`. A person without overlap with others still counts against
the judge. Texts are compared as they were shown; answers of the same text are one answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from ziggurat.exam.judges.judge import AnyJudge, Compared, Pair, both_orders, unread
from ziggurat.records import Message
from ziggurat.workbench.labelling import measures
from ziggurat.workbench.labelling.agreement_report import consensus_of
from ziggurat.workbench.labelling.answered import Answered, Answers

TASK = "ranking"
CONSENSUS, JUDGE = "consensus", "judge"


@dataclass(frozen=True)
class Opinion:
    """How one person ranked the answers to one conversation. `texts`, `ranks`, `models`: by the answer's key; rank 1 is
    best, equal ranks are ties."""

    person: str
    messages: tuple[Message, ...]
    texts: Mapping[str, str]
    ranks: Mapping[str, int]
    models: Mapping[str, str] = field(default_factory=dict)

    @property
    def item(self) -> str:
        """Equal for equal conversations with equal answers."""
        asked = [[one.role, one.content] for one in self.messages]
        whole = json.dumps([asked, sorted(self.texts.values())], ensure_ascii=False)
        return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def opinion(
    person: str,
    messages: Sequence[Message],
    answers: Sequence[tuple[str, int]],
    models: Sequence[str] = (),
) -> Opinion | None:
    """From (text, rank) of each answer; None where fewer than two texts differ."""
    texts: dict[str, str] = {}
    ranks: dict[str, int] = {}
    wrote: dict[str, str] = {}
    for at, (text, rank) in enumerate(answers):
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        texts.setdefault(key, text)
        ranks.setdefault(key, rank)
        wrote.setdefault(key, models[at] if at < len(models) else "")
    return Opinion(person, tuple(messages), texts, ranks, wrote) if len(texts) > 1 else None


def pairs_of(opinions: Sequence[Opinion]) -> list[Pair]:
    """All pairs of answers that people ranked, each once, in the order of items; the two of a pair in the order of
    the hashes of their texts, which says nothing about quality."""
    found: dict[str, Pair] = {}
    for one in opinions:
        for a, b in combinations(sorted(one.texts), 2):
            name = f"{one.item}:{a}:{b}"
            found.setdefault(
                name,
                Pair(
                    id=name,
                    messages=one.messages,
                    a=one.texts[a],
                    b=one.texts[b],
                    models=(one.models.get(a, ""), one.models.get(b, "")),
                    cluster=one.item,
                ),
            )
    return [found[name] for name in sorted(found)]


def preferences(opinions: Sequence[Opinion]) -> dict[str, float]:
    """By the id of a pair: how much people prefer a, the mean of 1, 0.5 (a tie) and 0."""
    said: dict[str, list[float]] = {}
    for one in opinions:
        for a, b in combinations(sorted(one.texts), 2):
            x, y = one.ranks[a], one.ranks[b]
            said.setdefault(f"{one.item}:{a}:{b}", []).append(1.0 if x < y else 0.0 if x > y else 0.5)
    return {name: sum(values) / len(values) for name, values in said.items()}


def compare(judge: AnyJudge, opinions: Sequence[Opinion]) -> tuple[dict[str, Any], list[Compared]]:
    """Ask the judge about everything that people ranked: the report, and the verdicts, for the report on its bias."""
    found = both_orders(judge, pairs_of(opinions))
    return report(judge.name, opinions, found), found


def report(name: str, opinions: Sequence[Opinion], found: Sequence[Compared]) -> dict[str, Any]:
    """Of verdicts that are there already."""
    people = Answers(TASK, [_answered(one, one.person) for one in opinions])
    judged = rankings_of(opinions, found)
    consensus = {
        item: value
        for item, who in people.by_item().items()
        if (value := consensus_of(TASK, list(who.values()), {})) is not None
    }
    alone = sorted({one.person for one in opinions})
    return {
        "judge": name,
        "items": len(people.by_item()),
        "people": len(alone),
        "opinions": len(opinions),
        "pairs": len(found),
        "unread_replies": unread(found),
        "overlapping": measures.overlap(people),
        "between_people": measures.of_rankings(people),
        "with_consensus": _against(people, judged, consensus),
        "with_people": [
            {"person": person, **_against(people, judged, _of(people, person))} for person in alone
        ],
    }


def rankings_of(opinions: Sequence[Opinion], found: Sequence[Compared]) -> dict[str, dict[str, Any]]:
    """Item to the judge's ranking: an answer's score is the sum over its pairs, and the higher score stands above. An
    item with a pair that could not be read has none."""
    scores = {one.pair.id: one.score for one in found}
    made: dict[str, dict[str, Any]] = {}
    for one in opinions:
        if one.item in made:
            continue
        sums = dict.fromkeys(sorted(one.texts), 0.0)
        whole = True
        for a, b in combinations(sorted(one.texts), 2):
            score = scores.get(f"{one.item}:{a}:{b}")
            whole &= score is not None
            sums[a] += score or 0.0
            sums[b] += 1.0 - (score or 0.0)
        if whole:
            ranks = {key: 1 + sum(other > mine for other in sums.values()) for key, mine in sums.items()}
            made[one.item] = {"ranks": ranks, "not_rankable": False}
    return made


def _against(people: Answers, ours: measures.Values, theirs: measures.Values) -> dict[str, Any]:
    both = measures.paired(people, ours, theirs)
    return {"items": measures.overlap(both), "measures": measures.of_rankings(both)}


def _of(people: Answers, person: str) -> dict[str, Mapping[str, Any]]:
    return {one.item_id: one.value for one in people.found if one.person == person}


def _answered(one: Opinion, person: str) -> Answered:
    return Answered(
        item_id=one.item,
        person=person,
        value={"ranks": dict(one.ranks), "not_rankable": False},
        lang=None,
        guideline=None,
        kind="work",
        gold=None,
        suggestion=None,
        order=tuple(sorted(one.texts)),
    )
