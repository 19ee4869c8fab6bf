"""Answers that the guard keeps until a person has decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, tuple_, update

from ziggurat.product.chats import index_message
from ziggurat.product.common import clean_json, cursor_of, known, page_size, read_cursor, record, row_of
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.objects import HeldAnswer, Page
from ziggurat.product.people import the_workspace
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, generations, messages
from ziggurat.store.tables.guard import held_answers as table

FIELDS = ("prompt", "text", "rule_id", "stage")


def hold(
    store: Store,
    *,
    workspace_id: str | None = None,
    prompt: str,
    text: str,
    rule_id: str | None,
    stage: str,
    chat_id: str | None = None,
    message_id: str | None = None,
    person_id: str | None = None,
    origin: Mapping[str, Any] | None = None,
) -> HeldAnswer:
    """Keep one that belongs to no message, such as an answer to a request of the API. An answer in a chat is kept by
    `generations.finish(held={...})`, which ends its message in the same transaction.

    workspace_id: None is the one of this server. origin: {path, model, key, key_id, request_id} of an API request.
    """
    fields = {"prompt": prompt, "text": text, "rule_id": rule_id, "stage": stage}
    whose = {"chat_id": chat_id, "message_id": message_id, "person_id": person_id}
    with store.write() as conn:
        home = workspace_id or the_workspace(conn, store)
        held_id = insert_held(conn, store, fields, workspace_id=home, origin=origin, **whose)
        return held_view(row_of(conn, table, held_id))


def insert_held(
    conn: Connection,
    store: Store,
    fields: Mapping[str, Any],
    *,
    workspace_id: str,
    chat_id: str | None,
    message_id: str | None,
    person_id: str | None,
    origin: Mapping[str, Any] | None = None,
) -> str:
    """A row of {prompt, text, rule_id, stage}; returns its id.

    Raises:
        Invalid: a field is missing or unknown.
    """
    given = known(fields, FIELDS)
    if missing := [name for name in FIELDS if name not in given]:
        raise Invalid(f"a held answer needs {', '.join(missing)}.", param=missing[0])
    row = {
        "id": new_id("held"),
        "workspace_id": workspace_id,
        "person_id": person_id,
        "chat_id": chat_id,
        "message_id": message_id,
        "origin": clean_json(origin) if origin else None,
        "created_at": store.now(),
    }
    conn.execute(insert(table).values(clean_json(given) | row))
    return str(row["id"])


def list_held(
    store: Store,
    principal: Principal,
    *,
    open_only: bool = True,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[HeldAnswer]:
    """What waits for a decision: first what somebody in a chat waits for, then answers of the API; the oldest first."""
    require(principal, "held.read")
    limit = page_size(limit)
    of_the_api = table.c.message_id.is_(None)
    wanted = select(table).where(table.c.workspace_id == principal.workspace_id)
    if open_only:
        wanted = wanted.where(table.c.decision.is_(None))
    if cursor:
        wanted = wanted.where(tuple_(of_the_api, table.c.id) > tuple_(*read_cursor(cursor, (bool, str))))
    with store.read() as conn:
        rows = conn.execute(wanted.order_by(of_the_api, table.c.id).limit(limit + 1)).all()
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(
        data=[held_view(row) for row in rows[:limit]],
        next=None if last is None else cursor_of(last.message_id is None, last.id),
    )


def decide(
    store: Store, principal: Principal, held_id: str, decision: Literal["release", "refuse"]
) -> HeldAnswer:
    """Release puts the text into the message; refuse ends the message with finish_reason content_filter. The held text
    stays in the record until its chat is deleted. An answer of the API has no message: its caller has got the guard's
    text long ago, so the decision is only recorded, and `retention` deletes the row.

    Raises:
        Conflict: somebody decided before.
    """
    if decision not in ("release", "refuse"):
        raise Invalid(f"decision is {decision!r}; it must be release or refuse.", param="decision")
    with store.write() as conn:
        row = require_on(principal, "held.decide", "held answer", row_of(conn, table, held_id))
        if row.decision is not None:
            raise Conflict(f"somebody decided before: {row.decision}.", code="decided")
        now = store.now()
        decided = {"decision": decision, "decided_by": principal.person_id, "decided_at": now}
        conn.execute(update(table).where(table.c.id == held_id).values(decided))
        if row.message_id is not None:
            released = decision == "release"
            text = row.text if released else ""
            state = {
                "content": text,
                "state": "complete",
                "finish_reason": "stop" if released else "content_filter",
            }
            conn.execute(update(messages).where(messages.c.id == row.message_id).values(state))
            conn.execute(
                update(generations)
                .where(generations.c.message_id == row.message_id, generations.c.status == "held")
                .values(status="complete")
            )
            conn.execute(update(chats).where(chats.c.id == row.chat_id).values(updated_at=now))
            if row.person_id and row.chat_id:
                index_message(conn, row.workspace_id, row.person_id, row.chat_id, row.message_id, text)
        record(conn, store, principal, f"held.{decision}", kind="held_answer", object_id=held_id)
        return held_view(row_of(conn, table, held_id))


def held_view(row: Any) -> HeldAnswer:
    names = [name for name in HeldAnswer.model_fields if name not in ("created_at", "decided_at")]
    values = {name: getattr(row, name) for name in names}
    return HeldAnswer(created_at=iso(row.created_at), decided_at=iso_or_none(row.decided_at), **values)
