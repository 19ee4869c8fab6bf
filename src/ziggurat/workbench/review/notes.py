"""Notes of the experts among themselves. No object that a customer gets has a field for them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select

from ziggurat.product.common import clean
from ziggurat.product.errors import Invalid
from ziggurat.product.principal import Principal
from ziggurat.product.rights import ACTIONS
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.people import memberships
from ziggurat.store.tables.reviews import notes
from ziggurat.workbench.review.claims import the_item
from ziggurat.workbench.review.sending import note_of

MAX_NOTE = 8_000
MAX_MENTIONS = 20


def add_note(
    store: Store, principal: Principal, item_id: str, text: str, mentions: Sequence[str] = ()
) -> str:
    """A note on an item; the people it mentions find it in their inbox. Returns its id.

    Raises:
        Invalid: the text is empty, or it mentions somebody who does not review.
    """
    told = list(dict.fromkeys(mentions))
    if len(told) > MAX_MENTIONS:
        raise Invalid(f"a note mentions at most {MAX_MENTIONS} people.", param="mentions")
    text = clean(text, "text", limit=MAX_NOTE)
    able = [role for role, level in ACTIONS["review"][1].items() if level]
    with store.write() as conn:
        item = the_item(conn, principal, item_id)
        found = select(memberships.c.person_id).where(
            memberships.c.workspace_id == principal.workspace_id,
            memberships.c.person_id.in_(told),
            memberships.c.role.in_(able),
        )
        if set(told) - set(conn.execute(found).scalars()):
            raise Invalid("mentions must name people who review.", param="mentions")
        note_id = new_id("rnote")
        row = {
            "id": note_id,
            "workspace_id": item.workspace_id,
            "item_id": item.id,
            "person_id": principal.person_id,
            "text": text,
            "mentions": told,
            "created_at": store.now(),
        }
        conn.execute(insert(notes).values(row))
        note_of(conn, store, principal, item, "note", detail={"note": note_id, "mentions": len(told)})
        return note_id
