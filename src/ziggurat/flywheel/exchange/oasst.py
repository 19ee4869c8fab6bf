"""Finished conversation trees in Open-Assistant's form: nested replies with rank, labels, review result and author.

People are pseudonyms. Only accepted messages of trees that are ready for export; a message whose author's work may not
be used takes its replies along.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from ziggurat.flywheel.dataset.permission import Permission
from ziggurat.flywheel.dataset.samples import LeftOut, Sample, Taken
from ziggurat.flywheel.exchange.card import card_of
from ziggurat.flywheel.exchange.export import BATCH, Source, lines
from ziggurat.product.errors import Invalid
from ziggurat.product.mask import masked
from ziggurat.product.principal import Principal
from ziggurat.store.clock import iso
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import tree_nodes, trees

ROLES = {"user": "prompter", "assistant": "assistant", "system": "system"}


def oasst(conn: Connection, principal: Principal, source: Source) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Raises Invalid without a project: trees belong to one."""
    if source.project is None:
        raise Invalid("the format oasst exports the trees of one project; name it.", param="project_id")
    wanted = select(trees).where(
        trees.c.project_id == source.project.id,
        trees.c.workspace_id == principal.workspace_id,
        trees.c.state == "ready_for_export",
    )
    taken, made = Taken(), []
    for tree in conn.execute(wanted.order_by(trees.c.id)).all():
        one = _tree(conn, source, tree, taken)
        if one is not None:
            made.append(one)
    files = {"trees.jsonl": lines(made)} if made else {}
    return files, card_of(taken, files, {"trees.jsonl": len(made)} if made else {}, source.settings)


def _tree(conn: Connection, source: Source, tree: Any, taken: Taken) -> dict[str, Any] | None:
    rows = conn.execute(
        select(tree_nodes)
        .where(tree_nodes.c.tree_id == tree.id, tree_nodes.c.state == "accepted")
        .order_by(tree_nodes.c.id)
    ).all()
    wrote = _judgements(conn, [row.judgement_id for row in rows if row.judgement_id])
    permission = Permission.of(conn, list(wrote.values()))
    children: dict[str | None, list[Any]] = {}
    for row in rows:
        reason = _reason(source, permission, wrote, row)
        if reason is None:
            children.setdefault(row.parent_id, []).append(row)
            if row.judgement_id:
                taken.samples.append(_sample(source, tree, wrote[row.judgement_id]))
        else:
            person = source.names.of(row.person_id) if row.person_id else ""
            taken.left_out.append(LeftOut(row.judgement_id or row.id, reason, "demonstration", person))
    if not children.get(None):
        return None
    root = _message(source, tree, children[None][0], children)
    return {"message_tree_id": root["message_id"], "tree_state": tree.state, "prompt": root}


def _reason(source: Source, permission: Permission, wrote: dict[str, Any], row: Any) -> str | None:
    if source.settings.private_data == "leave_out" and masked(row.content).found:
        return "private_data"
    if row.judgement_id is None:
        return None  # a lead's own prompt
    found = wrote.get(row.judgement_id)
    if found is None or found.withdrawn_at is not None:
        return "withdrawn"
    reason = permission.reason_against(found)
    return None if reason in ("conflicted", "overruled") else reason


def _judgements(conn: Connection, ids: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for at in range(0, len(ids), BATCH):
        wanted = select(judgements).where(judgements.c.id.in_(ids[at : at + BATCH]))
        found |= {row.id: row for row in conn.execute(wanted)}
    return found


def _message(source: Source, tree: Any, row: Any, children: dict[str | None, list[Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "message_id": row.id,
        "parent_id": row.parent_id,
        "user_id": source.names.of(row.person_id) if row.person_id else None,
        "created_date": iso(row.created_at),
        "text": row.content,
        "role": ROLES[row.role],
        "lang": tree.lang,
        "review_count": max((one["count"] for one in (row.labels or {}).values()), default=0),
        "review_result": True,
        "deleted": False,
        "rank": row.rank,
        "synthetic": row.model is not None,
        "model_name": row.model,
        "labels": row.labels or {},
        "events": {},
    }
    made["replies"] = [_message(source, tree, one, children) for one in children.get(row.id, ())]
    return made


def _sample(source: Source, tree: Any, row: Any) -> Sample:
    """For the card's counts."""
    return Sample(
        kind="prompt",
        record={"prompt": row.prompt},
        judgement_id=row.id,
        person_id=row.person_id,
        person=source.names.of(row.person_id),
        source=row.kind,
        judged_at=row.created_at,
        basis=row.basis or "work",
        lang=tree.lang,
    )
