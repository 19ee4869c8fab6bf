"""What was delivered is looked at again: complaints are not lost, and four eyes hold for corrections and recalls."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from tests.stores import Clock
from tests.workbench.reviewing import decide, drafted, house, row, seen

from ziggurat.product.errors import Conflict, Invalid
from ziggurat.store.store import Store
from ziggurat.store.tables.reviews import corrections
from ziggurat.workbench.review import claims, customer, deadlines, deciding, policies


def sent(store: Store) -> list[tuple[str, str]]:
    with store.read() as conn:
        found = select(corrections.c.kind, corrections.c.note).order_by(corrections.c.created_at)
        return [(one.kind, one.note) for one in conn.execute(found)]


def delivered(store: Store, people: Any, *, four_eyes: bool = False) -> tuple[str, str, str]:
    lead, ana, ben, member = people
    if four_eyes:
        policies.create_policy(store, lead, {"four_eyes": True})
    item, chat, message = drafted(store, member)
    decide(store, ana, item, "approve")
    if four_eyes:
        decide(store, ben, item, "approve")
    assert row(store, item).state == "delivered"
    return item, chat, message


@pytest.mark.parametrize("kind", ["recall", "edit"])
def test_under_four_eyes_one_person_neither_recalls_nor_corrects(store: Store, kind: str) -> None:
    people = _, ana, ben, member = house(store)
    item, chat, message = delivered(store, people, four_eyes=True)
    claims.reopen(store, ana, item)
    more = {"text": "We withdraw this.", "reasons": ["fact"], "note": "It was wrong."}
    assert decide(store, ana, item, kind, claim=False, **more).state == "edited"
    assert seen(store, member, chat, message).content == "It is 3."
    with pytest.raises(Conflict) as refused:
        claims.claim(store, ana, item)
    assert refused.value.code == "four_eyes"
    claims.claim(store, ben, item)
    claims.release(store, ben, item)
    assert row(store, item).state == "edited", "it waits for a second person as before"
    assert decide(store, ben, item, "approve").state == "delivered"
    assert seen(store, member, chat, message).content == "We withdraw this."
    assert sent(store) == [("recall" if kind == "recall" else "correct", "It was wrong.")]


def test_a_correction_by_the_model_has_a_note_too(store: Store) -> None:
    people = _, ana, _, member = house(store)
    item, chat, message = delivered(store, people)
    claims.reopen(store, ana, item)
    decide(store, ana, item, "reject", claim=False, reasons=["fact"], then="regenerate")
    deciding.begin_draft(store, ana, item)
    deciding.end_draft(store, ana, item, "It is 4.", instruction=None)
    with pytest.raises(Invalid) as refused:
        decide(store, ana, item, "approve", claim=False)
    assert refused.value.code == "no_note"
    decide(store, ana, item, "approve", claim=False, note="It is four.")
    assert seen(store, member, chat, message).content == "It is 4."
    assert sent(store) == [("correct", "It is four.")]


@pytest.mark.parametrize("expires", [False, True])
def test_an_escalated_complaint_is_not_closed_in_silence(store: Store, clock: Clock, expires: bool) -> None:
    people = _, ana, ben, member = house(store)
    item, chat, message = delivered(store, people)
    customer.complain(store, member, chat, message, "It is wrong.")
    decide(store, ana, item, "escalate", note="A lawyer should look.", to=ben.person_id)
    claims.claim(store, ben, item)
    if expires:
        clock.move(seconds=601)
        deadlines.tick(store)
    else:
        claims.release(store, ben, item)
    assert (row(store, item).state, row(store, item).reopened) == ("escalated", True)
    assert decide(store, ben, item, "approve").state == "delivered"
    claims.reopen(store, ana, item)
    claims.release(store, ana, item)
    assert row(store, item).state == "delivered", "the approval has answered the complaint"


def test_a_reopened_item_whose_lease_is_over_is_delivered_as_before(store: Store, clock: Clock) -> None:
    people = _, ana, _, _ = house(store)
    item, _, _ = delivered(store, people)
    claims.reopen(store, ana, item)
    clock.move(seconds=601)
    deadlines.tick(store)
    assert (row(store, item).state, row(store, item).reopened) == ("delivered", False)


def test_a_complaint_waits_again_when_its_claim_ends(store: Store, clock: Clock) -> None:
    people = _, ana, _, member = house(store)
    item, chat, message = delivered(store, people)
    customer.complain(store, member, chat, message, "It is wrong.")
    claims.claim(store, ana, item)
    clock.move(seconds=601)
    deadlines.tick(store)
    assert (row(store, item).state, row(store, item).reopened) == ("queued", True)
