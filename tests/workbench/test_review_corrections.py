"""What was delivered is looked at again: complaints are not lost, and four eyes hold for corrections and recalls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from tests.stores import Clock
from tests.workbench.reviewing import decide, drafted, house, row, seen

from ziggurat.product.errors import Conflict, Invalid
from ziggurat.store.store import Store
from ziggurat.store.tables.reviews import corrections, outbox
from ziggurat.store.tables.reviews import policies as policy_table
from ziggurat.workbench.review import (
    autonomy,
    claims,
    customer,
    deadlines,
    deciding,
    metrics,
    policies,
    seconds,
)
from ziggurat.workbench.review.intake import Draft, maybe_second, take_in


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


def test_a_complaint_begins_its_time_anew_and_an_earlier_breach_stays(store: Store, clock: Clock) -> None:
    _, ana, _, member = house(store)
    item, chat, message = drafted(store, member)
    clock.move(seconds=4 * 3_600 + 1)
    assert (deadlines.tick(store).warned, row(store, item).breached_at is None) == (1, False)
    decide(store, ana, item, "approve")
    customer.complain(store, member, chat, message, "It is wrong.")
    assert deadlines.tick(store) == deadlines.Ticked()
    assert row(store, item).breached_at is not None
    assert customer.statuses(store, member, chat)[0].expected_at is not None
    assert metrics.metrics(store, ana)["all"]["in_time"]["hits"] == 0
    clock.move(seconds=3 * 3_600 - 60)
    assert deadlines.tick(store).warned == 0
    clock.move(seconds=120)
    assert deadlines.tick(store).warned == 1
    clock.move(seconds=3_600)
    assert deadlines.tick(store).breached == 1
    assert customer.statuses(store, member, chat)[0].expected_at is None
    assert deadlines.tick(store) == deadlines.Ticked()


def test_what_an_expert_reopens_later_is_not_late(store: Store, clock: Clock) -> None:
    people = _, ana, _, _ = house(store)
    item, _, _ = delivered(store, people)
    clock.move(days=2)
    claims.reopen(store, ana, item)
    assert deadlines.tick(store) == deadlines.Ticked()
    assert metrics.metrics(store, ana)["all"]["in_time"]["hits"] == 1


def test_a_decision_out_of_its_state_is_a_conflict(store: Store) -> None:
    _, ana, _, member = house(store)
    item, _, _ = drafted(store, member)
    decide(store, ana, item, "reject", reasons=["fact"], then="regenerate")
    for kind in ("approve", "edit", "escalate"):
        with pytest.raises(Conflict) as refused:
            decide(store, ana, item, kind, claim=False, text="It is 5.", reasons=["fact"], note="Hm.")
        assert refused.value.code == "over"
    deciding.begin_draft(store, ana, item)
    with pytest.raises(Conflict) as refused:
        decide(store, ana, item, "answer", claim=False, text="It is 5.", reasons=["fact"])
    assert refused.value.code == "over"
    deciding.end_draft(store, ana, item, None, instruction=None)
    made = decide(store, ana, item, "answer", claim=False, text="It is 5.", reasons=["fact"])
    assert made.state == "delivered"
    claims.reopen(store, ana, item)
    decide(store, ana, item, "reject", claim=False, reasons=["fact"], then="regenerate")
    deciding.begin_draft(store, ana, item)
    claims.release(store, ana, item)
    assert row(store, item).state == "queued"


def test_a_draft_ends_although_its_expert_may_no_longer_review(store: Store) -> None:
    _, ana, _, member = house(store)
    item, _, _ = drafted(store, member)
    decide(store, ana, item, "reject", reasons=["fact"], then="regenerate")
    deciding.begin_draft(store, ana, item)
    deciding.end_draft(store, replace(ana, role="member"), item, "It is 4.", instruction=None)
    assert row(store, item).state == "claimed"


def test_harm_in_an_answer_that_nobody_checked_counts_by_the_day_it_was_found(
    store: Store, clock: Clock
) -> None:
    lead, ana, _, member = house(store, "policy")
    policy = policies.create_policy(store, lead, {"sample_pct": 0})
    with store.write() as conn:
        conn.execute(policy_table.update().values(mode="auto"))
    item, _, _ = drafted(store, member)
    assert row(store, item).state == "delivered"
    clock.move(days=31)
    claims.reopen(store, ana, item)
    more = {"text": "Withdrawn.", "reasons": ["fact"], "note": "Wrong.", "severe": True}
    decide(store, ana, item, "recall", claim=False, **more)
    assert autonomy.evidence(store, lead, policy.id)["severe"] == 1
    clock.move(days=31)
    assert autonomy.evidence(store, lead, policy.id)["severe"] == 0


def test_agreement_has_kappa_beside_it(store: Store) -> None:
    """First: approve, approve, reject, reject; second: approve, reject, reject, reject. Three of four are equal; by
    chance 0.5 x 0.25 + 0.5 x 0.75 = 0.5, so kappa is (0.75 - 0.5) / (1 - 0.5) = 0.5."""
    lead, ana, ben, member = house(store)
    assert metrics.metrics(store, ana)["kappa"] is None
    policies.create_policy(store, lead, {"double_pct": 100})
    wrong = {"reasons": ["fact"]}
    for first, second in (("approve",) * 2, ("approve", "reject"), ("reject",) * 2, ("reject",) * 2):
        item, _, _ = drafted(store, member)
        if first == "approve":
            decide(store, ana, item, "approve")
        else:
            decide(store, ana, item, "reject", then="withhold", **wrong)
            with store.write() as conn:
                maybe_second(conn, store, row(store, item), 100, lambda: 0.0)
        asked = seconds.next_second(store, ben)
        assert asked is not None
        given = {} if second == "approve" else wrong
        seconds.decide_second(store, ben, asked["id"], decision=second, **given)
    found = metrics.metrics(store, ana)
    assert (found["agreement"]["value"], found["kappa"]["value"]) == (0.75, pytest.approx(0.5))


def test_a_caller_who_was_answered_is_told_of_no_review(store: Store) -> None:
    _, ana, _, member = house(store)
    for origin in ({"answered": True}, {}):
        for kind, more in (("approve", {}), ("reject", {"then": "withhold", "reasons": ["policy"]})):
            with store.write() as conn:
                made = take_in(
                    conn,
                    store,
                    Draft(text="x", prompt=[{"role": "user", "content": "q"}], model="tiny"),
                    workspace_id=member.workspace_id,
                    person_id=member.person_id,
                    channel="api",
                    origin={"path": "/v1/completions", **origin},
                )
            decide(store, ana, made.id, kind, **more)
    with store.read() as conn:
        assert list(conn.execute(select(outbox.c.event).order_by(outbox.c.event)).scalars()) == [
            "review.delivered",
            "review.withheld",
        ]
