"""Ways through the tree of a chat's messages: up from a message to the root, down to the newest leaf.

Both walks happen inside the database and are bounded, so that a chat of 10,000 messages opens like one of ten.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, literal, select

from ziggurat.store.tables.chats import messages

WHOLE = 1_000_000
"""Longer than any path."""


def _up() -> Select[Any]:
    walk = (
        select(messages.c.id, messages.c.parent_id, literal(1).label("n"))
        .where(messages.c.id == bindparam("message"), messages.c.chat_id == bindparam("chat"))
        .cte("walk", recursive=True)
    )
    above = messages.alias("above")
    walk = walk.union_all(
        select(above.c.id, above.c.parent_id, walk.c.n + 1)
        .join_from(walk, above, above.c.id == walk.c.parent_id)
        .where(walk.c.n < bindparam("limit"))
    )
    return select(messages).join(walk, walk.c.id == messages.c.id).order_by(walk.c.n.desc())


_UP = _up()


def path_to(conn: Connection, chat_id: str, message_id: str, *, limit: int = WHOLE) -> list[Any]:
    """The rows from the root to a message, it included, oldest first; of a longer path the last `limit`."""
    found = conn.execute(_UP, {"chat": chat_id, "message": message_id, "limit": limit})
    return list(found)


def newest_leaf(conn: Connection, chat_id: str, message_id: str) -> str:
    """From a message down, at each fork to the newest child, until there is none."""
    down = select(literal(message_id).label("id"), literal(1).label("n")).cte("down", recursive=True)
    child = messages.alias("child")
    newest = (
        select(func.max(child.c.id))
        .where(child.c.chat_id == chat_id, child.c.parent_id == down.c.id)
        .correlate(down)
        .scalar_subquery()
    )
    down = down.union_all(select(newest, down.c.n + 1).where(down.c.id.is_not(None)))
    found = conn.execute(select(down.c.id).where(down.c.id.is_not(None)).order_by(down.c.n.desc()).limit(1))
    return str(found.scalar_one())


def subtree(conn: Connection, chat_id: str, message_id: str) -> list[str]:
    """The ids of a message and of everything below it."""
    below = (
        select(messages.c.id)
        .where(messages.c.id == message_id, messages.c.chat_id == chat_id)
        .cte("below", recursive=True)
    )
    child = messages.alias("child")
    below = below.union_all(
        select(child.c.id).join_from(
            below, child, (child.c.parent_id == below.c.id) & (child.c.chat_id == chat_id)
        )
    )
    return list(conn.execute(select(below.c.id)).scalars())
