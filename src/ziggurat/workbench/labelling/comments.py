"""Comments on an item or a project, questions to the lead, and whom they mention.

A comment on an item may say what somebody answered. So a labeller sees of an item only the own comments and those that
mention the person, as a lead's answer does; leads see all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, exists, func, insert, or_, select, update

from ziggurat.product.common import clean, record, row_of
from ziggurat.product.errors import Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import ACTIONS, can, require
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import answers, comments, drafts, items, members, mentions, projects
from ziggurat.store.tables.people import memberships, people
from ziggurat.workbench.labelling.objects import Comment
from ziggurat.workbench.labelling.rows import seen_project

MAX_COMMENT = 8_000
MAX_SHOWN = 200


def comment(
    store: Store,
    principal: Principal,
    project_id: str,
    *,
    text: str,
    item_id: str | None = None,
    question: bool = False,
    mention: Sequence[str] = (),
) -> Comment:
    """Write one. `question`: to the lead, whose list of open questions it joins. `mention`: ids of people.

    Raises:
        NotFound: there is no such item, or the person may not see it.
    """
    text = clean(text, "text", limit=MAX_COMMENT)
    if isinstance(mention, str) or len(mention) > 20:
        raise Invalid("mention must be a list of at most 20 ids of people.", param="mention")
    with store.write() as conn:
        project = seen_project(conn, principal, project_id)
        if item_id is not None:
            _require_item(conn, principal, project_id, item_id)
        row = {
            "id": new_id("comment"),
            "workspace_id": project.workspace_id,
            "project_id": project_id,
            "item_id": item_id,
            "person_id": principal.person_id,
            "text": text,
            "question": bool(question),
            "created_at": store.now(),
        }
        conn.execute(insert(comments).values(row))
        here = select(memberships.c.person_id).where(
            memberships.c.workspace_id == principal.workspace_id, memberships.c.person_id.in_(list(mention))
        )
        named = [{"comment_id": row["id"], "person_id": one} for one in conn.execute(here).scalars()]
        if named:
            conn.execute(insert(mentions), named)
        return _views(conn, comments.c.id == row["id"])[0]


def list_comments(
    store: Store,
    principal: Principal,
    project_id: str,
    *,
    item_id: str | None = None,
    open_only: bool = False,
) -> list[Comment]:
    """The last ones of an item, or (a lead) of the project with all its items; oldest first. A labeller sees what
    belongs to no item, and of items what is for that person. `open_only`: questions that nobody has resolved."""
    with store.read() as conn:
        seen_project(conn, principal, project_id)
        wanted = comments.c.project_id == project_id
        if item_id is not None:
            _require_item(conn, principal, project_id, item_id)
            wanted &= comments.c.item_id == item_id
        if not can(principal, "project.read"):
            wanted &= or_(comments.c.item_id.is_(None), _for_person(principal))
        if open_only:
            wanted &= comments.c.question & comments.c.resolved_at.is_(None)
        return _views(conn, wanted)


def _for_person(principal: Principal) -> Any:
    """Comments on items that a labeller sees. An answer of a lead mentions whoever asked."""
    named = exists().where(
        mentions.c.comment_id == comments.c.id, mentions.c.person_id == principal.person_id
    )
    return or_(comments.c.person_id == principal.person_id, named)


def my_mentions(store: Store, principal: Principal) -> list[Comment]:
    """Comments that mention me and that I have not seen."""
    require(principal, "label")
    with store.read() as conn:
        mine = exists().where(
            mentions.c.comment_id == comments.c.id,
            mentions.c.person_id == principal.person_id,
            mentions.c.seen_at.is_(None),
        )
        return _views(conn, mine & (comments.c.workspace_id == principal.workspace_id))


def see_mentions(store: Store, principal: Principal, comment_ids: Sequence[str]) -> None:
    """Mark mentions as seen."""
    require(principal, "label")
    with store.write() as conn:
        conn.execute(
            update(mentions)
            .where(
                mentions.c.person_id == principal.person_id,
                mentions.c.comment_id.in_(list(comment_ids)[:MAX_SHOWN]),
            )
            .values(seen_at=store.now())
        )


def resolve(store: Store, principal: Principal, comment_id: str, *, resolved: bool = True) -> Comment:
    """A question is answered: its author or a lead says so."""
    require(principal, "label")
    with store.write() as conn:
        row = row_of(conn, comments, comment_id)
        theirs = row is not None and row.workspace_id == principal.workspace_id
        if not theirs or not (row.person_id == principal.person_id or can(principal, "project.write")):
            raise NotFound("there is no such comment.")
        at = store.now() if resolved else None
        conn.execute(update(comments).where(comments.c.id == comment_id).values(resolved_at=at))
        record(conn, store, principal, "comment.resolve", kind="label_comment", object_id=comment_id)
        return _views(conn, comments.c.id == comment_id)[0]


def mentionable(store: Store, principal: Principal, project_id: str) -> list[dict[str, str]]:
    """People of a project and its leads, by name: `[{id, name}]`."""
    leads = [role for role, level in ACTIONS["project.write"][1].items() if level]
    with store.read() as conn:
        project = seen_project(conn, principal, project_id)
        works = exists().where(members.c.project_id == project_id, members.c.person_id == people.c.id)
        rows = conn.execute(
            select(people.c.id, people.c.name)
            .join(memberships, memberships.c.person_id == people.c.id)
            .where(
                memberships.c.workspace_id == project.workspace_id,
                people.c.status == "active",
                people.c.name != "",
                or_(works, memberships.c.role.in_(leads)),
            )
            .order_by(people.c.name, people.c.id)
        )
        return [{"id": row.id, "name": row.name} for row in rows]


def counts(conn: Connection, item_ids: Sequence[str]) -> Mapping[str, int]:
    """Number of comments by item."""
    found = conn.execute(
        select(comments.c.item_id, func.count())
        .where(comments.c.item_id.in_(list(item_ids)))
        .group_by(comments.c.item_id)
    )
    return {row[0]: row[1] for row in found}


def _require_item(conn: Connection, principal: Principal, project_id: str, item_id: str) -> None:
    item = row_of(conn, items, item_id)
    if item is not None and item.project_id == project_id:
        if can(principal, "project.read"):
            return
        for table in (drafts, answers):
            mine = select(table.c.item_id).where(
                table.c.item_id == item_id, table.c.person_id == principal.person_id
            )
            if conn.execute(mine.limit(1)).first():
                return
    raise NotFound("there is no such item.")


def _views(conn: Connection, condition: Any) -> list[Comment]:
    wanted = (
        select(comments, people.c.name.label("name"))
        .join(people, people.c.id == comments.c.person_id)
        .join(projects, projects.c.id == comments.c.project_id)
        .where(condition)
    )
    rows = conn.execute(wanted.order_by(comments.c.id.desc()).limit(MAX_SHOWN)).all()[::-1]
    ids = [row.id for row in rows]
    named: dict[str, list[str]] = {}
    for comment_id, person_id in conn.execute(
        select(mentions.c.comment_id, mentions.c.person_id).where(mentions.c.comment_id.in_(ids))
    ):
        named.setdefault(comment_id, []).append(person_id)
    return [
        Comment(
            id=row.id,
            project_id=row.project_id,
            item_id=row.item_id,
            person_id=row.person_id,
            name=row.name,
            text=row.text,
            question=row.question,
            mentions=named.get(row.id, []),
            resolved_at=iso_or_none(row.resolved_at),
            created_at=iso(row.created_at),
        )
        for row in rows
    ]
