"""Read-only snapshots of a chat by a link that nobody can guess; the store keeps a hash of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggurat.product.calls import readable
from ziggurat.product.chats import insert_chat, own_chat
from ziggurat.product.common import record, row_of
from ziggurat.product.copies import add_tree
from ziggurat.product.errors import Invalid, NotFound
from ziggurat.product.objects import Chat, Share, SharedChat
from ziggurat.product.paths import path_to
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.product.tokens import expiry_of, new_token, row_of_token, token_hash
from ziggurat.product.views import chat_view
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, shares


def create_share(store: Store, principal: Principal, chat_id: str, *, expires_at: str | None = None) -> Share:
    """A snapshot of the active path. `url` is /shared/{token}; only this call knows the token."""
    require(principal, "share")
    expires = expiry_of(store, expires_at)
    token = new_token()
    with store.write() as conn:
        chat = own_chat(conn, principal, chat_id)
        rows = path_to(conn, chat_id, chat.active_leaf_id) if chat.active_leaf_id else []
        if not rows:
            raise Invalid("this chat has no message yet, so there is nothing to share.", code="empty")
        share_id = new_id("share")
        row = {
            "id": share_id,
            "workspace_id": principal.workspace_id,
            "person_id": principal.person_id,
            "chat_id": chat_id,
            "token_hash": token_hash(token),
            "title": chat.title,
            "snapshot": {"messages": [_snapshot(row) for row in rows], "source": [row.id for row in rows]},
            "expires_at": expires,
            "views": 0,
            "created_at": store.now(),
        }
        conn.execute(insert(shares).values(row))
        record(conn, store, principal, "share.create", kind="share", object_id=share_id)
        return _view(row_of(conn, shares, share_id), url=f"/shared/{token}")


def _snapshot(row: Any) -> dict[str, Any]:
    """What a viewer sees of a message: no ids of people, no settings."""
    return {
        "role": row.role,
        "content": row.content,
        "reasoning": row.reasoning,
        "tool_calls": readable(row.tool_calls) or None,
        "model": None if row.hidden_model else row.model,
        "ai_generated": row.role == "assistant",
        "created_at": iso(row.created_at),
    }


def list_shares(store: Store, principal: Principal) -> list[Share]:
    """All of mine, the newest first."""
    require(principal, "share")
    with store.read() as conn:
        rows = conn.execute(
            select(shares)
            .where(shares.c.person_id == principal.person_id, shares.c.workspace_id == principal.workspace_id)
            .order_by(shares.c.id.desc())
        )
        return [_view(row) for row in rows]


def revoke_share(store: Store, principal: Principal, share_id: str) -> None:
    """The link ends at once, and the snapshot is deleted."""
    with store.write() as conn:
        require_on(principal, "share", "share", row_of(conn, shares, share_id))
        end_shares(conn, store, [share_id])
        record(conn, store, principal, "share.revoke", kind="share", object_id=share_id)


def end_shares(conn: Connection, store: Store, share_ids: list[str]) -> None:
    open_ones = shares.c.id.in_(share_ids) & shares.c.revoked_at.is_(None)
    conn.execute(update(shares).where(open_ones).values(revoked_at=store.now(), snapshot=None))


def view_share(store: Store, token: str) -> SharedChat:
    """What whoever has the link sees; each call counts as a view.

    Raises:
        NotFound: the link is unknown, expired or revoked, or its chat lies in the trash.
    """
    with store.read() as conn:  # whoever guesses tokens must not keep the one writer busy
        row = _open_share(conn, store, token)
    with store.write(durable=False) as conn:
        conn.execute(update(shares).where(shares.c.id == row.id).values(views=shares.c.views + 1))
    return SharedChat(title=row.title, messages=_messages(row), created_at=iso(row.created_at))


def continue_share(store: Store, principal: Principal, token: str) -> Chat:
    """A copy of one's own."""
    require(principal, "chat")
    with store.write() as conn:
        row = _open_share(conn, store, token)
        chat_id = insert_chat(conn, store, principal, title=row.title)
        names = ("role", "content", "reasoning", "tool_calls", "model")
        said = [{name: message[name] for name in names} for message in _messages(row)]
        nodes = [message | {"key": at, "parent": at - 1 if at else None} for at, message in enumerate(said)]
        add_tree(conn, store, principal, chat_id, nodes, leaf=len(nodes) - 1)
        return chat_view(row_of(conn, chats, chat_id))


def _messages(row: Any) -> list[dict[str, Any]]:
    """Those of a snapshot; what an older version kept among the calls and is none is left out."""
    return [
        message | {"tool_calls": readable(message.get("tool_calls")) or None}
        for message in row.snapshot["messages"]
    ]


def _open_share(conn: Connection, store: Store, token: str) -> Any:
    of_chats = select(shares).join(chats, chats.c.id == shares.c.chat_id).where(chats.c.deleted_at.is_(None))
    row = row_of_token(conn, store, of_chats, shares.c.token_hash, token)
    if row is None or row.snapshot is None:
        raise NotFound("this link leads nowhere (any more).")
    return row


def _view(row: Any, url: str | None = None) -> Share:
    return Share(
        id=row.id,
        chat_id=row.chat_id,
        title=row.title,
        url=url,
        created_at=iso(row.created_at),
        expires_at=iso_or_none(row.expires_at),
        revoked_at=iso_or_none(row.revoked_at),
        views=row.views,
    )
