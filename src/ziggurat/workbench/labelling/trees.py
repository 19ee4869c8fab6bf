"""Conversation trees that people grow together. Every step is an ordinary item, so that leases, skips, agreement and
the rule "never one's own text" hold as everywhere; this file makes the next items when the answers of a step are there.

A tree project is four projects: `review` (labels), `reply` (demonstration: the assistant's turn), `prompt` (the user's
turn), `rank` (ranking). The tree belongs to the one of replies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, func, insert, select, update

from ziggurat.evaluation.consensus import ranked_pairs
from ziggurat.product.common import clean, clean_name, record, row_of
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import answers, items, projects, tree_nodes, trees
from ziggurat.workbench.labelling.items import insert_item
from ziggurat.workbench.labelling.projects import create_project
from ziggurat.workbench.labelling.rows import project_row
from ziggurat.workbench.labelling.tree_answers import WRITES, drop_uncounted, is_written
from ziggurat.workbench.labelling.tree_states import ENDS, LABELS, STOPPED, TreeSettings, accepted

STEPS = {"review": "labels", "reply": "demonstration", "prompt": "prompt", "rank": "ranking"}
MAX_AT_ONCE = 1_000
BRIEFS = {"en": "Write the user's next message.", "zh": "写出用户的下一条消息。"}


def create_tree_projects(
    store: Store, principal: Principal, *, name: str, reply: str | None = None
) -> dict[str, str]:
    """The four projects of a new tree project; returns their ids by step. `reply`: a project of demonstrations that is
    there already and takes the step of replies."""
    require(principal, "project.write")
    name = clean_name(name)
    made = {}
    for step, task in STEPS.items():
        if step == "reply" and reply is not None:
            with store.read() as conn:
                made[step] = str(project_row(conn, principal, reply, "project.write").id)
            continue
        questions = {"labels": list(LABELS)} if step == "review" else None
        one = create_project(
            store,
            principal,
            name=f"{name}: {step}",
            task=task,
            questions=questions,
            settings={"overlap_pct": 0, "gold_pct": 0},
        )
        made[step] = one.id
    return made


def plant(
    store: Store,
    principal: Principal,
    steps: Mapping[str, str],
    prompts: Sequence[str],
    *,
    lang: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[str]:
    """New trees, one for each first prompt; returns their ids.

    Raises:
        Invalid: a step without a project of its task, or a setting that is not allowed.
    """
    if isinstance(prompts, str) or not 1 <= len(prompts) <= MAX_AT_ONCE:
        raise Invalid(f"prompts must be a list of 1 to {MAX_AT_ONCE:,} texts.", param="prompts")
    try:
        chosen = TreeSettings.model_validate(dict(settings or {}))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(["settings", *map(str, problem["loc"])])
        raise Invalid(f"{where}: {problem['msg']}.", param=where) from None
    texts = [clean(text, f"prompts.{n}", limit=100_000) for n, text in enumerate(prompts)]
    made = []
    with store.write() as conn:
        found = _step_projects(conn, principal, steps)
        for text in texts:
            made.append(_plant(conn, store, principal, found, text, lang, chosen))
        detail = {"trees": len(made)}
        object_id = found["reply"].id
        record(conn, store, principal, "tree.plant", kind="label_project", object_id=object_id, detail=detail)
    return made


def _step_projects(conn: Connection, principal: Principal, steps: Mapping[str, str]) -> dict[str, Any]:
    if set(steps) != set(STEPS):
        raise Invalid(f"steps must name a project for each of {', '.join(STEPS)}.", param="steps")
    found = {}
    for step, task in STEPS.items():
        row = project_row(conn, principal, str(steps[step]), "project.write")
        if row.task != task:
            raise Invalid(
                f"the step {step} needs a project of the task {task}, not {row.task}.", param=f"steps.{step}"
            )
        found[step] = row
    return found


def _plant(
    conn: Connection,
    store: Store,
    principal: Principal,
    steps: Mapping[str, Any],
    text: str,
    lang: str | None,
    settings: TreeSettings,
) -> str:
    now, tree_id = store.now(), new_id("tree")
    kept = settings.model_dump() | {"steps": {step: row.id for step, row in steps.items()}}
    tree = {
        "id": tree_id,
        "workspace_id": principal.workspace_id,
        "project_id": steps["reply"].id,
        "state": "initial_prompt_review",
        "lang": lang,
        "settings": kept,
        "updated_at": now,
        "created_at": now,
    }
    conn.execute(insert(trees).values(tree))
    _add_node(conn, store, principal, tree_id, None, "user", text, person_id=None, judgement_id=None)
    return tree_id


def _add_node(
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


# --- growth -----------------------------------------------------------------------------------------------------------


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
        _add_node(
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


def _nodes(conn: Connection, tree_id: str, *states: str) -> list[Any]:
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
    good = _nodes(conn, tree.id, "accepted")
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


# --- for leads --------------------------------------------------------------------------------------------------------


def list_trees(store: Store, principal: Principal, project_id: str) -> list[dict[str, Any]]:
    """The trees of a project of replies, the newest first."""
    with store.read() as conn:
        project_row(conn, principal, project_id)
        count = select(func.count()).where(tree_nodes.c.tree_id == trees.c.id)
        root = select(tree_nodes.c.content).where(
            tree_nodes.c.tree_id == trees.c.id, tree_nodes.c.parent_id.is_(None)
        )
        wanted = select(
            trees,
            count.scalar_subquery().label("nodes"),
            count.where(tree_nodes.c.state == "accepted").scalar_subquery().label("accepted"),
            root.scalar_subquery().label("prompt"),
        )
        rows = conn.execute(wanted.where(trees.c.project_id == project_id).order_by(trees.c.id.desc()))
        return [
            {
                "id": row.id,
                "state": row.state,
                "lang": row.lang,
                "nodes": row.nodes,
                "accepted": row.accepted,
                "goal": row.settings["goal"],
                "prompt": str(row.prompt or "")[:300],
                "steps": row.settings["steps"],
                "updated_at": iso(row.updated_at),
            }
            for row in rows
        ]


def get_tree(store: Store, principal: Principal, tree_id: str) -> dict[str, Any]:
    """A tree with its messages, parents first."""
    with store.read() as conn:
        tree = require_on(principal, "project.read", "tree", row_of(conn, trees, tree_id))
        nodes = [
            {
                "id": row.id,
                "parent_id": row.parent_id,
                "role": row.role,
                "content": row.content,
                "state": row.state,
                "rank": row.rank,
                "labels": row.labels,
            }
            for row in _nodes(conn, tree_id)
        ]
        return {
            "id": tree.id,
            "state": tree.state,
            "lang": tree.lang,
            "settings": tree.settings,
            "nodes": nodes,
        }


def set_tree_state(store: Store, principal: Principal, tree_id: str, state: str) -> dict[str, Any]:
    """Halt a tree, put it aside, or start it again where it was (`resume`).

    Raises:
        Conflict: it has come to its end, or it is not stopped.
    """
    if state not in (*STOPPED, "resume"):
        raise Invalid(f"state is {state!r}; it must be one of {', '.join(STOPPED)}, resume.", param="state")
    with store.write() as conn:
        tree = require_on(principal, "project.write", "tree", row_of(conn, trees, tree_id))
        if tree.state in ENDS:
            raise Conflict(f"the tree is {tree.state}; it has come to its end.", code="tree_ended")
        kept = dict(tree.settings)
        if state == "resume":
            if tree.state not in STOPPED:
                raise Conflict("the tree is not stopped.", code="not_stopped")
            now, was = kept.pop("was", "growing"), ("halted", "pending")
        else:
            kept.setdefault("was", tree.state)
            now, was = state, ("pending", "halted")
        _hold_items(conn, tree, *was)
        values = {"state": now, "settings": kept, "updated_at": store.now()}
        conn.execute(update(trees).where(trees.c.id == tree_id).values(values))
        detail = {"state": now}
        record(conn, store, principal, "tree.state", kind="label_tree", object_id=tree_id, detail=detail)
    return get_tree(store, principal, tree_id)


def _hold_items(conn: Connection, tree: Any, was: str, now: str) -> None:
    """Take the tree's open items out of the queue, or put them back."""
    states = ("pending", "in_progress") if was == "pending" else (was,)
    wanted = select(items).where(
        items.c.project_id.in_(list(tree.settings["steps"].values())), items.c.status.in_(states)
    )
    for row in [row for row in conn.execute(wanted) if row.source.get("tree_id") == tree.id]:
        status = now if now == "halted" or not row.answers else "in_progress"
        conn.execute(update(items).where(items.c.id == row.id).values(status=status))
