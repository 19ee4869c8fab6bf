"""What leaves: a version, by a decision. Also what ends without: withheld, cancelled, superseded, expired.

All in the caller's transaction, so that a decision and its delivery stand together or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ziggurat.product.chats import index_message
from ziggurat.product.common import record, row_of
from ziggurat.product.principal import Principal
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, generations, messages
from ziggurat.store.tables.guard import held_answers
from ziggurat.store.tables.reviews import claims, corrections, deliveries, items, outbox, versions

PERSON = {"layer": "person", "action": "hold", "rule": None, "category": None}
"""The record of a message that a person has decided on; the page shows the mark by it."""
UNREAD = {"layer": "policy", "action": "log", "rule": None, "category": None}


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def add_version(
    conn: Connection,
    store: Store,
    item: Any,
    text: str,
    *,
    author_kind: str,
    author_id: str | None = None,
    instruction: str | None = None,
    parent_id: str | None = None,
) -> Any:
    """The next version of an item's text; its row."""
    last = conn.execute(select(func.max(versions.c.n)).where(versions.c.item_id == item.id)).scalar()
    row = {
        "id": new_id("rver"),
        "workspace_id": item.workspace_id,
        "item_id": item.id,
        "n": (last or 0) + 1,
        "author_kind": author_kind,
        "author_id": author_id,
        "text": text,
        "hash": hash_of(text),
        "instruction": instruction,
        "parent_id": parent_id,
        "created_at": store.now(),
    }
    conn.execute(insert(versions).values(row))
    return row_of(conn, versions, str(row["id"]))


def latest(conn: Connection, item_id: str) -> Any:
    newest = select(versions).where(versions.c.item_id == item_id).order_by(versions.c.n.desc()).limit(1)
    return conn.execute(newest).one()


def move(
    conn: Connection,
    store: Store,
    principal: Principal | None,
    item: Any,
    state: str,
    action: str,
    *,
    detail: Mapping[str, Any] | None = None,
    before_hash: Any = None,
    after_hash: Any = None,
    **values: Any,
) -> Any:
    """The item in another state, as its next version, with an audit entry; its row."""
    changes = {"state": state, "version": item.version + 1, "updated_at": store.now(), **values}
    conn.execute(update(items).where(items.c.id == item.id).values(changes))
    note_of(
        conn,
        store,
        principal,
        item,
        action,
        detail={"from": item.state, "to": state, **(detail or {})},
        before=before_hash,
        after=after_hash,
    )
    return row_of(conn, items, item.id)


def note_of(
    conn: Connection,
    store: Store,
    principal: Principal | None,
    item: Any,
    action: str,
    *,
    detail: Mapping[str, Any] | None = None,
    before: Any = None,
    after: Any = None,
) -> None:
    """An audit entry about an item."""
    record(
        conn,
        store,
        principal,
        f"review.{action}",
        kind="review",
        object_id=item.id,
        detail=detail,
        before=before,
        after=after,
        workspace_id=item.workspace_id,
    )


def send(
    conn: Connection,
    store: Store,
    principal: Principal | None,
    item: Any,
    version: Any,
    decision_id: str,
    *,
    by_person: bool,
    kind: str = "correct",
    note: str | None = None,
) -> Any:
    """Deliver a version that a decision approved; where one was delivered before, as a correction with a visible note.
    A caller who has got another text already (a guard's, at the API) gets nothing more."""
    now = store.now()
    sent = {
        "workspace_id": item.workspace_id,
        "item_id": item.id,
        "decision_id": decision_id,
        "version_id": version.id,
        "hash": version.hash,
        "created_at": now,
    }
    if (item.origin or {}).get("answered"):
        _settle_held(conn, store, principal, item, "release")
        return close(conn, store, principal, item, "withheld", "seen")
    before = shown_version(conn, item.id)
    if before is None:
        conn.execute(insert(deliveries).values(id=new_id("rdel"), channel=item.channel, **sent))
    elif before.id != version.id:
        conn.execute(insert(corrections).values(id=new_id("rcor"), kind=kind, note=note or "", **sent))
    if item.message_id is not None and (before is None or before.id != version.id):
        _show(conn, store, item, version.text, PERSON if by_person else UNREAD)
    _settle_held(conn, store, principal, item, "release")
    end_claims(conn, store, item, "decided")
    event = "review.delivered" if before is None else "review.corrected"
    if before is None or before.id != version.id:
        enqueue(conn, store, item, event)
    return move(
        conn,
        store,
        principal,
        item,
        "delivered",
        "deliver" if before is None else "redeliver",
        before_hash=None if before is None else before.hash,
        after_hash=version.hash,
        delivered_at=item.delivered_at or now,
        reopened=False,
        escalated_to=None,
    )


def shown_version(conn: Connection, item_id: str) -> Any:
    """The version that the customer has: the last correction, else the delivery; None before any."""
    last = (
        select(versions)
        .join(corrections, corrections.c.version_id == versions.c.id)
        .where(corrections.c.item_id == item_id)
        .order_by(corrections.c.created_at.desc(), corrections.c.id.desc())
        .limit(1)
    )
    first = select(versions).join(deliveries, deliveries.c.version_id == versions.c.id)
    return conn.execute(last).first() or conn.execute(first.where(deliveries.c.item_id == item_id)).first()


def close(
    conn: Connection, store: Store, principal: Principal | None, item: Any, state: str, action: str
) -> Any:
    """End an item without a delivery: its message stays empty."""
    _settle_held(conn, store, principal, item, "refuse")
    end_claims(conn, store, item, "closed")
    if item.message_id is not None:
        ended = {"withheld": "complete", "expired": "complete"}.get(state, "stopped")
        reason = "content_filter" if ended == "complete" else "stop"
        _end(conn, item, "", ended, reason, PERSON if ended == "complete" else None)
    enqueue(conn, store, item, f"review.{state}")
    return move(conn, store, principal, item, state, action)


def _settle_held(
    conn: Connection, store: Store, principal: Principal | None, item: Any, decision: str
) -> None:
    """The list of held answers shows the same decision."""
    if item.held_id is None:
        return
    by = principal.person_id if principal else None
    settled = conn.execute(
        update(held_answers)
        .where(held_answers.c.id == item.held_id, held_answers.c.decision.is_(None))
        .values(decision=decision, decided_by=by, decided_at=store.now())
    )
    if settled.rowcount:
        record(
            conn,
            store,
            principal,
            f"held.{decision}",
            kind="held_answer",
            object_id=item.held_id,
            workspace_id=item.workspace_id,
        )


def end_claims(conn: Connection, store: Store, item: Any, how: str) -> None:
    conn.execute(
        update(claims)
        .where(claims.c.item_id == item.id, claims.c.ended_at.is_(None))
        .values(ended_at=store.now(), ended_how=how)
    )


def enqueue(conn: Connection, store: Store, item: Any, event: str) -> None:
    """Something to tell the workspace's webhook, in the transaction of the act; chats tell their page themselves,
    and a caller who was answered already knows of no review."""
    if item.channel != "api" or (item.origin or {}).get("answered"):
        return
    now = store.now()
    row = {
        "id": new_id("rout"),
        "workspace_id": item.workspace_id,
        "item_id": item.id,
        "event": event,
        "attempts": 0,
        "next_at": now,
        "created_at": now,
    }
    conn.execute(insert(outbox).values(row))


def _show(conn: Connection, store: Store, item: Any, text: str, guard: Mapping[str, Any]) -> None:
    _end(conn, item, text, "complete", "stop", guard)
    conn.execute(update(chats).where(chats.c.id == item.chat_id).values(updated_at=store.now()))
    if item.person_id and item.chat_id:
        index_message(conn, item.workspace_id, item.person_id, item.chat_id, item.message_id, text)


def _end(
    conn: Connection, item: Any, text: str, state: str, reason: str, guard: Mapping[str, Any] | None
) -> None:
    values = {
        "content": text,
        "state": state,
        "finish_reason": reason,
        "guard": dict(guard) if guard else None,
    }
    conn.execute(update(messages).where(messages.c.id == item.message_id).values(values))
    conn.execute(
        update(generations)
        .where(generations.c.message_id == item.message_id, generations.c.status == "held")
        .values(status=state)
    )
