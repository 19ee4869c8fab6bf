"""A labeller's own settings: languages, categories to leave out, blur, reminders to rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggurat.product.common import known, truth, whole
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import habits
from ziggurat.workbench.labelling.members import names_of
from ziggurat.workbench.labelling.objects import Habits


def habits_row(conn: Connection, person_id: str) -> Habits:
    row = conn.execute(select(habits).where(habits.c.person_id == person_id)).first()
    if row is None:
        return Habits()
    return Habits(langs=row.langs, opt_out=row.opt_out, blur=row.blur, break_minutes=row.break_minutes)


def get_habits(store: Store, principal: Principal) -> Habits:
    """My own settings for labelling."""
    require(principal, "label")
    with store.read() as conn:
        return habits_row(conn, principal.person_id)


def change_habits(store: Store, principal: Principal, changes: Mapping[str, Any]) -> Habits:
    """Languages that I read, categories that I do not want to see, blur, and minutes between two reminders to rest."""
    require(principal, "label")
    given = known(changes, tuple(Habits.model_fields))
    for name in ("langs", "opt_out"):
        if name in given:
            given[name] = [one[:16] for one in names_of(given[name])]
    if "blur" in given:
        truth(given["blur"], "blur")
    if "break_minutes" in given:
        whole(given["break_minutes"], "break_minutes", 0, 600)
    with store.write() as conn:
        values = habits_row(conn, principal.person_id).model_dump() | given
        mine = habits.c.person_id == principal.person_id
        if conn.execute(update(habits).where(mine).values(values)).rowcount == 0:
            row = {"person_id": principal.person_id, "workspace_id": principal.workspace_id, **values}
            conn.execute(insert(habits).values(row))
        return habits_row(conn, principal.person_id)
