"""From the current judgements to training records: which kind of judgement becomes which record (PRODUCT 4.4).

    thumb                   rating, weak; with a rewrite of the same person: nothing, since the pair is used
    rewrite                 comparison (text better than the answer) and demonstration
    pick, vote, pairwise    comparison of two; both bad: two ratings, weak
    ranking                 comparison of K; not rankable: a rating for each, false
    decision: approve       demonstration and rating, true
              edit, answer  comparison (the expert's text better than the draft) and demonstration
              reject        rating, false
    demonstration           demonstration; of an answer of the API also a comparison
    metric                  of a boolean one: rating, weak, by the direction that its metric declares
    prompt                  prompt

Superseded and withdrawn judgements are not read. Which of the others may be used at all: `permission.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, select

from ziggurat.flywheel.permission import Permission
from ziggurat.flywheel.samples import LeftOut, Sample, Taken
from ziggurat.flywheel.subjects import Facts
from ziggurat.records import Comparison, Demonstration, Prompt, Rating, Record
from ziggurat.store.tables.base import metadata
from ziggurat.store.tables.judgements import judgements

WEAK_WEIGHT = 0.5
"""Of a thumb, of both bad, of a program's metric."""
STRENGTH_WEIGHT = {1: 0.5, 2: 0.75, 3: 1.0}
"""Of a pairwise judgement by how much better: a little, better, much."""
KINDS: dict[str, type[Record]] = {
    "demonstration": Demonstration,
    "comparison": Comparison,
    "rating": Rating,
    "prompt": Prompt,
}

Made = tuple[str, dict[str, Any], dict[str, Any]]
"""Kind, record, further fields of the sample."""


class Unused(Exception):
    """This judgement makes no record; the argument is a name of REASONS."""


def current(conn: Connection, workspace_id: str, *, after: int = 0) -> list[Any]:
    """The judgements that hold now, oldest first."""
    wanted = select(judgements).where(
        judgements.c.workspace_id == workspace_id,
        judgements.c.superseded_by.is_(None),
        judgements.c.withdrawn_at.is_(None),
        judgements.c.created_at > after,
    )
    return list(conn.execute(wanted.order_by(judgements.c.created_at, judgements.c.id)))


def read(conn: Connection, workspace_id: str) -> Taken:
    """All training records that people's judgements give and may give, and what was left out."""
    rows = current(conn, workspace_id)
    return samples_of(conn, workspace_id, rows)


def samples_of(conn: Connection, workspace_id: str, rows: Sequence[Any]) -> Taken:
    """The records of these judgements."""
    permission = Permission.of(conn, rows)
    maker = Maker(permission.facts, _rewritten(rows), directions_of(conn, workspace_id))
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
        self, facts: Mapping[str, Facts], rewritten: set[tuple[str, str]], directions: Mapping[str, str]
    ) -> None:
        self.facts, self.rewritten, self.directions = facts, rewritten, directions
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
            models = sorted({one["model"] for one in row.completions if one.get("model")})
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

    def _thumb(self, row: Any) -> Iterator[Made]:
        liked = row.value["value"] == 1
        if not liked and (row.person_id, row.message_id) in self.rewritten:
            raise Unused("in_a_rewrite")
        yield _rating(row, row.completions[0], liked, weak=True)

    def _rewrite(self, row: Any) -> Iterator[Made]:
        wanted = row.value.get("of")
        answer = next((one for one in row.completions if wanted in (None, id_of(one))), None)
        yield from _better_text(row, row.value["text"], answer)

    def _pick(self, row: Any) -> Iterator[Made]:
        yield from _of_two(row, row.value["winner"])

    def _vote(self, row: Any) -> Iterator[Made]:
        if row.value.get("leaked"):
            raise Unused("leaked")
        names = dict(zip(("a", "b"), (id_of(one) for one in row.completions), strict=False))
        yield from _of_two(row, names.get(row.value["winner"], row.value["winner"]))

    def _pairwise(self, row: Any) -> Iterator[Made]:
        strength, verdict = int(row.value.get("strength") or 0), row.value.get("verdict")
        winner = verdict or "tie"
        if verdict is None and strength:
            winner = id_of(row.completions[0 if strength < 0 else 1])
        yield from _of_two(row, winner, weight=STRENGTH_WEIGHT.get(abs(strength), 1.0))

    def _ranking(self, row: Any) -> Iterator[Made]:
        if row.value.get("not_rankable"):
            yield from (_rating(row, one, False, weak=True) for one in row.completions)
            return
        given = [row.value["ranks"].get(id_of(one)) for one in row.completions]
        if any(rank is None for rank in given):
            raise Unused("unusable")
        yield _comparison(row, row.completions, [1 + sum(other < rank for other in given) for rank in given])

    def _decision(self, row: Any) -> Iterator[Made]:
        decision, text = row.value["decision"], row.value.get("text")
        more = {"source": decision} | ({"topic": row.value["topic"]} if row.value.get("topic") else {})
        judged = row.completions[0] if row.completions else None  # the text that the expert looked at
        draft = row.completions[-1] if row.completions else None  # the model's
        if decision == "approve" and judged is not None:
            if not text or text == content_of(judged):
                check_finished(judged)
                yield _rating(row, judged, True, **more)
            turn = answer_of(judged) if not text else [{"role": "assistant", "content": text}]
            yield "demonstration", {"messages": [*row.prompt, *turn]}, more
        elif decision in ("edit", "answer") and text:
            yield from _better_text(row, text, draft, more)
        elif decision == "reject" and judged is not None:
            yield _rating(row, judged, False, **more)
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
                yield _record_of_two(row, answers[1], answers[0])

    def _metric(self, row: Any) -> Iterator[Made]:
        value = row.value["value"]
        if not isinstance(value, bool) or not row.completions:
            raise Unused("no_training_use")
        good = value if self.directions.get(row.value["metric"], "max") == "max" else not value
        yield _rating(row, row.completions[0], good, weak=True)

    def _prompt(self, row: Any) -> Iterator[Made]:
        yield "prompt", {"prompt": [*row.prompt, {"role": "user", "content": row.value["text"]}]}, {}


# --- records ---------------------------------------------------------------------------------------------------------


def _rating(row: Any, completion: Mapping[str, Any], label: bool, *, weak: bool = False, **more: Any) -> Made:
    if label:
        check_finished(completion)
    if not content_of(completion) and not completion.get("tool_calls"):
        raise Unused("unfinished")
    record = {"prompt": row.prompt, "completion": as_completion(completion), "label": label}
    weight = WEAK_WEIGHT if weak else 1.0
    return "rating", record, {"weak": weak, "weight": weight, "ids": (id_of(completion),), **more}


def _better_text(
    row: Any,
    text: str,
    answer: Mapping[str, Any] | None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Made]:
    """A person's text, better than the answer where there is one."""
    messages = [*row.prompt, {"role": "assistant", "content": text}]
    yield "demonstration", {"messages": messages}, dict(more)
    if answer is not None and content_of(answer).strip() not in ("", text.strip()):
        kind, record, others = _record_of_two(row, text, as_completion(answer))
        yield kind, record, {**others, **more}


def _record_of_two(row: Any, better: Any, worse: Any) -> Made:
    record = {"id": row.id, "prompt": row.prompt, "completions": [better, worse], "ranks": [1, 2]}
    return "comparison", record, {"ids": (f"{row.id}:text", f"{row.id}:answer")}


def _of_two(row: Any, winner: str, *, weight: float = 1.0) -> Iterator[Made]:
    """A comparison of two completions, or two ratings where both are bad."""
    if len(row.completions) != 2:
        raise Unused("unusable")
    ids = [id_of(one) for one in row.completions]
    if winner == "both_bad":
        yield from (_rating(row, one, False, weak=True) for one in row.completions)
    elif winner in ids:
        ranks = [1 if one == winner else 2 for one in ids]
        yield _comparison(row, row.completions, ranks, weight=weight)
    else:
        raise Unused("tie")


def _comparison(
    row: Any, completions: Sequence[Mapping[str, Any]], ranks: list[int], *, weight: float = 1.0
) -> Made:
    if len(set(ranks)) == 1:
        raise Unused("tie")
    if any(one.get("state") == "failed" for one in completions):
        raise Unused("unfinished")
    models = {one.get("model") for one in completions}
    policy = models.pop() if len(models) == 1 else None
    sampling = (row.sampling or {}).get(id_of(completions[0]))
    record = {
        "id": row.id,
        "prompt": row.prompt,
        "completions": [as_completion(one) for one in completions],
        "ranks": ranks,
        **({"policy": policy} if policy else {}),
        **({"sampling": sampling} if sampling else {}),
    }
    ids = tuple(id_of(one) for one in completions)
    return "comparison", record, {"weight": weight, "ids": ids, "shown": tuple(row.shown)}


# --- completions ------------------------------------------------------------------------------------------------------


def id_of(completion: Mapping[str, Any]) -> str:
    return str(completion.get("id") or completion.get("message_id") or "")


def content_of(completion: Mapping[str, Any]) -> str:
    return str(completion.get("content") or "")


def check_finished(completion: Mapping[str, Any]) -> None:
    """An answer that is to be imitated came to its end."""
    if completion.get("state", "complete") not in ("complete", "held", "delivered") or (
        completion.get("finish_reason") in ("length", "content_filter", "error")
    ):
        raise Unused("unfinished")


def answer_of(completion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The completion as a turn."""
    reasoning, calls = completion.get("reasoning"), completion.get("tool_calls")
    turn: dict[str, Any] = {"role": "assistant", "content": content_of(completion)}
    return [
        turn
        | ({"reasoning_content": reasoning} if reasoning else {})
        | ({"tool_calls": calls} if calls else {})
    ]


def as_completion(completion: Mapping[str, Any]) -> str | list[dict[str, Any]]:
    """As a record holds it: a text, or a turn where there is more than a text."""
    (turn,) = answer_of(completion)
    return turn["content"] if len(turn) == 2 else [turn]


def language_of(record: Mapping[str, Any]) -> str:
    """zh where the last message of a person holds Chinese characters, else en."""
    turns = record.get("prompt") or record.get("messages") or []
    text = next((one["content"] for one in reversed(turns) if one["role"] == "user"), "")
    return "zh" if any("\u4e00" <= c <= "\u9fff" for c in text) else "en"
