"""What becomes of a tree's message whose answer is changed, taken back, rejected or purged: it leaves the tree."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select, update

from ziggurat.product.common import row_of
from ziggurat.product.errors import Conflict
from ziggurat.store.tables.labelling import answers, items, tree_nodes, trees
from ziggurat.workbench.labelling.items import OPEN
from ziggurat.workbench.labelling.rows import submitted

WRITES = ("reply", "prompt")
"""Steps whose answers become messages."""


def is_written(item: Any) -> bool:
    return item.source.get("kind") == "tree" and item.source["step"] in WRITES


def require_growing(conn: Connection, item: Any) -> None:
    """Raises Conflict where the item's tree does not grow any more: its messages stay as they are."""
    if not is_written(item):
        return
    tree = row_of(conn, trees, str(item.source["tree_id"]))
    if tree is None or tree.state != "growing":
        raise Conflict(
            "the conversation of this text does not grow any more; its texts stay as they are.",
            code="answered",
        )


def drop_uncounted(conn: Connection, tree: Any, item: Any) -> bool:
    """Reject the messages that were answers to this item and count no more, with all that is below them, and halt their
    open items; says whether there were any."""
    node_id = item.source["node_id"]
    counted = select(answers.c.judgement_id).where(submitted(item.id))
    level = list(
        conn.execute(
            select(tree_nodes.c.id).where(
                tree_nodes.c.parent_id == node_id,
                tree_nodes.c.state != "rejected",
                tree_nodes.c.judgement_id.is_not(None),
                tree_nodes.c.judgement_id.not_in(counted),
            )
        ).scalars()
    )
    gone: set[str] = set()
    while level:
        gone.update(level)
        below = select(tree_nodes.c.id).where(tree_nodes.c.parent_id.in_(level))
        level = list(conn.execute(below).scalars())
    if not gone:
        return False
    conn.execute(update(tree_nodes).where(tree_nodes.c.id.in_(gone)).values(state="rejected", rank=None))
    here = items.c.project_id.in_(list(tree.settings["steps"].values()))
    wanted = select(items.c.id, items.c.source).where(here, items.c.status.in_(OPEN))
    stopped = [row.id for row in conn.execute(wanted) if _asks_about(row.source, tree, gone, node_id)]
    conn.execute(update(items).where(items.c.id.in_(stopped)).values(status="halted"))
    return True


def _asks_about(source: Any, tree: Any, gone: set[str], parent_id: str) -> bool:
    """Whether an item is about a message that is gone, ranks it, or asks for another where nothing grows any more."""
    if source.get("tree_id") != tree.id:
        return False
    if source["node_id"] in gone:
        return True
    closed = ("rank",) if tree.state == "growing" else ("rank", *WRITES)
    return source["node_id"] == parent_id and source["step"] in closed
