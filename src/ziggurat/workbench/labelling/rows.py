"""Rows of labelling, by right: what a lead may touch, what a labeller may see, and how rows become objects.

A project belongs to the workspace. `project.read` and `project.write` are the leads' rights; `label` is the labellers'.
Of a closed or archived project a labeller sees nothing new.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, exists, or_, select

from ziggurat.product.common import row_of
from ziggurat.product.errors import Conflict, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import can, require, require_on
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.tables.chats import chats
from ziggurat.store.tables.labelling import (
    answers,
    guideline_versions,
    items,
    members,
    project_versions,
    projects,
)
from ziggurat.workbench.labelling.objects import Answer, Item, Project, ProjectSettings

DEFAULTS = ProjectSettings().model_dump()


def project_row(conn: Connection, principal: Principal, project_id: str, action: str = "project.read") -> Any:
    """A project of the workspace, for a lead.

    Raises:
        Forbidden: the role may not do this.
        NotFound: there is none.
    """
    return require_on(principal, action, "project", row_of(conn, projects, project_id))


def open_project(conn: Connection, principal: Principal, project_id: str) -> Any:
    """A project that the labeller may work in now.

    Raises:
        NotFound: there is none, or it is for members only.
        Conflict: it is paused or closed.
    """
    row = seen_project(conn, principal, project_id)
    if row.status != "open":
        raise Conflict(f"the project is {row.status}; ask its lead.", code="project_closed")
    return row


def seen_project(conn: Connection, principal: Principal, project_id: str) -> Any:
    """A project that the labeller may see.

    Raises:
        NotFound: there is none, or it is for members only and the person is none.
    """
    row = require_on(principal, "label", "project", row_of(conn, projects, project_id))
    closed = (DEFAULTS | row.settings)["open_to"] == "members"
    if (
        closed
        and not can(principal, "project.read")
        and member_row(conn, row.id, principal.person_id) is None
    ):
        raise NotFound("there is no such project.")
    return row


def member_row(conn: Connection, project_id: str, person_id: str) -> Any:
    found = select(members).where(members.c.project_id == project_id, members.c.person_id == person_id)
    return conn.execute(found).first()


def item_row(conn: Connection, project: Any, item_id: str) -> Any:
    """An item of this project.

    Raises:
        NotFound: there is none.
    """
    row = row_of(conn, items, item_id)
    if row is None or row.project_id != project.id:
        raise NotFound("there is no such item.")
    return row


def lead_item(conn: Connection, principal: Principal, item_id: str, action: str = "project.read") -> Any:
    """An item of the workspace, for a lead."""
    return require_on(principal, action, "item", row_of(conn, items, item_id))


def usable_chat() -> Any:
    """The condition of an item that comes from no chat, or from one that is not in the trash and may be used."""
    usable = exists().where(chats.c.id == items.c.chat_id, chats.c.data_use, chats.c.deleted_at.is_(None))
    return or_(items.c.chat_id.is_(None), usable)


def require_usable(conn: Connection, item: Any) -> None:
    """Raises NotFound where the item's chat may not be used any more."""
    usable = select(items.c.id).where(items.c.id == item.id, usable_chat())
    if conn.execute(usable).first() is None:
        raise NotFound("the chat that this item comes from may not be used any more; take the next item.")


def settings_of(project: Any) -> ProjectSettings:
    return ProjectSettings.model_validate(DEFAULTS | project.settings)


def version_row(conn: Connection, project_id: str, n: int) -> Any:
    found = select(project_versions).where(
        project_versions.c.project_id == project_id, project_versions.c.n == n
    )
    return conn.execute(found).one()


def newest_guideline(conn: Connection, project: Any) -> Any:
    """The row, or None where the project has no guidelines yet."""
    found = select(guideline_versions).where(
        guideline_versions.c.project_id == project.id, guideline_versions.c.n == project.guideline
    )
    return conn.execute(found).first()


def may_lead(principal: Principal) -> bool:
    return can(principal, "project.write")


def require_label(principal: Principal) -> None:
    require(principal, "label")


def project_view(row: Any, questions: dict[str, Any]) -> Project:
    return Project(
        id=row.id,
        name=row.name,
        description=row.description,
        status=row.status,
        task=row.task,
        settings=DEFAULTS | row.settings,
        questions=questions,
        version=row.version,
        guideline=row.guideline,
        created_at=iso(row.created_at),
        updated_at=iso(row.updated_at),
    )


def item_view(row: Any) -> Item:
    values = dict(row._mapping) | {
        "created_at": iso(row.created_at),
        "completed_at": iso_or_none(row.completed_at),
    }
    return Item(**{name: values[name] for name in Item.model_fields})


def answer_view(row: Any, value: dict[str, Any], version: int, guideline: int | None) -> Answer:
    values = dict(row._mapping) | {
        "created_at": iso(row.created_at),
        "value": value,
        "version": version,
        "guideline": guideline,
    }
    return Answer(**{name: values[name] for name in Answer.model_fields})


def submitted(item_id: str) -> Any:
    """The condition of an item's answers that count."""
    return (answers.c.item_id == item_id) & (answers.c.status == "submitted")
