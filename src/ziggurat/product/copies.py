"""A tree of messages put into a chat as its own: forks, continued shares, imports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, insert, update

from ziggurat.product.calls import readable
from ziggurat.product.principal import Principal
from ziggurat.store import search as index
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, messages

BATCH = 500
KEPT = (
    "role",
    "content",
    "reasoning",
    "tool_calls",
    "model",
    "state",
    "finish_reason",
    "usage",
    "settings",
    "seed",
    "guard",
    "hashes",
    "lang",
    "edited",
    "created_at",
)
UNFINISHED = ("pending", "running", "held")


def nodes_of(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """Rows of a chat as nodes of `add_tree`."""
    return [
        {name: getattr(row, name) for name in KEPT}
        | {"key": row.id, "parent": row.parent_id, "tool_calls": readable(row.tool_calls) or None}
        for row in rows
    ]


def add_tree(
    conn: Connection,
    store: Store,
    principal: Principal,
    chat_id: str,
    nodes: Iterable[Mapping[str, Any]],
    *,
    leaf: Any = None,
) -> dict[Any, str]:
    """Insert nodes, parents before children, index them, and make the one with the key `leaf` (None: the last one) the
    active leaf. Returns key -> id. A node whose parent is unknown becomes a root.

    A node: `key`, `parent` (a key or None), `role`, `content`, and any other of KEPT.
    """
    ids: dict[Any, str] = {}
    depth: dict[Any, int] = {}
    rows: list[dict[str, Any]] = []
    for node in nodes:
        key, parent = node["key"], node.get("parent")
        ids[key], depth[key] = new_id("msg"), depth.get(parent, -1) + 1
        row = dict.fromkeys(KEPT) | {"settings": {}, "edited": False, "state": "complete"}
        row |= {"created_at": store.now()} | {name: node[name] for name in KEPT if node.get(name) is not None}
        if row["state"] in UNFINISHED:
            row["state"] = "interrupted"
        row |= {
            "id": ids[key],
            "workspace_id": principal.workspace_id,
            "chat_id": chat_id,
            "parent_id": ids.get(parent) if parent != key else None,
            "position": depth[key],
            "hidden_model": False,
        }
        rows.append(row)
    for at in range(0, len(rows), BATCH):
        conn.execute(insert(messages), rows[at : at + BATCH])
    for row in rows:
        if row["content"]:
            index.add(
                conn,
                workspace_id=principal.workspace_id,
                person_id=principal.person_id,
                chat_id=chat_id,
                message_id=row["id"],
                content=row["content"],
            )
    if rows:
        active = ids.get(leaf, rows[-1]["id"])
        conn.execute(update(chats).where(chats.c.id == chat_id).values(active_leaf_id=active))
    return ids
