"""Learning without training: the nearest approved answers stand before a question, as earlier turns or in the system
prompt.

Approved are answers that an expert approved, edited or wrote, and demonstrations of labellers, where they may be used
now: permission is asked at every question, so what is withdrawn is gone from the next answer on. Answers with private
data, and answers whose question needs an earlier turn, are never used. How many, the workspace's setting
`examples` says; none by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, select

from ziggurat.flywheel.dataset.reading import samples_of
from ziggurat.flywheel.nearest import Meanings, by_words, encoder
from ziggurat.product import messages
from ziggurat.product.mask import masked
from ziggurat.product.principal import Principal
from ziggurat.product.workspaces import settings_of
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements

APPROVED = (judgements.c.kind == "decision") | (
    (judgements.c.kind == "demonstration") & (judgements.c.subject_kind == "item")
)
"""Decisions of experts and demonstrations of labellers; a demonstration that a program sends is nobody's approval."""
LOOKED_AT = 2_000
"""The newest approved answers that are looked through."""
LEAST_BY_WORDS, LEAST_BY_MEANING = 0.3, 0.6
"""How near a question must be."""
HEAD = "Answers that experts approved to questions like this one:"

_meanings = Meanings()


class Example(NamedTuple):
    judgement_id: str
    question: str
    answer: str
    score: float


def nearest_examples(store: Store, workspace_id: str, question: str) -> list[Example]:
    """The nearest approved answers, the nearest first, as many as the workspace's setting says."""
    with store.read() as conn:
        count = int(settings_of(conn, workspace_id)["examples"]["count"])
        if not count or not question.strip():
            return []
        rows = conn.execute(_current(workspace_id).order_by(judgements.c.id.desc()).limit(LOOKED_AT)).all()
        known = approved(conn, workspace_id, rows)
    texts = [one.question for one in known]
    if encoder() is None:
        found = by_words(question, texts, count, least=LEAST_BY_WORDS)
    else:
        keys = [one.judgement_id for one in known]
        found = _meanings.nearest(question, keys, texts, count, least=LEAST_BY_MEANING)
    return [known[one.place]._replace(score=round(one.score, 3)) for one in found]


def _current(workspace_id: str) -> Select[Any]:
    """What experts and labellers approved in this workspace, as far as it holds now."""
    return select(judgements).where(
        judgements.c.workspace_id == workspace_id,
        APPROVED,
        judgements.c.superseded_by.is_(None),
        judgements.c.withdrawn_at.is_(None),
    )


def approved(conn: Connection, workspace_id: str, rows: Sequence[Any]) -> list[Example]:
    """Those of the judgements that may stand before a question."""
    found: dict[str, Example] = {}
    for one in samples_of(conn, workspace_id, rows).samples:
        turns = one.record.get("messages", ())
        talk = [turn for turn in turns if turn["role"] != "system"]
        if one.kind != "demonstration" or one.basis != "work" or len(talk) != 2:
            continue
        question, answer = (str(turn.get("content") or "") for turn in talk)
        if question and answer and not masked(f"{question}\n{answer}").found:
            found[one.judgement_id] = Example(one.judgement_id, question, answer, 0.0)
    return list(found.values())


def these(store: Store, workspace_id: str, judgement_ids: Sequence[str]) -> list[Example]:
    """Examples that stood before an answer, in their order, as far as they may still be used."""
    with store.read() as conn:
        rows = conn.execute(_current(workspace_id).where(judgements.c.id.in_(judgement_ids))).all()
        known = {one.judgement_id: one for one in approved(conn, workspace_id, rows)}
    return [known[one] for one in judgement_ids if one in known]


def conversation(
    store: Store, principal: Principal, chat_id: str, message_id: str
) -> tuple[list[dict[str, Any]], list[Example]]:
    """What a model is asked with: the path to a message, with examples before it; and the examples."""
    return put_before(
        store, principal.workspace_id, messages.conversation(store, principal, chat_id, message_id)
    )


def put_before(
    store: Store, workspace_id: str, path: Sequence[Mapping[str, Any]], kept: Sequence[str] | None = None
) -> tuple[list[dict[str, Any]], list[Example]]:
    """The conversation with examples before it, and the examples. `kept`: those of an answer that was written with
    them."""
    talk = [dict(one) for one in path]
    question = next((str(one["content"]) for one in reversed(talk) if one["role"] == "user"), "")
    found = (
        nearest_examples(store, workspace_id, question) if kept is None else these(store, workspace_id, kept)
    )
    if not found:
        return talk, []
    with store.read() as conn:
        form = settings_of(conn, workspace_id)["examples"]["form"]
    return with_examples(talk, found, form), found


def with_examples(talk: list[dict[str, Any]], found: Sequence[Example], form: str) -> list[dict[str, Any]]:
    """The nearest stands last, next to the question."""
    first = 1 if talk and talk[0]["role"] == "system" else 0
    if form == "turns":
        turns = [
            turn
            for one in reversed(found)
            for turn in (
                {"role": "user", "content": one.question},
                {"role": "assistant", "content": one.answer},
            )
        ]
        return [*talk[:first], *turns, *talk[first:]]
    shown = "\n\n".join(f"Question: {one.question}\nAnswer: {one.answer}" for one in reversed(found))
    before = f"{talk[0]['content']}\n\n" if first else ""
    return [{"role": "system", "content": f"{before}{HEAD}\n\n{shown}"}, *talk[first:]]
