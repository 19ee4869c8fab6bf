"""Who agrees with whom in a project: overall, by label, pair of people, guideline version and language; each person
against gold and against the others' consensus; a judge model against people, by the same measures.

Computed when it is asked for, from the answers that count at that moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.evaluation.agreement import ENOUGH
from ziggurat.evaluation.consensus import majority, median, ranked_pairs
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import items
from ziggurat.store.tables.people import people
from ziggurat.workbench.labelling import measures
from ziggurat.workbench.labelling.answered import (
    WRITTEN,
    Answers,
    asked,
    cant_tell,
    label_of,
    labels,
    ranking_of,
    read,
)
from ziggurat.workbench.labelling.rows import project_row, version_row

MAX_PAIRS = 100
"""Pairs of people that are reported, those with most shared items first."""


def agreement(store: Store, principal: Principal, project_id: str) -> dict[str, Any]:
    """The report on a project, for a lead. docs/agreement.md describes it."""
    with store.read() as conn:
        project = project_row(conn, principal, project_id)
        questions = version_row(conn, project.id, project.version).questions
        found = read(conn, project)
        names = _names(conn, found)
        counts = _statuses(conn, project_id)
    work = found.only(kind="work")
    scales = dict(asked(questions["labels"])) if project.task == "labels" else {}
    report = Report(work, scales, names)
    gold = {one.item_id: one.gold for one in found.found if one.kind == "gold" and one.gold}
    return {
        "task": project.task,
        "enough": ENOUGH,
        "items": counts,
        "answers": len(work.found),
        "people": len(work.people()),
        "overlapping": measures.overlap(work),
        "overall": report.overall(work),
        "labels": report.labels(),
        "pairs": report.pairs(),
        "guidelines": report.by("guideline"),
        "langs": report.by("lang"),
        "gold": report.against(dict.fromkeys(found.people(), gold), found),
        "consensus": [] if project.task in WRITTEN else report.against(report.consensus(), work),
        "judges": _judges(report, work),
    }


def _names(conn: Connection, found: Answers) -> dict[str, str]:
    wanted = select(people.c.id, people.c.name).where(people.c.id.in_(found.people()))
    return {row.id: row.name for row in conn.execute(wanted)}


def _statuses(conn: Connection, project_id: str) -> dict[str, int]:
    wanted = select(items.c.status).where(items.c.project_id == project_id, items.c.kind == "work")
    return dict(sorted(Counter(conn.execute(wanted).scalars()).items()))


def _judges(report: Report, work: Answers) -> list[dict[str, Any]]:
    """Each model that made suggestions against the people's consensus (person null), and against each person."""
    agents: dict[str, dict[str, Any]] = {}
    for one in work.found:
        if one.suggestion and "value" in one.suggestion:
            agent = str(one.suggestion.get("agent") or "model")
            agents.setdefault(agent, {})[one.item_id] = one.suggestion["value"]
    consensus = report.consensus_of_all()
    made = []
    for agent, values in sorted(agents.items()):
        made.append({"agent": agent, "person": None, **report.two(measures.paired(work, values, consensus))})
        made += [
            {"agent": agent, **one} for one in report.against(dict.fromkeys(work.people(), values), work)
        ]
    return made


class Report:
    """Parts of the report that share the answers, the scales of the labels and the names of people."""

    def __init__(self, work: Answers, scales: Mapping[str, str], names: Mapping[str, str]) -> None:
        self.work, self.scales, self.names = work, scales, names

    def overall(self, found: Answers) -> list[measures.Measure]:
        """The overall measures of a task; a labels project has them by label."""
        of = measures.BY_TASK.get(self.work.task)
        return of(found) if of else []

    def labels(self) -> list[dict[str, Any]]:
        return [
            {
                "key": key,
                "scale": scale,
                "prevalence": measures.shares(self.work, key),
                "cant_tell": round(cant_tell(self.work, key), 4),
                "measures": measures.of_label(self.work, key, scale),
            }
            for key, scale in self.scales.items()
        ]

    def two(self, found: Answers) -> dict[str, Any]:
        """The measures of two (people, or a person and a reference), and by label."""
        by_label = []
        for key, scale in self.scales.items():
            pairs = [tuple(one.values()) for one in labels(found, key) if len(one) == 2]
            by_label.append({"key": key, "scale": scale, "measures": measures.of_two(pairs, scale)})
        made = {"items": measures.overlap(found), "measures": self.overall(found)}
        return made | ({"labels": by_label} if self.scales else {})

    def pairs(self) -> list[dict[str, Any]]:
        """Pairs of people who share items, those with most first."""
        shared: Counter[tuple[str, str]] = Counter()
        by_item = self.work.by_item()
        for who in by_item.values():
            shared.update(combinations(sorted(who), 2))
        made = []
        for (one, other), _ in sorted(shared.items(), key=lambda x: (-x[1], x[0]))[:MAX_PAIRS]:
            both = [p for p in by_item.values() if one in p and other in p]
            found = Answers(self.work.task, [p[who] for p in both for who in (one, other)])
            made.append({"people": [self._person(one), self._person(other)], **self.two(found)})
        return made

    def by(self, name: str) -> list[dict[str, Any]]:
        """By guideline version or language; of one group alone there is nothing to compare, and it is shown too."""
        groups = sorted({getattr(one, name) for one in self.work.found}, key=lambda v: (v is None, str(v)))
        made = []
        for group in groups:
            found = self.work.only(**{name: group})
            part = Report(found, self.scales, self.names)
            made.append({name: group, "items": measures.overlap(found), "measures": self.overall(found)})
            if self.scales:
                made[-1]["labels"] = part.labels()
        return made

    def against(self, references: Mapping[str, measures.Values], found: Answers) -> list[dict[str, Any]]:
        """Each person against a reference value of each item (gold, the consensus of the others, a judge's)."""
        made = []
        for who in found.people():
            mine = {one.item_id: one.value for one in found.found if one.person == who}
            both = measures.paired(found, mine, references.get(who, {}))
            if both.found:
                made.append({"person": self._person(who), **self.two(both)})
        return made

    def consensus(self) -> dict[str, dict[str, Any]]:
        """Person to item to the consensus of all others, so that nobody is compared with oneself."""
        made: dict[str, dict[str, Any]] = {}
        for item_id, who in self.work.by_item().items():
            for person in who:
                others = [one for name, one in who.items() if name != person]
                if others and (value := consensus_of(self.work.task, others, self.scales)) is not None:
                    made.setdefault(person, {})[item_id] = value
        return made

    def consensus_of_all(self) -> dict[str, dict[str, Any]]:
        """Item to the consensus of everybody who answered it."""
        made = {
            item_id: consensus_of(self.work.task, list(who.values()), self.scales)
            for item_id, who in self.work.by_item().items()
        }
        return {item_id: value for item_id, value in made.items() if value is not None}

    def _person(self, person_id: str) -> dict[str, str]:
        return {"id": person_id, "name": self.names.get(person_id, "")}


def consensus_of(task: str, found: Sequence[Any], scales: Mapping[str, str]) -> dict[str, Any] | None:
    """One value out of several answers to an item, in the form of an answer; None where there is none."""
    if task in ("ranking", "pairwise"):
        ranked = [r for one in found if (r := ranking_of(task, one.value, one.order)) is not None]
        made = ranked_pairs(ranked)
        if made is None:
            return None
        if task == "ranking":
            return {"ranks": made.ranks, "not_rankable": False}
        first, second = (made.ranks[one] for one in found[0].order)
        strength = median([int(one.value.get("strength") or 0) for one in found]) or 0
        size = max(1, round(abs(strength))) * (-1 if first < second else 1)
        return {"strength": 0 if first == second else size, "verdict": "tie" if first == second else None}
    if task != "labels":
        return None
    values: dict[str, Any] = {}
    for key, scale in scales.items():
        given = [v for one in found if (v := label_of(one.value, key)) is not None]
        if scale == "likert":
            middle = median(given)
            value: Any = None if middle is None else int(middle + 0.5)
        else:
            value = chosen.value if (chosen := majority(given)) else None
        if value is not None:
            values[key] = value
    return {"labels": values} if values else None


def votes_of(task: str, found: Sequence[Any], scales: Mapping[str, str]) -> dict[str, Any]:
    """The votes behind the consensus: who stands above whom how often, or the counts of each label's values."""
    if task in ("ranking", "pairwise"):
        made = ranked_pairs([r for one in found if (r := ranking_of(task, one.value, one.order)) is not None])
        return (
            {}
            if made is None
            else {str(a): {str(b): n for b, n in to.items()} for a, to in made.votes.items()}
        )
    counts: dict[str, Any] = {}
    for key in scales:
        given = [v for one in found if (v := label_of(one.value, key)) is not None]
        if chosen := majority(given):
            counts[key] = {str(v).lower(): n for v, n in chosen.votes.items()}
    return counts
