"""From the current judgements to training records: which kind of judgement becomes which record (PRODUCT 4.4).

    thumb                   rating, weak; with a rewrite of the same person: nothing, since the pair is used
    rewrite                 comparison (text better than the answer) and demonstration
    pick, vote, pairwise    comparison of two; both bad: two ratings, weak
    ranking                 comparison of K; not rankable: a rating for each, false
    decision: approve       demonstration and rating, true
              edit, answer  comparison (the expert's text better than the draft) and demonstration
              reject        rating, false
    demonstration           demonstration; of an answer of the API also a comparison
    metric                  of a boolean one: rating, weak, by the direction that its metric declares; with a bar of
                            the build, of a number too, and what reaches the bar is a demonstration, weak
    prompt                  prompt

Superseded and withdrawn judgements are not read. Which of the others may be used at all: `permission.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, select

from ziggurat.flywheel.dataset.making import (
    WEAK_WEIGHT,
    Made,
    Unused,
    answer_of,
    as_completion,
    better_text,
    check_finished,
    comparison,
    content_of,
    id_of,
    language_of,
    of_two,
    rating,
    record_of_two,
)
from ziggurat.flywheel.dataset.permission import Permission
from ziggurat.flywheel.dataset.samples import LeftOut, Sample, Taken
from ziggurat.flywheel.dataset.subjects import Facts
from ziggurat.records import Comparison, Demonstration, Prompt, Rating, Record
from ziggurat.store.tables.base import metadata
from ziggurat.store.tables.judgements import judgements

STRENGTH_WEIGHT = {1: 0.5, 2: 0.75, 3: 1.0}
"""Of a pairwise judgement by how much better: a little, better, much."""
KINDS: dict[str, type[Record]] = {
    "demonstration": Demonstration,
    "comparison": Comparison,
    "rating": Rating,
    "prompt": Prompt,
}


def current(conn: Connection, workspace_id: str, *, after: int = 0) -> list[Any]:
    """The judgements that hold now, oldest first."""
    wanted = select(judgements).where(
        judgements.c.workspace_id == workspace_id,
        judgements.c.superseded_by.is_(None),
        judgements.c.withdrawn_at.is_(None),
        judgements.c.created_at > after,
    )
    return list(conn.execute(wanted.order_by(judgements.c.created_at, judgements.c.id)))


def read(conn: Connection, workspace_id: str, bars: Mapping[str, float] = MappingProxyType({})) -> Taken:
    """All training records that people's judgements give and may give, and what was left out."""
    rows = current(conn, workspace_id)
    return samples_of(conn, workspace_id, rows, bars)


def samples_of(
    conn: Connection,
    workspace_id: str,
    rows: Sequence[Any],
    bars: Mapping[str, float] = MappingProxyType({}),
) -> Taken:
    """The records of these judgements. `bars`: of programs' metrics, by name."""
    permission = Permission.of(conn, rows)
    maker = Maker(permission.facts, _rewritten(rows), directions_of(conn, workspace_id), bars)
    taken = Taken()
    for row in rows:
        reason = permission.reason_against(row)
        if reason is None:
            try:
                taken.samples += maker.samples(row)
            except Unused as unused:
                reason = str(unused)
        if reason is not None:
            taken.left_out.append(LeftOut(row.id, reason, row.kind, row.person_id))
    return taken


def _rewritten(rows: Sequence[Any]) -> set[tuple[str, str]]:
    """(person, message) of better answers."""
    return {(row.person_id, row.message_id) for row in rows if row.kind == "rewrite" and row.message_id}


def directions_of(conn: Connection, workspace_id: str) -> dict[str, str]:
    """Metric -> max or min, as it was declared."""
    table = metadata.tables.get("feedback_metric")
    if table is None:
        return {}
    wanted = select(table.c.name, table.c.optimize).where(table.c.workspace_id == workspace_id)
    return {row.name: row.optimize for row in conn.execute(wanted)}


class Maker:
    """Makes samples of a judgement."""

    def __init__(
        self,
        facts: Mapping[str, Facts],
        rewritten: set[tuple[str, str]],
        directions: Mapping[str, str],
        bars: Mapping[str, float],
    ) -> None:
        self.facts, self.rewritten, self.directions, self.bars = facts, rewritten, directions, bars
        self.by_kind: dict[str, Callable[[Any], Iterator[Made]]] = {
            "thumb": self._thumb,
            "rewrite": self._rewrite,
            "pick": self._pick,
            "ranking": self._ranking,
            "pairwise": self._pairwise,
            "vote": self._vote,
            "decision": self._decision,
            "demonstration": self._demonstration,
            "metric": self._metric,
            "prompt": self._prompt,
        }

    def samples(self, row: Any) -> list[Sample]:
        """The samples of a judgement.

        Raises:
            Unused: it makes none.
        """
        if row.kind not in self.by_kind:
            raise Unused("no_training_use")
        facts = self.facts.get(row.subject_id, Facts())
        found = []
        for kind, record, more in self.by_kind[row.kind](row):
            try:
                KINDS[kind].model_validate(record)
            except ValidationError:
                raise Unused("unusable") from None
            models = sorted({name for one in row.completions if (name := self._wrote(row, one))})
            said = next((one["lang"] for one in row.completions if one.get("lang")), None)
            values = {
                "source": row.kind,
                "model": ", ".join(models) or facts.model,
                "lang": said or facts.lang or language_of(record),
                "topic": facts.topic,
            } | more
            found.append(
                Sample(
                    kind=kind,  # type: ignore[arg-type]
                    record=record,
                    judgement_id=row.id,
                    person_id=row.person_id,
                    judged_at=row.created_at,
                    basis=row.basis or "consent",
                    consent_id=row.consent_id,
                    chat_id=row.chat_id or facts.chat_id,
                    seconds=row.seconds,
                    **values,
                )
            )
        return found

    @staticmethod
    def _wrote(row: Any, completion: Mapping[str, Any]) -> str | None:
        """The release that wrote a completion, else the model's name: a channel's says nothing about who wrote."""
        known = (row.hashes or {}).get(id_of(completion)) or {}
        return known.get("release") or completion.get("model")

    def _thumb(self, row: Any) -> Iterator[Made]:
        liked = row.value["value"] == 1
        if not liked and (row.person_id, row.message_id) in self.rewritten:
            raise Unused("in_a_rewrite")
        yield rating(row, row.completions[0], liked, weak=True)

    def _rewrite(self, row: Any) -> Iterator[Made]:
        wanted = row.value.get("of")
        answer = next((one for one in row.completions if wanted in (None, id_of(one))), None)
        yield from better_text(row, row.value["text"], answer)

    def _pick(self, row: Any) -> Iterator[Made]:
        yield from of_two(row, row.value["winner"])

    def _vote(self, row: Any) -> Iterator[Made]:
        if row.value.get("leaked"):
            raise Unused("leaked")
        names = dict(zip(("a", "b"), (id_of(one) for one in row.completions), strict=False))
        yield from of_two(row, names.get(row.value["winner"], row.value["winner"]))

    def _pairwise(self, row: Any) -> Iterator[Made]:
        strength, verdict = int(row.value.get("strength") or 0), row.value.get("verdict")
        winner = verdict or "tie"
        if verdict is None and strength:
            winner = id_of(row.completions[0 if strength < 0 else 1])
        yield from of_two(row, winner, weight=STRENGTH_WEIGHT.get(abs(strength), 1.0))

    def _ranking(self, row: Any) -> Iterator[Made]:
        if row.value.get("not_rankable"):
            yield from (rating(row, one, False, weak=True) for one in row.completions)
            return
        given = [row.value["ranks"].get(id_of(one)) for one in row.completions]
        if any(rank is None for rank in given):
            raise Unused("unusable")
        yield comparison(row, row.completions, [1 + sum(other < rank for other in given) for rank in given])

    def _decision(self, row: Any) -> Iterator[Made]:
        decision, text = row.value["decision"], row.value.get("text")
        more = {"source": decision} | ({"topic": row.value["topic"]} if row.value.get("topic") else {})
        judged = row.completions[0] if row.completions else None  # the text that the expert looked at
        draft = row.completions[-1] if row.completions else None  # the model's
        if decision == "approve" and judged is not None:
            if not text or text == content_of(judged):
                check_finished(judged)
                yield rating(row, judged, True, **more)
            turn = answer_of(judged) if not text else [{"role": "assistant", "content": text}]
            yield "demonstration", {"messages": [*row.prompt, *turn]}, more
        elif decision in ("edit", "answer") and text:
            yield from better_text(row, text, draft, more)
        elif decision == "reject" and judged is not None:
            yield rating(row, judged, False, **more)
        else:
            raise Unused("no_training_use")

    def _demonstration(self, row: Any) -> Iterator[Made]:
        turns = row.value["messages"]
        whole = bool(turns) and turns[0].get("role") in ("system", "user")
        messages = list(turns) if whole else [*row.prompt, *turns]
        yield "demonstration", {"messages": [dict(one) for one in messages]}, {}
        judged = row.completions[0] if row.subject_kind == "inference" and row.completions else None
        if judged is not None and not whole and content_of(judged):
            answers = [as_completion(judged), turns if len(turns) > 1 else turns[0].get("content", "")]
            if answers[0] != answers[1]:
                yield record_of_two(row, answers[1], answers[0])

    def _metric(self, row: Any) -> Iterator[Made]:
        value, bar = row.value["value"], self.bars.get(row.value["metric"])
        if (bar is None and not isinstance(value, bool)) or not row.completions:
            raise Unused("no_training_use")
        up = self.directions.get(row.value["metric"], "max") == "max"
        least = bar if bar is not None else 1.0 if up else 0.0
        good = value >= least if up else value <= least
        yield rating(row, row.completions[0], good, weak=True)
        if bar is not None and good:
            answer = {"messages": [*row.prompt, *answer_of(row.completions[0])]}
            yield "demonstration", answer, {"weak": True, "weight": WEAK_WEIGHT}

    def _prompt(self, row: Any) -> Iterator[Made]:
        yield "prompt", {"prompt": [*row.prompt, {"role": "user", "content": row.value["text"]}]}, {}
