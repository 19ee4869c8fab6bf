"""The life of an answer that is being written.

    running ──> complete | held | failed | stopped | interrupted

It belongs to the server, not to a page: its events are kept with a growing `seq`, so that a page that comes back
(`Last-Event-ID`) goes on where it was. The runner calls `append` (each 200 ms), `heartbeat`, then `finish` or `fail`;
the person calls `stop`. When both come together, the first one counts. A running one without a heartbeat belongs to a
process that has died: `reap` ends it, with the text that there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ziggurat.product.chats import index_message, own_chat
from ziggurat.product.common import clean, clean_json, record, row_of, whole
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.held import insert_held
from ziggurat.product.messages import one_view
from ziggurat.product.objects import Generation, Message
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.product.views import SoFar, add_up, events_of, generation_view
from ziggurat.store.clock import SECOND
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, generation_events, generations, messages

EVENT_TYPES = ("text", "reasoning", "held", "replaced")
LATE_STOP_S = 60
"""An answer that ended this short a time ago can still be cut to what was seen."""


def append(store: Store, generation_id: str, events: Sequence[Mapping[str, Any]]) -> bool:
    """Add events, {type: text | reasoning | held | replaced, text}, coalesced by the caller; also a heartbeat.

    False: it was stopped, cancelled or reaped, so the caller ends its work.
    """
    for event in events:
        if event.get("type") not in EVENT_TYPES:
            raise Invalid(
                f"an event has the type {event.get('type')!r}; allowed are {', '.join(EVENT_TYPES)}."
            )
    with store.write(durable=False) as conn:
        row = _row(conn, generation_id)
        if row.status != "running":
            return False
        added = [
            {"generation_id": generation_id, "seq": row.seq + 1 + i, "event": clean_json(event)}
            for i, event in enumerate(events)
        ]
        if added:
            conn.execute(insert(generation_events), added)
        _change(conn, generation_id, seq=row.seq + len(added), heartbeat_at=store.now())
    return True


def heartbeat(store: Store, generation_id: str) -> bool:
    """Say that it is alive, each 10 s without a token. False as for `append`."""
    return append(store, generation_id, [])


def finish(
    store: Store,
    generation_id: str,
    *,
    finish_reason: str,
    content: str | None = None,
    reasoning: str | None = None,
    tool_calls: list[dict[str, Any]] | None = None,
    usage: Mapping[str, Any] | None = None,
    seed: int | None = None,
    guard: Mapping[str, Any] | None = None,
    hashes: Mapping[str, Any] | None = None,
    lang: str | None = None,
    held: Mapping[str, Any] | bool = False,
    also: Callable[[Connection, Any], None] | None = None,
) -> Message:
    """End it. `content` is the whole text of the message, None: what it held and the events add up to. One that was
    ended before stays as it is.

    held: {prompt, text, rule_id, stage} of an answer that waits for a person: it is kept, and its message stays empty,
        in one transaction. True: the caller keeps it with `held.hold`, in a transaction of its own.
    also: done in this transaction after that, with the generation's row; an answer for review gets its item so.
    """
    with store.write() as conn:
        row = _row(conn, generation_id)
        if row.status == "running":
            so_far = _so_far(conn, row)
            whole_text = (
                so_far.content if content is None else clean(content, "content", limit=2**31, empty=True)
            )
            values = {
                "content": "" if held else whole_text,
                "reasoning": None if held else clean_json(reasoning) if reasoning else so_far.reasoning,
                "tool_calls": clean_json(tool_calls) if tool_calls else None,
                "finish_reason": finish_reason,
                "guard": clean_json(guard) if guard else None,
                "lang": lang,
            } | _made_by(seed, usage, hashes)
            if isinstance(held, Mapping):
                names = ("workspace_id", "chat_id", "message_id", "person_id")
                insert_held(conn, store, held, **{name: getattr(row, name) for name in names})
            _end(conn, store, row, "held" if held else "complete", values, usage=usage or {})
            if also is not None:
                also(conn, row)
        return one_view(conn, row.person_id, row.chat_id, row.message_id)


def fail(
    store: Store,
    generation_id: str,
    error: Mapping[str, Any],
    *,
    seed: int | None = None,
    usage: Mapping[str, Any] | None = None,
    hashes: Mapping[str, Any] | None = None,
) -> Message:
    """End it with an error, {message, type, code}; the text so far is kept, with what made it, for judgements."""
    with store.write() as conn:
        row = _row(conn, generation_id)
        if row.status == "running":
            values = _kept(conn, row) | {"finish_reason": "error"} | _made_by(seed, usage, hashes)
            _end(conn, store, row, "failed", values, error=error, usage=usage)
        return one_view(conn, row.person_id, row.chat_id, row.message_id)


def stop(
    store: Store,
    principal: Principal,
    chat_id: str,
    generation_id: str,
    *,
    seen_chars: int,
    text: str | None = None,
    seed: int | None = None,
    usage: Mapping[str, Any] | None = None,
    hashes: Mapping[str, Any] | None = None,
) -> Message:
    """Stop it, and keep exactly the first `seen_chars` characters (Unicode code points) of the message.

    text: the whole text of the message as the runner holds it, where it is ahead of the stored events.
    seed, usage, hashes: as for `finish`, so that a judgement on a stopped answer has them. One that had ended before
    keeps its own.

    Raises:
        Conflict: it ended more than LATE_STOP_S ago.
    """
    seen = whole(seen_chars, "seen_chars", 0, 2**31)
    with store.write() as conn:
        own_chat(conn, principal, chat_id)
        row = _of_chat(conn, chat_id, generation_id)
        if row.status == "running":
            kept = _kept(conn, row)
            whole_text = kept["content"] if text is None else clean_json(text)
            kept |= {"content": whole_text[:seen], "finish_reason": "stop"}
            _end(conn, store, row, "stopped", kept | _made_by(seed, usage, hashes), usage=usage)
        elif row.status == "complete":
            if store.now() - row.ended_at > LATE_STOP_S * SECOND:
                raise Conflict("this answer has ended already.", code="ended")
            _cut(conn, store, row, seen)
        return one_view(conn, principal.person_id, chat_id, row.message_id)


def _cut(conn: Connection, store: Store, row: Any, seen: int) -> None:
    """Cut an answer that ended between the person's click and its arrival; a template of the guard stays whole."""
    message = row_of(conn, messages, row.message_id)
    replaced = any(event["type"] in ("replaced", "held") for _, event in events_of(conn, row.id))
    if len(message.content) > seen and not replaced:
        values = {"content": message.content[:seen], "finish_reason": "stop"}
        _end(conn, store, row, "stopped", values, usage={"completion_tokens": row.tokens})


def events_after(
    store: Store, principal: Principal, chat_id: str, generation_id: str, after: int = 0
) -> tuple[list[tuple[int, dict[str, Any]]], str]:
    """Stored events with a greater seq, and the status. After the end, `messages.get_message` has the whole."""
    with store.read() as conn:
        own_chat(conn, principal, chat_id)
        row = _of_chat(conn, chat_id, generation_id)
        return events_of(conn, generation_id, after), row.status


def merged(events: Sequence[tuple[int, dict[str, Any]]]) -> list[tuple[int, dict[str, Any]]]:
    """The same events with neighbours of one type as one, for whoever joins late; each keeps its last seq."""
    joined: list[tuple[int, dict[str, Any]]] = []
    for seq, event in events:
        before = joined[-1][1] if joined else {}
        if event["type"] in ("text", "reasoning") and before.get("type") == event["type"]:
            joined[-1] = (seq, {"type": event["type"], "text": before["text"] + event["text"]})
        else:
            joined.append((seq, dict(event)))
    return joined


def get_generation(store: Store, principal: Principal, chat_id: str, generation_id: str) -> Generation:
    """One generation."""
    with store.read() as conn:
        own_chat(conn, principal, chat_id)
        return generation_view(_of_chat(conn, chat_id, generation_id))


def running(store: Store, principal: Principal) -> list[Generation]:
    """All running ones of the workspace (admin); no text is in them."""
    require(principal, "generation.read")
    with store.read() as conn:
        rows = conn.execute(
            select(generations)
            .where(generations.c.status == "running", generations.c.workspace_id == principal.workspace_id)
            .order_by(generations.c.id)
        )
        return [generation_view(row) for row in rows]


def cancel(store: Store, principal: Principal, generation_id: str) -> Generation:
    """An administrator ends one: it is interrupted, and `append` answers False."""
    with store.write() as conn:
        row = require_on(
            principal, "generation.cancel", "generation", row_of(conn, generations, generation_id)
        )
        if row.status == "running":
            error = {
                "message": "an administrator ended this answer.",
                "code": "cancelled",
                "type": "cancelled",
            }
            _end(conn, store, row, "interrupted", _kept(conn, row), error=error)
            record(conn, store, principal, "generation.cancel", kind="generation", object_id=generation_id)
        return generation_view(row_of(conn, generations, generation_id))


def reap(store: Store, *, older_than_s: float = 90) -> list[str]:
    """End running ones without a heartbeat for so long, their text kept; returns their ids.

    older_than_s: 0 ends all, whatever the clock says, for the start of the only server, when nothing can be running.
        A server on SQLite may do so, since only one server serves a file; one on PostgreSQL may have others beside it.
    """
    with store.read() as conn:  # mostly there is nothing to do, and no writer waits for it
        if not conn.execute(_dead(store, older_than_s).limit(1)).first():
            return []
    with store.write() as conn:
        dead = conn.execute(_dead(store, older_than_s)).all()
        error = {
            "message": "the server that wrote this answer ended.",
            "code": "interrupted",
            "type": "server_error",
        }
        for row in dead:
            _end(conn, store, row, "interrupted", _kept(conn, row), error=error)
        return [row.id for row in dead]


def _dead(store: Store, older_than_s: float) -> Any:
    running_ones = select(generations).where(generations.c.status == "running")
    since = store.now() - int(older_than_s * SECOND)
    return running_ones if older_than_s <= 0 else running_ones.where(generations.c.heartbeat_at <= since)


def sweep_events(store: Store, *, older_than_s: float = 86_400) -> int:
    """Delete the events of generations that ended so long ago; returns how many events."""
    ended = select(generations.c.id).where(
        generations.c.status != "running", generations.c.ended_at < store.now() - int(older_than_s * SECOND)
    )
    with store.write() as conn:
        gone = conn.execute(delete(generation_events).where(generation_events.c.generation_id.in_(ended)))
        return gone.rowcount


def _row(conn: Connection, generation_id: str) -> Any:
    row = row_of(conn, generations, generation_id)
    if row is None:
        raise NotFound("there is no such generation; its chat was deleted.")
    return row


def _of_chat(conn: Connection, chat_id: str, generation_id: str) -> Any:
    row = row_of(conn, generations, generation_id)
    if row is None or row.chat_id != chat_id:
        raise NotFound("there is no such generation in this chat.")
    return row


def _change(conn: Connection, generation_id: str, **values: Any) -> None:
    conn.execute(update(generations).where(generations.c.id == generation_id).values(values))


def _so_far(conn: Connection, row: Any) -> SoFar:
    message = row_of(conn, messages, row.message_id)
    return add_up(message.content, message.reasoning, (event for _, event in events_of(conn, row.id)))


def _kept(conn: Connection, row: Any) -> dict[str, Any]:
    so_far = _so_far(conn, row)
    return {"content": so_far.content, "reasoning": so_far.reasoning}


def _made_by(
    seed: int | None, usage: Mapping[str, Any] | None, hashes: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The message's columns on what made its text. What is not given stays, as in an answer that went on."""
    made = {"usage": dict(usage or {}), "hashes": dict(hashes or {})}
    return ({} if seed is None else {"seed": seed}) | {name: value for name, value in made.items() if value}


def _end(
    conn: Connection,
    store: Store,
    row: Any,
    status: str,
    values: Mapping[str, Any],
    *,
    error: Mapping[str, Any] | None = None,
    usage: Mapping[str, Any] | None = None,
) -> None:
    """Write the message, end the generation, index the text."""
    now, usage = store.now(), usage or {}
    conn.execute(update(messages).where(messages.c.id == row.message_id).values(state=status, **values))
    conn.execute(update(chats).where(chats.c.id == row.chat_id).values(updated_at=now))
    _change(
        conn,
        row.id,
        status=status,
        ended_at=now,
        error=clean_json(error) if error else None,
        ttft_ms=usage.get("ttft_ms"),
        tokens=usage.get("completion_tokens"),
    )
    index_message(conn, row.workspace_id, row.person_id, row.chat_id, row.message_id, str(values["content"]))
