"""Webhooks: programs are told of new items, answers and finished items, at least once, each message signed.

An event is a row of the outbox, written in the transaction of the act (`events.emit`). The server sends what is due and
tries again after longer and longer waits. Messages are signed as standardwebhooks.com says, so that a receiver checks
them with a library: `webhook-id`, `webhook-timestamp`, `webhook-signature` (HMAC-SHA-256 of "id.timestamp.body").
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, func, insert, select, update

from ziggurat.product.common import clean, known, record, row_of, truth
from ziggurat.product.errors import Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.store.clock import SECOND, iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import deliveries, webhooks
from ziggurat.workbench.labelling.events import EVENTS
from ziggurat.workbench.labelling.rows import project_row

MAX_HOOKS = 50
SHOWN = 10
"""Last messages of a webhook that are shown."""
WAITS_S = (10, 60, 5 * 60, 30 * 60, 2 * 3600, 6 * 3600, 12 * 3600)
"""Before each further try; after the last one the message is given up."""
HELD_S = 60
"""A message that is being sent is not sent by another process for so long."""
KEPT_S = 7 * 24 * 3600
"""Delivered and given-up messages are kept so long."""
PREFIX = "whsec_"


@dataclass(frozen=True)
class Due:
    """A message to be sent now."""

    id: str
    url: str
    secret: str = field(repr=False)
    payload: Mapping[str, Any]
    attempts: int


def create_hook(
    store: Store,
    principal: Principal,
    *,
    url: str,
    events: Sequence[str] = EVENTS,
    project_id: str | None = None,
) -> dict[str, Any]:
    """A new webhook, for one project or (None) for all; the secret is shown this once.

    Raises:
        Invalid: the address is no http or https URL, or an event is not known.
    """
    require(principal, "project.write")
    address, wanted = _url(url), _events(events)
    secret = PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    with store.write() as conn:
        if project_id is not None:
            project_row(conn, principal, project_id, "project.write")
        mine = webhooks.c.workspace_id == principal.workspace_id
        if len(conn.execute(select(webhooks.c.id).where(mine)).all()) >= MAX_HOOKS:
            raise Invalid(f"there are {MAX_HOOKS} webhooks, and no more are kept.", code="too_many")
        row = {
            "id": new_id("webhook"),
            "workspace_id": principal.workspace_id,
            "project_id": project_id,
            "url": address,
            "secret": secret,
            "events": wanted,
            "active": True,
            "created_by": principal.person_id,
            "created_at": store.now(),
        }
        conn.execute(insert(webhooks).values(row))
        detail = {"events": wanted, "project_id": project_id}
        record(
            conn, store, principal, "webhook.create", kind="webhook", object_id=str(row["id"]), detail=detail
        )
        return _view(conn, row_of(conn, webhooks, str(row["id"]))) | {"secret": secret}


def _url(url: Any) -> str:
    text = clean(url, "url", limit=2_000).strip()
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise Invalid(f"the url {text!r} must be an http or https address without a name in it.", param="url")
    return text


def _events(events: Any) -> list[str]:
    if isinstance(events, str) or not events or set(events) - set(EVENTS):
        raise Invalid(f"events must be a list of {', '.join(EVENTS)}.", param="events")
    return [one for one in EVENTS if one in events]


def list_hooks(store: Store, principal: Principal, *, project_id: str | None = None) -> list[dict[str, Any]]:
    """All of the workspace, or those that a project's events go to; without their secrets."""
    require(principal, "project.write")
    wanted = select(webhooks).where(webhooks.c.workspace_id == principal.workspace_id)
    if project_id is not None:
        wanted = wanted.where((webhooks.c.project_id == project_id) | webhooks.c.project_id.is_(None))
    with store.read() as conn:
        return _views(conn, conn.execute(wanted.order_by(webhooks.c.id)).all())


def change_hook(
    store: Store, principal: Principal, hook_id: str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Its address, its events, or whether it is active."""
    given = known(changes, ("url", "events", "active"))
    if "url" in given:
        given["url"] = _url(given["url"])
    if "events" in given:
        given["events"] = _events(given["events"])
    if "active" in given:
        truth(given["active"], "active")
    with store.write() as conn:
        require_on(principal, "project.write", "webhook", row_of(conn, webhooks, hook_id))
        if given:
            conn.execute(update(webhooks).where(webhooks.c.id == hook_id).values(given))
        detail = {"fields": sorted(given)}
        record(conn, store, principal, "webhook.change", kind="webhook", object_id=hook_id, detail=detail)
        return _view(conn, row_of(conn, webhooks, hook_id))


def delete_hook(store: Store, principal: Principal, hook_id: str) -> None:
    """With what it has not sent yet."""
    with store.write() as conn:
        require_on(principal, "project.write", "webhook", row_of(conn, webhooks, hook_id))
        conn.execute(delete(webhooks).where(webhooks.c.id == hook_id))
        record(conn, store, principal, "webhook.delete", kind="webhook", object_id=hook_id)


def send_again(store: Store, principal: Principal, delivery_id: str) -> None:
    """Send a message once more, now."""
    with store.write() as conn:
        row = row_of(conn, deliveries, delivery_id)
        if row is None:
            raise NotFound("there is no such message.")
        require_on(principal, "project.write", "message", row)
        values = {"next_at": store.now(), "delivered_at": None, "attempts": 0}
        conn.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(values))


def _view(conn: Connection, row: Any) -> dict[str, Any]:
    return _views(conn, [row])[0]


def _views(conn: Connection, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Each with its last messages."""
    place = func.row_number().over(partition_by=deliveries.c.webhook_id, order_by=deliveries.c.id.desc())
    ranked = select(deliveries, place.label("place")).where(
        deliveries.c.webhook_id.in_([row.id for row in rows])
    )
    sent = ranked.subquery()
    last: dict[str, list[dict[str, Any]]] = {}
    for one in conn.execute(select(sent).where(sent.c.place <= SHOWN).order_by(sent.c.id.desc())):
        said = {
            "id": one.id,
            "event": one.event,
            "attempts": one.attempts,
            "delivered_at": iso_or_none(one.delivered_at),
            "next_at": iso_or_none(one.next_at),
            "error": one.last_error,
            "created_at": iso(one.created_at),
        }
        last.setdefault(one.webhook_id, []).append(said)
    return [
        {
            "id": row.id,
            "project_id": row.project_id,
            "url": row.url,
            "events": row.events,
            "active": row.active,
            "created_at": iso(row.created_at),
            "last": last.get(row.id, []),
        }
        for row in rows
    ]


# --- the outbox -------------------------------------------------------------------------------------------------------


def due(store: Store, *, limit: int = 20) -> list[Due]:
    """Messages to be sent now; each is held for HELD_S, so that no other process sends it meanwhile."""
    now = store.now()
    wanted = (
        select(deliveries, webhooks.c.url, webhooks.c.secret)
        .join(webhooks, webhooks.c.id == deliveries.c.webhook_id)
        .where(deliveries.c.next_at <= now, webhooks.c.active)
    )
    with store.read() as conn:
        if conn.execute(wanted.limit(1)).first() is None:
            return []  # most of the time: no write
    with store.write() as conn:
        rows = conn.execute(wanted.order_by(deliveries.c.next_at, deliveries.c.id).limit(limit)).all()
        for row in rows:
            held = {"next_at": now + HELD_S * SECOND, "attempts": row.attempts + 1}
            conn.execute(update(deliveries).where(deliveries.c.id == row.id).values(held))
        return [Due(row.id, row.url, row.secret, row.payload, row.attempts + 1) for row in rows]


def delivered(store: Store, delivery_id: str) -> None:
    values = {"delivered_at": store.now(), "next_at": None, "last_error": None}
    with store.write() as conn:
        conn.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(values))


def failed(store: Store, one: Due, error: str) -> None:
    """Try again later, or give up after the last wait."""
    wait = WAITS_S[one.attempts - 1] if one.attempts <= len(WAITS_S) else None
    at = None if wait is None else store.now() + wait * SECOND
    with store.write() as conn:
        values = {"next_at": at, "last_error": error[:500]}
        conn.execute(update(deliveries).where(deliveries.c.id == one.id).values(values))


def sweep(store: Store) -> None:
    """Remove old messages that are delivered or given up."""
    old = deliveries.c.created_at < store.now() - KEPT_S * SECOND
    with store.write() as conn:
        conn.execute(delete(deliveries).where(old, deliveries.c.next_at.is_(None)))


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and base64 of HMAC-SHA-256, as standardwebhooks.com says."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
