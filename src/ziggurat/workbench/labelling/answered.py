"""The answers of a project as the measures of agreement read them, and how a value of each task is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import answers, guideline_versions, items
from ziggurat.workbench.labelling.values import CANT_TELL

WRITTEN = ("demonstration", "prompt", "rewrite")
TIE = 0


@dataclass(frozen=True)
class Answered:
    """One answer that counts."""

    item_id: str
    person: str
    value: Mapping[str, Any]
    lang: str | None
    guideline: int | None
    kind: str
    gold: Mapping[str, Any] | None
    suggestion: Mapping[str, Any] | None
    order: tuple[str, ...]
    """Ids of the completions, as the item has them."""


@dataclass
class Answers:
    """The answers of a project, by item."""

    task: str
    found: list[Answered]
    _by_item: dict[str, dict[str, Answered]] | None = field(default=None, repr=False)

    def by_item(self) -> dict[str, dict[str, Answered]]:
        """Item to person to answer."""
        if self._by_item is None:
            self._by_item = {}
            for one in self.found:
                self._by_item.setdefault(one.item_id, {})[one.person] = one
        return self._by_item

    def people(self) -> list[str]:
        return sorted({one.person for one in self.found})

    def only(self, **wanted: Any) -> Answers:
        kept = [one for one in self.found if all(getattr(one, name) == v for name, v in wanted.items())]
        return Answers(self.task, kept)

    def of(self, people: Sequence[str]) -> Answers:
        return Answers(self.task, [one for one in self.found if one.person in people])


def read(conn: Connection, project: Any) -> Answers:
    """The submitted answers to work and gold items of a project, in the order of items and people."""
    wanted = (
        select(
            answers.c.item_id,
            answers.c.person_id,
            judgements.c.value,
            items.c.lang,
            items.c.kind,
            items.c.gold,
            items.c.suggestion,
            items.c.payload,
            guideline_versions.c.n,
        )
        .join(judgements, judgements.c.id == answers.c.judgement_id)
        .join(items, items.c.id == answers.c.item_id)
        .outerjoin(guideline_versions, guideline_versions.c.id == answers.c.guideline_id)
        .where(
            answers.c.project_id == project.id,
            answers.c.status == "submitted",
            items.c.kind.in_(("work", "gold")),
        )
        .order_by(answers.c.item_id, answers.c.person_id)
    )
    found = [
        Answered(
            row.item_id,
            row.person_id,
            row.value,
            row.lang,
            row.n,
            row.kind,
            row.gold,
            row.suggestion,
            tuple(str(one["id"]) for one in row.payload.get("completions", ())),
        )
        for row in conn.execute(wanted)
    ]
    return Answers(project.task, found)


# --- values as the measures take them ---------------------------------------------------------------------------------


def ranking_of(task: str, value: Mapping[str, Any], order: Sequence[str]) -> dict[str, int] | None:
    """Completion to rank, of a ranking or a pairwise answer; None: the person found nothing to rank."""
    if task == "ranking":
        ranks = value.get("ranks") or {}
        return {str(one): int(rank) for one, rank in ranks.items()} or None
    strength = int(value.get("strength") or 0)
    if len(order) != 2:
        return None
    first, second = (1, 2) if strength < 0 else (2, 1) if strength > 0 else (1, 1)
    return {order[0]: first, order[1]: second}


def label_of(value: Mapping[str, Any], key: str) -> Any:
    """The value of one label; "can't tell" and no answer are both missing here, and are counted apart."""
    found = value.get("labels", {}).get(key)
    return None if found == CANT_TELL else found


def cant_tell(found: Answers, key: str) -> float:
    """The share of the answers to a label that are "can't tell"."""
    given = [one.value.get("labels", {}).get(key) for one in found.found]
    given = [one for one in given if one is not None]
    return sum(one == CANT_TELL for one in given) / len(given) if given else 0.0


def text_of(task: str, value: Mapping[str, Any]) -> str:
    if task == "demonstration":
        return "\n\n".join(str(one["content"]) for one in value.get("messages", ()))
    return str(value.get("text", ""))


def rankings(found: Answers) -> list[dict[str, dict[str, int]]]:
    """For each item person to ranking."""
    made = []
    for people in found.by_item().values():
        ranked = {
            who: ranks
            for who, one in people.items()
            if (ranks := ranking_of(found.task, one.value, one.order)) is not None
        }
        made.append(ranked)
    return made


def labels(found: Answers, key: str) -> list[dict[str, Any]]:
    """For each item person to the value of one label."""
    return [
        {who: v for who, one in people.items() if (v := label_of(one.value, key)) is not None}
        for people in found.by_item().values()
    ]


def asked(questions: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(key, scale) of each label."""
    for label in questions:
        yield str(label["key"]), str(label["scale"])
