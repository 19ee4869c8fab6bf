"""Conversation trees for their lead: plant them, follow them, halt them and put them aside.

A tree project is four projects: `review` (labels), `reply` (demonstration: the assistant's turn), `prompt` (the user's
turn), `rank` (ranking). The tree belongs to the one of replies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, func, insert, select, update

from ziggurat.product.common import clean, clean_name, record, row_of
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import items, tree_nodes, trees
from ziggurat.workbench.labelling.projects import create_project
from ziggurat.workbench.labelling.rows import project_row
from ziggurat.workbench.labelling.tree_states import ENDS, LABELS, STOPPED, TreeSettings
from ziggurat.workbench.labelling.trees import add_node, nodes_of

STEPS = {"review": "labels", "reply": "demonstration", "prompt": "prompt", "rank": "ranking"}
MAX_AT_ONCE = 1_000


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
    add_node(conn, store, principal, tree_id, None, "user", text, person_id=None, judgement_id=None)
    return tree_id


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
            for row in nodes_of(conn, tree_id)
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
