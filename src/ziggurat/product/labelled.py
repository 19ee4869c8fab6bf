"""What deletion means for labelling: an answer that goes leaves its item open again; an item goes with its chat.

These are the steps that the rules of people and chats need; the rules of labelling stand in `workbench/labelling/`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, case, delete, func, select, update

from ziggurat.product.burial import BATCH, bury
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import answers, item_authors, items, leases, projects


def items_of_chats(conn: Connection, chat_ids: Sequence[str]) -> list[str]:
    """Ids of the items that were made from these chats."""
    return list(conn.execute(select(items.c.id).where(items.c.chat_id.in_(list(chat_ids)))).scalars())


def items_of_messages(conn: Connection, chat_id: str, message_ids: Sequence[str]) -> list[str]:
    """Ids of the items of a chat that show one of these messages."""
    gone = set(message_ids)
    rows = conn.execute(select(items.c.id, items.c.source).where(items.c.chat_id == chat_id))
    return [row.id for row in rows if gone & set(row.source.get("message_ids", ()))]


def items_written_by(conn: Connection, person_id: str) -> list[str]:
    """Ids of the items whose prompt or completion a labeller wrote."""
    wanted = select(item_authors.c.item_id).where(item_authors.c.person_id == person_id)
    return list(conn.execute(wanted).scalars())


def remove_items(conn: Connection, store: Store, workspace_id: str, item_ids: Sequence[str]) -> None:
    """Items with every answer and judgement about them."""
    for at in range(0, len(item_ids), BATCH):
        part = list(item_ids[at : at + BATCH])
        about = and_(judgements.c.subject_kind == "item", judgements.c.subject_id.in_(part))
        judged = list(conn.execute(select(judgements.c.id).where(about)).scalars())
        bury(conn, store, workspace_id, "judgement", judged)
        bury(conn, store, workspace_id, "label_item", part)
        conn.execute(delete(judgements).where(about))
        conn.execute(delete(leases).where(leases.c.subject_kind == "item", leases.c.subject_id.in_(part)))
        conn.execute(delete(items).where(items.c.id.in_(part)))


def remove_projects(conn: Connection, store: Store, workspace_id: str, project_ids: Sequence[str]) -> None:
    """Projects with all that belongs to them."""
    for project_id in project_ids:
        inside = select(items.c.id).where(items.c.project_id == project_id)
        remove_items(conn, store, workspace_id, list(conn.execute(inside).scalars()))
        conn.execute(delete(projects).where(projects.c.id == project_id))


def projects_of(conn: Connection, workspace_id: str) -> list[str]:
    return list(conn.execute(select(projects.c.id).where(projects.c.workspace_id == workspace_id)).scalars())


def remove_answers_of(conn: Connection, store: Store, person_id: str) -> None:
    """All answers of a person; items that miss one now are given out again. (Judgements go with the person.)"""
    theirs = answers.c.person_id == person_id
    touched = list(conn.execute(select(answers.c.item_id).where(theirs).distinct()).scalars())
    conn.execute(delete(answers).where(theirs))
    conn.execute(delete(leases).where(leases.c.person_id == person_id))
    count = (
        select(func.count())
        .where(answers.c.item_id == items.c.id, answers.c.status == "submitted")
        .correlate(items)
        .scalar_subquery()
    )
    reopened = and_(
        items.c.kind == "work",
        items.c.status.in_(("completed", "conflicted", "in_progress")),
        count < items.c.min_answers,
    )
    status = case((and_(reopened, count > 0), "in_progress"), (reopened, "pending"), else_=items.c.status)
    for at in range(0, len(touched), BATCH):
        part = touched[at : at + BATCH]
        conn.execute(
            update(items)
            .where(items.c.id.in_(part))
            .values(answers=count, status=status, updated_at=store.now())
        )
