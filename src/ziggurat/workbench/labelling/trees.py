"""How conversation trees grow. Every step is an ordinary item, so that leases, skips, agreement and the rule "never
one's own text" hold as everywhere; this file makes the next items when the answers of a step are there.

`tree_leading` is what a lead does; `tree_states` says what each state means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggurat.evaluation.consensus import ranked_pairs
from ziggurat.product.common import row_of
from ziggurat.product.principal import Principal
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import answers, items, projects, tree_nodes, trees
from ziggurat.workbench.labelling.items import insert_item
from ziggurat.workbench.labelling.tree_answers import WRITES, drop_uncounted, is_written
from ziggurat.workbench.labelling.tree_states import ENDS, STOPPED, accepted

BRIEFS = {"en": "Write the user's next message.", "zh": "写出用户的下一条消息。"}


def add_node(
    conn: Connection,
    store: Store,
    principal: Principal,
    tree_id: str,
    parent: Any,
    role: str,
    content: str,
    *,
    person_id: str | None,
    judgement_id: str | None,
) -> str:
    """A message and the item that asks for its reviews."""
    node_id = new_id("node")
    row = {
        "id": node_id,
        "workspace_id": principal.workspace_id,
        "tree_id": tree_id,
        "parent_id": parent.id if parent is not None else None,
        "role": role,
        "content": content,
        "person_id": person_id,
        "judgement_id": judgement_id,
        "state": "review",
        "created_at": store.now(),
    }
    conn.execute(insert(tree_nodes).values(row))
    tree = row_of(conn, trees, tree_id)
    path = _path(conn, node_id)
    reviews = tree.settings["prompt_reviews" if parent is None else "reply_reviews"]
    entry: dict[str, Any] = {
        "min_answers": reviews,
        "lang": tree.lang,
        "authors": [person_id] if person_id else [],
    }
    if role == "assistant":
        entry |= {"messages": _said(path[:-1]), "completions": [{"id": node_id, "content": content}]}
    else:
        entry |= {"messages": _said(path)}
    _add_item(conn, store, principal, tree, "review", node_id, entry)
    return node_id


def _add_item(
    conn: Connection,
    store: Store,
    principal: Principal,
    tree: Any,
    step: str,
    node_id: str,
    entry: Mapping[str, Any],
) -> None:
    project = row_of(conn, projects, tree.settings["steps"][step])
    source = {"kind": "tree", "tree_id": tree.id, "node_id": node_id, "step": step}
    given = {**entry, "meta": {"tree": tree.id, "node": node_id}}
    insert_item(conn, store, principal, project, given, source=source)


def _path(conn: Connection, node_id: str) -> list[Any]:
    """From the first prompt to this message."""
    found: list[Any] = []
    at: str | None = node_id
    while at is not None:
        row = row_of(conn, tree_nodes, at)
        found.append(row)
        at = row.parent_id
    return found[::-1]


def _said(path: Sequence[Any]) -> list[dict[str, str]]:
    return [{"role": row.role, "content": row.content} for row in path]


def advance(conn: Connection, store: Store, principal: Principal, item: Any) -> None:
    """After a change to the answers of a tree's item: messages that come and go, verdicts of reviews, ranks, and the
    next items. Other items are left alone."""
    if item.source.get("kind") != "tree":
        return
    tree = row_of(conn, trees, str(item.source.get("tree_id")))
    if tree is None:
        return
    if is_written(item) and drop_uncounted(conn, tree, item):
        _maybe_score(conn, store, tree)
    if tree.state in (*ENDS, *STOPPED):
        return
    step, node_id = item.source["step"], item.source["node_id"]
    item = row_of(conn, items, item.id)
    node = row_of(conn, tree_nodes, node_id)
    if node is None:
        return
    if step in WRITES and tree.state == "growing":
        _new_replies(conn, store, principal, tree, node, item, "assistant" if step == "reply" else "user")
    elif step == "review" and item.answers >= item.min_answers:
        _reviewed(conn, store, principal, tree, node, item)
    elif step == "rank" and item.answers >= item.min_answers:
        _maybe_score(conn, store, tree)


def _values(conn: Connection, item_id: str) -> list[Any]:
    wanted = (
        select(answers.c.person_id, answers.c.judgement_id, judgements.c.value)
        .join(judgements, judgements.c.id == answers.c.judgement_id)
        .where(answers.c.item_id == item_id, answers.c.status == "submitted")
        .order_by(answers.c.id)
    )
    return list(conn.execute(wanted))


def _new_replies(
    conn: Connection, store: Store, principal: Principal, tree: Any, node: Any, item: Any, role: str
) -> None:
    theirs = select(tree_nodes.c.judgement_id).where(tree_nodes.c.parent_id == node.id)
    known = set(conn.execute(theirs).scalars())
    for answer in _values(conn, item.id):
        if answer.judgement_id in known:
            continue
        value = answer.value
        text = value["messages"][-1]["content"] if "messages" in value else value["text"]
        add_node(
            conn,
            store,
            principal,
            tree.id,
            node,
            role,
            text,
            person_id=answer.person_id,
            judgement_id=answer.judgement_id,
        )


def _reviewed(conn: Connection, store: Store, principal: Principal, tree: Any, node: Any, item: Any) -> None:
    if node.state != "review":
        return
    found = [answer.value["labels"] for answer in _values(conn, item.id)]
    shares = {
        key: sum(one.get(key) is True for one in found) / len(found) for key in ("spam", "lang_mismatch")
    }
    marks = [one["quality"] for one in found if isinstance(one.get("quality"), int)]
    labels = {key: {"value": share, "count": len(found)} for key, share in shares.items()}
    if marks:
        labels["quality"] = {"value": sum(marks) / len(marks), "count": len(marks)}
    good = accepted(shares["spam"], shares["lang_mismatch"], tree.settings["acceptance"])
    state = "accepted" if good else "rejected"
    conn.execute(update(tree_nodes).where(tree_nodes.c.id == node.id).values(state=state, labels=labels))
    if node.parent_id is None:
        _move(conn, store, tree.id, "growing" if good else "aborted_low_grade")
        if not good:
            return
    if good:
        _grow(conn, store, principal, tree, node.id)
    _maybe_rank(conn, store, principal, row_of(conn, trees, tree.id))


def _grow(conn: Connection, store: Store, principal: Principal, tree: Any, node_id: str) -> None:
    """Ask for replies to an accepted message that is not too deep."""
    path = _path(conn, node_id)
    if len(path) > tree.settings["depth"]:
        return
    node = path[-1]
    step = "reply" if node.role == "user" else "prompt"
    entry: dict[str, Any] = {
        "messages": _said(path),
        "min_answers": tree.settings["children"],
        "lang": tree.lang,
        "authors": [node.person_id] if node.person_id else [],
    }
    if step == "prompt":
        entry["brief"] = BRIEFS.get(str(tree.lang)[:2], BRIEFS["en"])
    _add_item(conn, store, principal, tree, step, node_id, entry)


def nodes_of(conn: Connection, tree_id: str, *states: str) -> list[Any]:
    wanted = select(tree_nodes).where(tree_nodes.c.tree_id == tree_id)
    if states:
        wanted = wanted.where(tree_nodes.c.state.in_(states))
    return list(conn.execute(wanted.order_by(tree_nodes.c.id)))


def _open_items(conn: Connection, tree: Any, *steps: str) -> list[Any]:
    """Items of the tree that wait for answers."""
    ids = [tree.settings["steps"][step] for step in steps]
    wanted = select(items).where(items.c.project_id.in_(ids), items.c.status.in_(("pending", "in_progress")))
    return [row for row in conn.execute(wanted) if row.source.get("tree_id") == tree.id]


def _maybe_rank(conn: Connection, store: Store, principal: Principal, tree: Any) -> None:
    """From growing to ranking, when the tree has its size or cannot grow any more."""
    if tree.state != "growing":
        return
    good = nodes_of(conn, tree.id, "accepted")
    growing = _open_items(conn, tree, "reply", "prompt", "review")
    if len(good) < tree.settings["goal"] and growing:
        return
    for item in growing:
        conn.execute(update(items).where(items.c.id == item.id).values(status="halted"))
    _move(conn, store, tree.id, "ranking")
    asked = 0
    by_parent: dict[str, list[Any]] = {}
    for node in good:
        if node.role == "assistant":
            by_parent.setdefault(node.parent_id, []).append(node)
    for parent_id, children in by_parent.items():
        different = list({child.content.strip(): child for child in reversed(children)}.values())[::-1]
        if len(different) > 1:
            entry = {
                "messages": _said(_path(conn, parent_id)),
                "completions": [{"id": child.id, "content": child.content} for child in different],
                "min_answers": tree.settings["rankings"],
                "lang": tree.lang,
                "authors": sorted({child.person_id for child in children if child.person_id}),
            }
            _add_item(conn, store, principal, tree, "rank", parent_id, entry)
            asked += 1
    if not asked:
        _maybe_score(conn, store, row_of(conn, trees, tree.id))


def _maybe_score(conn: Connection, store: Store, tree: Any) -> None:
    """Ranks by ranked pairs, when all rankings are there."""
    if tree.state != "ranking" or _open_items(conn, tree, "rank"):
        return
    _move(conn, store, tree.id, "ready_for_scoring")
    wanted = select(items).where(items.c.project_id == tree.settings["steps"]["rank"])
    for item in [row for row in conn.execute(wanted) if row.source.get("tree_id") == tree.id]:
        ranks = [answer.value["ranks"] for answer in _values(conn, item.id) if answer.value["ranks"]]
        consensus = ranked_pairs(ranks)
        for node_id, rank in (consensus.ranks if consensus else {}).items():
            conn.execute(update(tree_nodes).where(tree_nodes.c.id == node_id).values(rank=rank - 1))
    _move(conn, store, tree.id, "ready_for_export")


def _move(conn: Connection, store: Store, tree_id: str, state: str) -> None:
    conn.execute(update(trees).where(trees.c.id == tree_id).values(state=state, updated_at=store.now()))
