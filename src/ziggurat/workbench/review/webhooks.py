"""The workspace's webhook: events of requests of the API, signed, sent at least once.

Its address is an administrator's; there is none by default. A message is signed as Standard Webhooks does it: HMAC with
SHA-256 over `id.timestamp.body`, in `webhook-signature: v1,<base64>`. Whoever receives it twice knows it by its id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets as random
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, insert, select, update

from ziggurat.product.common import clean, record
from ziggurat.product.errors import Invalid
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import SECOND
from ziggurat.store.store import Store
from ziggurat.store.tables.reviews import items, outbox
from ziggurat.store.tables.workspace import secrets
from ziggurat.workbench.review.customer import caller_view

TRIES = 8
FIRST_WAIT_S = 10
"""After a failure; doubled each time."""
AT_ONCE = 20


@dataclass(frozen=True)
class Sending:
    """One message on its way."""

    id: str
    url: str
    body: bytes
    headers: dict[str, str]


def _name(workspace_id: str) -> str:
    return f"hook:{workspace_id}"[:64]


def set_webhook(store: Store, principal: Principal, url: str | None) -> str | None:
    """Where events go from now on, None: nowhere. Returns the new secret; it is shown this once.

    Raises:
        Invalid: this is no address of the web.
    """
    require(principal, "settings.write")
    if url is not None:
        url = clean(url, "url", limit=2_000).strip()
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise Invalid("url must begin with http:// or https://, without a user name.", param="url")
    secret = None if url is None else "whsec_" + base64.b64encode(random.token_bytes(32)).decode()
    with store.write() as conn:
        conn.execute(delete(secrets).where(secrets.c.name == _name(principal.workspace_id)))
        if url is not None:
            row = {"name": _name(principal.workspace_id), "value": json.dumps({"url": url, "secret": secret})}
            conn.execute(insert(secrets).values(**row, created_at=store.now()))
        record(conn, store, principal, "review.webhook", detail={"set": url is not None})
    return secret


def get_webhook(store: Store, principal: Principal) -> str | None:
    """Its address."""
    require(principal, "settings.read")
    with store.read() as conn:
        found = _kept(conn, principal.workspace_id)
    return None if found is None else found["url"]


def _kept(conn: Connection, workspace_id: str) -> dict[str, str] | None:
    value = conn.execute(select(secrets.c.value).where(secrets.c.name == _name(workspace_id))).scalar()
    return None if value is None else dict(json.loads(value))


def due(store: Store) -> list[Sending]:
    """What is to be sent now. Messages of a workspace without a webhook are dropped."""
    now = store.now()
    waiting = select(outbox).where(outbox.c.sent_at.is_(None), outbox.c.next_at <= now)
    with store.read() as conn:
        found = conn.execute(waiting.order_by(outbox.c.next_at).limit(AT_ONCE)).all()
        hooks = {row.workspace_id: _kept(conn, row.workspace_id) for row in found}
        made = [
            _sending(conn, row, hook, now) for row in found if (hook := hooks[row.workspace_id]) is not None
        ]
    if dropped := [row.id for row in found if hooks[row.workspace_id] is None]:
        with store.write(durable=False) as conn:
            conn.execute(delete(outbox).where(outbox.c.id.in_(dropped)))
    return made


def _sending(conn: Connection, row: Any, hook: dict[str, str], now: int) -> Sending:
    item = conn.execute(select(items).where(items.c.id == row.item_id)).one()
    told = {
        "type": row.event,
        "timestamp": row.created_at // SECOND,
        "data": caller_view(conn, item).model_dump(),
    }
    body = json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")
    stamp = str(now // SECOND)
    headers = {
        "content-type": "application/json",
        "webhook-id": row.id,
        "webhook-timestamp": stamp,
        "webhook-signature": signature(hook["secret"], row.id, stamp, body),
    }
    return Sending(row.id, hook["url"], body, headers)


def signature(secret: str, message_id: str, stamp: str, body: bytes) -> str:
    """`v1,<base64>` of a message."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(signed).decode()


def sent(store: Store, message_id: str, trouble: str | None) -> None:
    """It arrived, or why not: then it is tried again later, TRIES times in all."""
    with store.write(durable=False) as conn:
        row = conn.execute(select(outbox).where(outbox.c.id == message_id)).first()
        if row is None:
            return
        now, tries = store.now(), row.attempts + 1
        values: dict[str, Any] = {"attempts": tries, "trouble": trouble}
        if trouble is None or tries >= TRIES:
            values["sent_at"] = now
        else:
            values["next_at"] = now + FIRST_WAIT_S * 2 ** (tries - 1) * SECOND
        conn.execute(update(outbox).where(outbox.c.id == message_id).values(values))
