"""Consent per purpose, off by default; withdrawing is as easy as giving. A withdrawn one stays as a record."""

from __future__ import annotations

from typing import Any, get_args

from sqlalchemy import Connection, insert, select, update

from ziggurat.product.common import record, truth
from ziggurat.product.errors import Invalid
from ziggurat.product.objects import Purpose
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.people import consents as table

PURPOSES: tuple[str, ...] = get_args(Purpose)
TEXT_VERSION = 1
"""Of the wording that people agree to; raise it when that changes."""


def open_consents(conn: Connection, person_id: str) -> dict[str, Any]:
    """Purpose -> row of the consents that are given now, to the present wording."""
    rows = conn.execute(
        select(table).where(
            table.c.person_id == person_id,
            table.c.withdrawn_at.is_(None),
            table.c.text_version == TEXT_VERSION,
        )
    )
    return {row.purpose: row for row in rows}


def consents(store: Store, principal: Principal) -> dict[str, bool]:
    """Each purpose."""
    require(principal, "me")
    with store.read() as conn:
        return given_now(conn, principal.person_id)


def given_now(conn: Connection, person_id: str) -> dict[str, bool]:
    given = open_consents(conn, person_id)
    return {purpose: purpose in given for purpose in PURPOSES}


def set_consent(store: Store, principal: Principal, purpose: str, given: bool) -> dict[str, bool]:
    """Give or withdraw one."""
    require(principal, "me")
    if purpose not in PURPOSES:
        raise Invalid(f'there is no purpose "{purpose}"; there are {", ".join(PURPOSES)}.', param="purpose")
    truth(given, "given")
    with store.write() as conn:
        before = given_now(conn, principal.person_id)
        if before[purpose] != given:
            mine = (table.c.person_id == principal.person_id) & (table.c.purpose == purpose)
            conn.execute(
                update(table).where(mine, table.c.withdrawn_at.is_(None)).values(withdrawn_at=store.now())
            )
            if given:
                conn.execute(
                    insert(table).values(
                        id=new_id("consent"),
                        workspace_id=principal.workspace_id,
                        person_id=principal.person_id,
                        purpose=purpose,
                        text_version=TEXT_VERSION,
                        given_at=store.now(),
                    )
                )
            detail = {"purpose": purpose, "given": given}
            record(
                conn, store, principal, "consent", kind="person", object_id=principal.person_id, detail=detail
            )
        return given_now(conn, principal.person_id)
