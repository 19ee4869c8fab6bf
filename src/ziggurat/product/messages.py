"""The tree of messages of a chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from ziggurat.product.calls import readable
from ziggurat.product.chats import message_row, own_chat
from ziggurat.product.common import page_size
from ziggurat.product.objects import Earlier, Message, Tree, TreeNode
from ziggurat.product.paths import path_to
from ziggurat.product.principal import Principal
from ziggurat.product.views import message_views
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import messages, persona_versions

PREVIEW = 80
"""Characters of a message in the tree."""


def get_message(store: Store, principal: Principal, chat_id: str, message_id: str) -> Message:
    """One message, with its siblings and the judgement of the one who asks."""
    with store.read() as conn:
        own_chat(conn, principal, chat_id)
        return one_view(conn, principal.person_id, chat_id, message_id)


def one_view(conn: Connection, person_id: str, chat_id: str, message_id: str) -> Message:
    return message_views(conn, person_id, [message_row(conn, chat_id, message_id)])[0]


def views_of(conn: Connection, person_id: str, chat_id: str, message_ids: Sequence[str]) -> list[Message]:
    """Messages of one chat, in the order of `message_ids`, in as many statements as one needs."""
    found = conn.execute(
        select(messages).where(messages.c.chat_id == chat_id, messages.c.id.in_(message_ids))
    )
    rows = {row.id: row for row in found}
    return message_views(conn, person_id, [rows[one] for one in message_ids])


def earlier(store: Store, principal: Principal, chat_id: str, before: str, *, limit: int = 50) -> Earlier:
    """The messages above `before` on its path, oldest first."""
    limit = page_size(limit)
    with store.read() as conn:
        own_chat(conn, principal, chat_id)
        parent = message_row(conn, chat_id, before).parent_id
        rows = path_to(conn, chat_id, parent, limit=limit) if parent else []
        return Earlier(
            messages=message_views(conn, principal.person_id, rows),
            has_earlier=bool(rows) and rows[0].parent_id is not None,
        )


def tree(store: Store, principal: Principal, chat_id: str) -> Tree:
    """All messages in short, parents before children."""
    columns = (messages.c.id, messages.c.parent_id, messages.c.role, messages.c.state)
    short = func.substr(messages.c.content, 1, PREVIEW).label("preview")
    with store.read() as conn:
        chat = own_chat(conn, principal, chat_id)
        rows = conn.execute(
            select(*columns, short)
            .where(messages.c.chat_id == chat_id)
            .order_by(messages.c.position, messages.c.id)
        ).all()
    nodes = [
        TreeNode(
            id=row.id,
            parent_id=row.parent_id,
            role=row.role,
            preview=" ".join(row.preview.split()),
            state=row.state,
        )
        for row in rows
    ]
    return Tree(messages=nodes, active_leaf_id=chat.active_leaf_id)


def conversation(store: Store, principal: Principal, chat_id: str, message_id: str) -> list[dict[str, Any]]:
    """The path from the root to `message_id`, it included, as {role, content} and, where there are some, tool_calls:
    what a model is asked with. The system prompt comes first. The mark under answers is no part of it."""
    with store.read() as conn:
        chat = own_chat(conn, principal, chat_id)
        message_row(conn, chat_id, message_id)
        return spoken(conn, chat, path_to(conn, chat_id, message_id))


def spoken(conn: Connection, chat: Any, rows: list[Any]) -> list[dict[str, Any]]:
    """Rows of a path as a model reads them, below the system prompt of the chat or of its persona."""
    system = chat.system_prompt
    if system is None and chat.persona_id is not None:
        system = conn.execute(
            select(persona_versions.c.system_prompt).where(
                persona_versions.c.persona_id == chat.persona_id,
                persona_versions.c.version == chat.persona_version,
            )
        ).scalar()
    said: list[dict[str, Any]] = [{"role": "system", "content": system}] if system and system.strip() else []
    for row in rows:
        calls = readable(row.tool_calls)
        if row.role == "assistant" and not row.content and not calls:
            continue  # an answer that failed before its first word
        said.append({"role": row.role, "content": row.content, **({"tool_calls": calls} if calls else {})})
    return said
