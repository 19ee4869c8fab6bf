"""Answers that a rule of the guard holds, in the same queue: one line, whatever brought an answer there.

The list of held answers (`product.held`) keeps what the rule saw. An answer of a chat is released or refused by the
decision on its item, from either page. A caller of the API has got the guard's text at once; its item is there to judge
the rule, and nothing is delivered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.product import held
from ziggurat.product.objects import HeldAnswer
from ziggurat.product.people import the_workspace
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.guard import held_answers
from ziggurat.store.tables.reviews import items
from ziggurat.workbench.review.claims import claim
from ziggurat.workbench.review.deciding import Choice, decide
from ziggurat.workbench.review.intake import Draft, take_in


def of_message(conn: Connection, message_id: str) -> str | None:
    """The held answer that was kept for a message just now."""
    found = select(held_answers.c.id).where(held_answers.c.message_id == message_id)
    return conn.execute(found.order_by(held_answers.c.id.desc()).limit(1)).scalar()


def hold_call(
    store: Store,
    *,
    prompt: str,
    text: str,
    rule_id: str | None,
    stage: str,
    person_id: str | None,
    origin: Mapping[str, Any],
) -> None:
    """Keep a held answer of the API, and put it in the line."""
    fields = {"prompt": prompt, "text": text, "rule_id": rule_id, "stage": stage}
    with store.write() as conn:
        home = the_workspace(conn, store)
        held_id = held.insert_held(
            conn,
            store,
            fields,
            workspace_id=home,
            chat_id=None,
            message_id=None,
            person_id=person_id,
            origin=origin,
        )
        draft = Draft(
            text=text,
            prompt=[{"role": "user", "content": prompt}],
            model=origin.get("model"),
            signals={"guard": {"rule": rule_id, "stage": stage}},
        )
        take_in(
            conn,
            store,
            draft,
            workspace_id=home,
            person_id=person_id,
            channel="api",
            origin={**origin, "answered": True},
            held_id=held_id,
        )


def decide_held(store: Store, principal: Principal, held_id: str, decision: str) -> HeldAnswer:
    """Release or refuse from the list of held answers: the decision on the item, claimed for it.

    Raises:
        Conflict: somebody has decided, or works on the item now.
    """
    with store.read() as conn:
        item = conn.execute(select(items).where(items.c.held_id == held_id)).first()
        row = conn.execute(select(held_answers).where(held_answers.c.id == held_id)).first()
    if item is None or row is None or row.decision is not None or decision not in ("release", "refuse"):
        return held.decide(store, principal, held_id, decision)  # type: ignore[arg-type]
    claim(store, principal, item.id)
    with store.read() as conn:
        version = conn.execute(select(items.c.version).where(items.c.id == item.id)).scalar_one()
    choice = (
        Choice(decision="approve", version=version)
        if decision == "release"
        else Choice(decision="reject", version=version, reasons=["policy"], then="withhold")
    )
    decide(store, principal, item.id, choice)
    with store.read() as conn:
        done = conn.execute(select(held_answers).where(held_answers.c.id == held_id)).one()
    return held.held_view(done)
