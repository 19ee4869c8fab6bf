"""Guidelines: Markdown in the languages of the page, versioned; a change can ask every labeller for a confirmation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ziggurat.product.common import clean, record, truth
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import guideline_acks, guideline_versions, projects
from ziggurat.workbench.labelling.objects import Guideline
from ziggurat.workbench.labelling.rows import newest_guideline, project_row, seen_project

MAX_GUIDELINES = 100_000
"""Characters of one language."""
LANGS = ("en", "zh")


def write_guidelines(
    store: Store,
    principal: Principal,
    project_id: str,
    *,
    texts: Mapping[str, str],
    note: str = "",
    acknowledge: bool = True,
) -> Guideline:
    """A new version. `note` says what changed; `acknowledge`: labellers confirm it before their next item.

    Raises:
        Invalid: no text, or one of a language that the page does not have.
        Conflict: the texts are those of the present version.
    """
    found = _texts(texts)
    note = clean(note, "note", limit=2_000, empty=True)
    truth(acknowledge, "acknowledge")
    with store.write() as conn:
        project = project_row(conn, principal, project_id, "project.write")
        present = newest_guideline(conn, project)
        if present is not None and present.texts == found:
            raise Conflict("these are the guidelines already; change the text first.", code="unchanged")
        n = project.guideline + 1
        row_id = add_version(
            conn, store, principal, project_id, n, texts=found, note=note, acknowledge=acknowledge
        )
        record(
            conn,
            store,
            principal,
            "guideline.write",
            kind="label_project",
            object_id=project_id,
            detail={"n": n, "acknowledge": acknowledge},
        )
        return _view(conn, row_id, principal.person_id)


def add_version(
    conn: Connection,
    store: Store,
    principal: Principal,
    project_id: str,
    n: int,
    *,
    texts: Mapping[Any, str],
    note: str,
    acknowledge: bool,
) -> str:
    row = {
        "id": new_id("guideline"),
        "workspace_id": principal.workspace_id,
        "project_id": project_id,
        "n": n,
        "texts": dict(texts),
        "note": note,
        "acknowledge": acknowledge,
        "created_by": principal.person_id,
        "created_at": store.now(),
    }
    conn.execute(insert(guideline_versions).values(row))
    conn.execute(
        update(projects).where(projects.c.id == project_id).values(guideline=n, updated_at=store.now())
    )
    return str(row["id"])


def guidelines(store: Store, principal: Principal, project_id: str) -> list[Guideline]:
    """All versions, the newest first, for whoever may label there."""
    with store.read() as conn:
        seen_project(conn, principal, project_id)
        theirs = guideline_versions.c.project_id == project_id
        return _views(conn, theirs, principal.person_id)


def acknowledge(store: Store, principal: Principal, project_id: str, n: int) -> Guideline:
    """Confirm that the version was read.

    Raises:
        NotFound: there is no such version.
    """
    with store.write() as conn:
        seen_project(conn, principal, project_id)
        found = conn.execute(
            select(guideline_versions.c.id).where(
                guideline_versions.c.project_id == project_id, guideline_versions.c.n == n
            )
        ).scalar()
        if found is None:
            raise NotFound("there is no such version of the guidelines.")
        make = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
        row = {
            "guideline_id": found,
            "person_id": principal.person_id,
            "workspace_id": principal.workspace_id,
            "created_at": store.now(),
        }
        conn.execute(make(guideline_acks).values(row).on_conflict_do_nothing())
        return _view(conn, found, principal.person_id)


def to_acknowledge(conn: Connection, project_id: str, person_id: str) -> Any:
    """The newest version that asks for a confirmation, if the person has confirmed neither it nor a later one."""
    newest = conn.execute(
        select(guideline_versions)
        .where(guideline_versions.c.project_id == project_id, guideline_versions.c.acknowledge)
        .order_by(guideline_versions.c.n.desc())
        .limit(1)
    ).first()
    if newest is None:
        return None
    confirmed = conn.execute(
        select(guideline_versions.c.n)
        .join(guideline_acks, guideline_acks.c.guideline_id == guideline_versions.c.id)
        .where(
            guideline_versions.c.project_id == project_id,
            guideline_acks.c.person_id == person_id,
            guideline_versions.c.n >= newest.n,
        )
    ).first()
    return None if confirmed else newest


def _texts(texts: Any) -> dict[str, str]:
    if not isinstance(texts, Mapping) or not texts or set(texts) - set(LANGS):
        raise Invalid("texts must be an object with a text in en, in zh or in both.", param="texts")
    found = {
        lang: clean(text, f"texts.{lang}", limit=MAX_GUIDELINES, empty=True)
        for lang, text in texts.items()
        if text
    }
    if not any(text.strip() for text in found.values()):
        raise Invalid("texts is empty; write the guidelines in one language at least.", param="texts")
    return found


def _view(conn: Connection, row_id: str, person_id: str) -> Guideline:
    return _views(conn, guideline_versions.c.id == row_id, person_id)[0]


def _views(conn: Connection, condition: Any, person_id: str) -> list[Guideline]:
    """The newest first, each with whether the person has confirmed it."""
    mine = (guideline_acks.c.guideline_id == guideline_versions.c.id) & (
        guideline_acks.c.person_id == person_id
    )
    wanted = select(guideline_versions, guideline_acks.c.created_at.label("read_at"))
    wanted = wanted.outerjoin(guideline_acks, mine).where(condition)
    return [
        Guideline(
            id=row.id,
            n=row.n,
            texts=row.texts,
            note=row.note,
            acknowledge=row.acknowledge,
            created_at=iso(row.created_at),
            acknowledged=row.read_at is not None,
        )
        for row in conn.execute(wanted.order_by(guideline_versions.c.n.desc()))
    ]
