"""Rows of conversations as the objects that leave the rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, or_, select

from ziggurat.product.calls import readable
from ziggurat.product.objects import Chat, Generation, Message
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.tables.chats import generation_events, generations, messages
from ziggurat.store.tables.judgements import judgements


def chat_view(row: Any) -> Chat:
    return Chat(
        id=row.id,
        title=row.title,
        model=row.model,
        folder_id=row.folder_id,
        persona_id=row.persona_id,
        system_prompt=row.system_prompt,
        settings=row.settings,
        data_use=row.data_use,
        pinned=row.pinned,
        archived=row.archived,
        deleted_at=iso_or_none(row.deleted_at),
        active_leaf_id=row.active_leaf_id,
        created_at=iso(row.created_at),
        updated_at=iso(row.updated_at),
    )


def generation_view(row: Any) -> Generation:
    return Generation(
        id=row.id,
        chat_id=row.chat_id,
        message_id=row.message_id,
        person_id=row.person_id,
        model=row.model,
        status=row.status,
        seq=row.seq,
        heartbeat_at=iso(row.heartbeat_at),
        started_at=iso(row.started_at),
        ended_at=iso_or_none(row.ended_at),
        error=row.error,
        ttft_ms=row.ttft_ms,
        tokens=row.tokens,
    )


class SoFar(NamedTuple):
    """What the events of a generation add up to."""

    content: str
    reasoning: str | None
    replaced: bool


def add_up(content: str, reasoning: str | None, events: Iterable[dict[str, Any]]) -> SoFar:
    """The text after all events; `content` and `reasoning` are what the message held before them."""
    texts, thoughts, replaced = [content], [reasoning or ""], False
    for event in events:
        if event["type"] == "text":
            texts.append(event["text"])
        elif event["type"] == "reasoning":
            thoughts.append(event["text"])
        elif event["type"] == "replaced":
            texts, replaced = [event["text"]], True
    return SoFar("".join(texts), "".join(thoughts) or None, replaced)


def events_of(conn: Connection, generation_id: str, after: int = 0) -> list[tuple[int, dict[str, Any]]]:
    found = conn.execute(
        select(generation_events.c.seq, generation_events.c.event)
        .where(generation_events.c.generation_id == generation_id, generation_events.c.seq > after)
        .order_by(generation_events.c.seq)
    )
    return [(row.seq, row.event) for row in found]


def message_views(conn: Connection, person_id: str, rows: Sequence[Any]) -> list[Message]:
    """Messages of one chat with their siblings, the person's thumbs, and the text so far of running ones."""
    if not rows:
        return []
    siblings, thumbs = _siblings(conn, rows), _thumbs(conn, person_id, rows)
    so_far = _running(conn, rows)
    return [
        _message_view(row, siblings[row.parent_id], thumbs.get(row.id), so_far.get(row.id)) for row in rows
    ]


def _message_view(
    row: Any, siblings: list[str], thumb: dict[str, Any] | None, so_far: SoFar | None
) -> Message:
    return Message(
        id=row.id,
        chat_id=row.chat_id,
        parent_id=row.parent_id,
        role=row.role,
        content=so_far.content if so_far else row.content,
        reasoning=so_far.reasoning if so_far else row.reasoning,
        tool_calls=readable(row.tool_calls) or None,
        model=None if row.hidden_model else row.model,
        state=row.state,
        finish_reason=row.finish_reason,
        usage=row.usage,
        settings=row.settings,
        seed=row.seed,
        siblings=siblings,
        position=row.position,
        judgement=thumb,
        guard=row.guard,
        lang=row.lang,
        edited=row.edited,
        ai_generated=row.role == "assistant",
        pair_id=row.pair_id,
        created_at=iso(row.created_at),
    )


def _siblings(conn: Connection, rows: Sequence[Any]) -> dict[str | None, list[str]]:
    chat_id, parents = rows[0].chat_id, {row.parent_id for row in rows}
    below = messages.c.parent_id.in_([parent for parent in parents if parent is not None])
    condition = or_(below, messages.c.parent_id.is_(None)) if None in parents else below
    found = conn.execute(
        select(messages.c.id, messages.c.parent_id)
        .where(messages.c.chat_id == chat_id, condition)
        .order_by(messages.c.id)
    )
    siblings: dict[str | None, list[str]] = defaultdict(list)
    for row in found:
        siblings[row.parent_id].append(row.id)
    return siblings


def _thumbs(conn: Connection, person_id: str, rows: Sequence[Any]) -> dict[str, dict[str, Any]]:
    answers = [row.id for row in rows if row.role == "assistant"]
    if not answers:
        return {}
    found = conn.execute(
        select(judgements.c.message_id, judgements.c.value).where(
            and_(
                judgements.c.message_id.in_(answers),
                judgements.c.person_id == person_id,
                judgements.c.kind == "thumb",
                judgements.c.superseded_by.is_(None),
                judgements.c.withdrawn_at.is_(None),
            )
        )
    )
    return {row.message_id: row.value for row in found}


def _running(conn: Connection, rows: Sequence[Any]) -> dict[str, SoFar]:
    by_id = {row.id: row for row in rows if row.state == "running"}
    if not by_id:
        return {}
    going = conn.execute(
        select(generations.c.id, generations.c.message_id).where(
            generations.c.message_id.in_(by_id), generations.c.status == "running"
        )
    ).all()
    return {
        generation.message_id: add_up(
            by_id[generation.message_id].content,
            by_id[generation.message_id].reasoning,
            (event for _, event in events_of(conn, generation.id)),
        )
        for generation in going
    }
