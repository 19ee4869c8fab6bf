"""Items that a lead gives to certain people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ziggurat.product.common import row_of
from ziggurat.product.errors import Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import answers, assignments, item_authors, items
from ziggurat.store.tables.labelling import leases as held
from ziggurat.workbench.labelling import leases
from ziggurat.workbench.labelling.items import settle
from ziggurat.workbench.labelling.members import let_in, record_of
from ziggurat.workbench.labelling.rows import project_row


def assign(
    store: Store, principal: Principal, project_id: str, *, item_ids: Sequence[str], person_ids: Sequence[str]
) -> int:
    """Give items to people. Each gets a slot of its own: an item with too few asks for more answers. Returns how many
    new pairs of item and person there are; one that a person wrote or answered is left out."""
    for name, given in (("items", item_ids), ("people", person_ids)):
        if isinstance(given, str) or not given or len(given) > 1_000:
            raise Invalid(f"{name} must be a list of 1 to 1,000 ids.", param=name)
    made = 0
    with store.write() as conn:
        project = project_row(conn, principal, project_id, "project.write")
        for person_id in person_ids:
            let_in(conn, store, principal, project, person_id)
        for item_id in item_ids:
            row = row_of(conn, items, item_id)
            if row is None or row.project_id != project_id or row.kind != "work":
                raise NotFound(f"there is no item {item_id} to assign in this project.")
            made += sum(_assign(conn, store, principal, row, person_id) for person_id in person_ids)
            _room_for_assigned(conn, store, item_id)
        record_of(conn, store, principal, "item.assign", project_id, "", items=len(item_ids), pairs=made)
    return made


def _assign(conn: Connection, store: Store, principal: Principal, item: Any, person_id: str) -> bool:
    for table in (answers, item_authors, assignments):
        done = select(table.c.item_id).where(table.c.item_id == item.id, table.c.person_id == person_id)
        if conn.execute(done.limit(1)).first():
            return False
    row = {
        "id": new_id("assignment"),
        "workspace_id": item.workspace_id,
        "project_id": item.project_id,
        "item_id": item.id,
        "person_id": person_id,
        "assigned_by": principal.person_id,
        "created_at": store.now(),
    }
    conn.execute(insert(assignments).values(row))
    return True


def _room_for_assigned(conn: Connection, store: Store, item_id: str) -> None:
    row = row_of(conn, items, item_id)
    waiting = conn.execute(
        select(func.count())
        .select_from(assignments)
        .where(assignments.c.item_id == item_id, assignments.c.done_at.is_(None))
    ).scalar_one()
    assigned = select(assignments.c.person_id).where(
        assignments.c.item_id == item_id, assignments.c.done_at.is_(None)
    )
    others = conn.execute(
        select(func.count())
        .select_from(held)
        .where(
            held.c.subject_kind == leases.KIND,
            held.c.subject_id == item_id,
            held.c.expires_at > store.now(),
            held.c.person_id.not_in(assigned),
        )
    ).scalar_one()
    needed = row.answers + waiting + others
    if needed > row.min_answers:
        conn.execute(update(items).where(items.c.id == item_id).values(min_answers=needed))
        settle(conn, store, item_id)
