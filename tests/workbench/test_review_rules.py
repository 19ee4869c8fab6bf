"""Expert review: nothing leaves without a decision, one person decides at a time, each decision does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DatabaseError
from tests.stores import Clock, Databases
from tests.workbench.reviewing import came_in, decide, drafted, house, row, seen, set_mode

from ziggurat.product import chats, deletion, turns
from ziggurat.product.errors import Conflict, Forbidden, Invalid, NotFound
from ziggurat.product.rights import ACTIONS
from ziggurat.store import backup, review_guards
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import messages
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.people import memberships
from ziggurat.store.tables.reviews import claims as claim_table
from ziggurat.store.tables.reviews import corrections, decisions, deliveries, items, versions
from ziggurat.workbench.review import card, claims, customer, deciding, policies
from ziggurat.workbench.review.deciding import Choice


def judged(store: Store) -> list[Any]:
    with store.read() as conn:
        found = select(judgements).where(judgements.c.kind == "decision").order_by(judgements.c.id)
        return list(conn.execute(found).all())


def test_an_approved_draft_reaches_the_customer_and_nothing_does_before(store: Store) -> None:
    _, ana, _, member = house(store)
    item, chat, message = drafted(store, member, data_use=True)
    held = seen(store, member, chat, message)
    assert (held.state, held.content) == ("held", "")
    assert customer.statuses(store, member, chat)[0].state == "waiting"
    made = decide(store, ana, item, "approve")
    assert made.state == "delivered"
    got = seen(store, member, chat, message)
    assert (got.state, got.content, got.guard) == (
        "complete",
        "It is 3.",
        {"layer": "person", "action": "hold", "rule": None, "category": None},
    )
    status = customer.statuses(store, member, chat)[0]
    assert (status.state, status.by_person, status.corrected) == ("delivered", True, None)
    (said,) = judged(store)
    assert said.value["decision"] == "approve"
    assert said.value["text"] == "It is 3."
    assert (said.subject_kind, said.basis, said.data_use) == ("review", "work", True)
    assert said.completions[0]["content"] == "It is 3."
    assert said.prompt == [{"role": "user", "content": "How much?"}]


def test_an_edit_delivers_the_edited_text_and_keeps_the_draft(store: Store) -> None:
    _, ana, _, member = house(store)
    item, chat, message = drafted(store, member, draft="The colour is red.")
    with pytest.raises(Invalid, match="reason"):
        decide(store, ana, item, "edit", text="The color is red.")
    with pytest.raises(Invalid, match="draft itself"):
        decide(store, ana, item, "edit", text="The colour is red. ", reasons=["tone"])
    decide(store, ana, item, "edit", text="The color is red.", reasons=["tone"])
    assert seen(store, member, chat, message).content == "The color is red."
    with store.read() as conn:
        assert list(conn.execute(select(versions.c.text).order_by(versions.c.n)).scalars()) == [
            "The colour is red.",
            "The color is red.",
        ]
        made = conn.execute(select(decisions)).one()
    assert made.changed == 1
    assert made.distance == pytest.approx(1 / 18, abs=1e-4)  # one letter of eighteen
    (said,) = judged(store)
    assert (said.value["decision"], said.value["text"], said.value["reasons"]) == (
        "edit",
        "The color is red.",
        ["tone"],
    )
    assert said.completions[0]["content"] == "The colour is red."


def test_a_rejected_draft_is_written_again_by_an_instruction(store: Store) -> None:
    _, ana, _, member = house(store)
    item, chat, message = drafted(store, member)
    made = decide(store, ana, item, "reject", reasons=["fact"], then="regenerate", instruction="Say 4.")
    assert (made.state, made.regenerate) == ("rejected", True)
    deciding.begin_draft(store, ana, item)
    assert row(store, item).state == "drafting"
    deciding.end_draft(store, ana, item, "It is 4.", instruction="Say 4.")
    shown = card.card(store, ana, item)
    assert shown.mine
    assert [(one.text, one.instruction) for one in shown.versions] == [
        ("It is 3.", None),
        ("It is 4.", "Say 4."),
    ]
    decide(store, ana, item, "approve", claim=False)
    assert seen(store, member, chat, message).content == "It is 4."
    assert [one.value["decision"] for one in judged(store)] == ["reject", "approve"]
    assert judged(store)[0].value["instruction"] == "Say 4."
    assert all(one.superseded_by is None for one in judged(store)), "two drafts, two judgements"


def test_an_own_answer_a_template_and_withholding(store: Store) -> None:
    _, ana, _, member = house(store)
    item, chat, message = drafted(store, member)
    decide(store, ana, item, "answer", text="Ask at the desk.", reasons=["policy"])
    assert seen(store, member, chat, message).content == "Ask at the desk."
    item, chat, message = drafted(store, member)
    decide(store, ana, item, "decline", template="cannot", reasons=["policy"])
    assert seen(store, member, chat, message).content.startswith("We cannot answer")
    item, chat, message = drafted(store, member)
    assert decide(store, ana, item, "reject", reasons=["fact"], then="withhold").state == "withheld"
    gone = seen(store, member, chat, message)
    assert (gone.state, gone.content, gone.finish_reason) == ("complete", "", "content_filter")
    assert customer.statuses(store, member, chat)[0].state == "withheld"
    assert [one.value["decision"] for one in judged(store)] == ["answer", "reject", "reject"]
    assert "text" not in judged(store)[1].value


def test_one_person_holds_an_item_until_the_lease_is_over(store: Store, clock: Clock) -> None:
    lead, ana, ben, member = house(store)
    item, _, _ = drafted(store, member)
    claims.claim(store, ana, item)
    with pytest.raises(Conflict, match="somebody else") as refused:
        claims.claim(store, ben, item)
    assert refused.value.code == "claimed"
    with pytest.raises(Conflict, match="claim it first"):
        decide(store, ben, item, "approve", claim=False)
    clock.move(seconds=500)
    claims.look(store, ana, item, active=True)
    clock.move(seconds=500)
    decide_later = Choice(decision="approve", version=row(store, item).version)
    with pytest.raises(Conflict):
        claims.claim(store, ben, item)
    clock.move(seconds=101)
    claims.claim(store, ben, item)
    with pytest.raises(Conflict, match="claim it first"):
        deciding.decide(store, ana, item, decide_later)
    claims.take_over(store, lead, item)
    shown = card.card(store, lead, item)
    assert shown.mine
    assert [one.name for one in shown.notes[-1].mentions] == ["Ben"]
    with pytest.raises(Forbidden):
        claims.take_over(store, ana, item)
    claims.release(store, lead, item)
    assert row(store, item).state == "queued"


def test_a_stale_page_cannot_decide(store: Store) -> None:
    _, ana, _, member = house(store)
    item, _, _ = drafted(store, member)
    claims.claim(store, ana, item)
    old = row(store, item).version
    claims.release(store, ana, item)
    claims.claim(store, ana, item)
    with pytest.raises(Conflict) as refused:
        deciding.decide(store, ana, item, Choice(decision="approve", version=old))
    assert refused.value.code == "stale"


def test_four_eyes_need_two_people_and_an_author_does_not_approve(store: Store) -> None:
    lead, ana, ben, member = house(store)
    policies.create_policy(store, lead, {"four_eyes": True, "risk": 3})
    item, chat, message = drafted(store, member)
    assert decide(store, ana, item, "approve").state == "approved"
    assert seen(store, member, chat, message).content == ""
    with pytest.raises(Conflict) as refused:
        claims.claim(store, ana, item)
    assert refused.value.code == "four_eyes"
    assert decide(store, ben, item, "approve").state == "delivered"
    item, chat, message = drafted(store, member)
    assert decide(store, ana, item, "edit", text="It is four.", reasons=["fact"]).state == "edited"
    assert seen(store, member, chat, message).content == ""
    assert decide(store, ben, item, "approve").state == "delivered"
    assert seen(store, member, chat, message).content == "It is four."
    item, chat, message = drafted(store, member)
    decide(store, ana, item, "approve")
    claims.claim(store, ben, item)
    claims.release(store, ben, item)
    assert row(store, item).state == "approved", "it waits for a second person as before"


def test_escalation_reaches_the_named_person_or_a_lead(store: Store) -> None:
    lead, ana, ben, member = house(store)
    item, _, _ = drafted(store, member)
    with pytest.raises(Invalid, match="why"):
        decide(store, ana, item, "escalate")
    decide(store, ana, item, "escalate", claim=False, note="A lawyer should look.", to=ben.person_id)
    with pytest.raises(Conflict) as refused:
        claims.claim(store, ana, item)
    assert refused.value.code == "escalated"
    assert card.card(store, ben, item).may_claim
    assert decide(store, ben, item, "approve").state == "delivered"
    item, _, _ = drafted(store, member)
    decide(store, ana, item, "escalate", note="Unclear.")
    with pytest.raises(Conflict):
        claims.claim(store, ben, item)
    assert decide(store, lead, item, "approve").state == "delivered"


def test_a_complaint_reopens_and_a_correction_is_seen(store: Store) -> None:
    _, ana, ben, member = house(store)
    item, chat, message = drafted(store, member)
    with pytest.raises(Conflict, match="nothing was delivered"):
        customer.complain(store, member, chat, message, "It is wrong.")
    decide(store, ana, item, "approve")
    customer.complain(store, member, chat, message, "It is wrong.")
    assert row(store, item).state == "queued"
    assert seen(store, member, chat, message).content == "It is 3.", "what was delivered stays"
    with pytest.raises(Invalid, match="tell the customer"):
        decide(store, ben, item, "edit", text="It is 4.", reasons=["fact"])
    decide(
        store,
        ben,
        item,
        "edit",
        claim=False,
        text="It is 4.",
        reasons=["fact"],
        note="The price had changed.",
    )
    assert seen(store, member, chat, message).content == "It is 4."
    status = customer.statuses(store, member, chat)[0]
    assert status.corrected is not None
    assert status.corrected["note"] == "The price had changed."
    claims.reopen(store, ana, item)
    claims.release(store, ana, item)
    assert (row(store, item).state, row(store, item).reopened) == ("delivered", False)
    claims.reopen(store, ana, item)
    decide(store, ana, item, "recall", claim=False, text="We withdraw this.", reasons=["fact"], note="Wrong.")
    assert seen(store, member, chat, message).content == "We withdraw this."
    with store.read() as conn:
        assert list(
            conn.execute(select(corrections.c.kind).order_by(corrections.c.created_at)).scalars()
        ) == [
            "correct",
            "recall",
        ]
        assert len(conn.execute(select(deliveries)).all()) == 1, "delivered once"


def test_a_customer_cancels_or_asks_again(store: Store) -> None:
    _, ana, _, member = house(store)
    item, chat, message = drafted(store, member)
    customer.cancel(store, member, chat, message)
    assert (row(store, item).state, seen(store, member, chat, message).state) == ("cancelled", "stopped")
    with pytest.raises(Conflict):
        claims.claim(store, ana, item)
    with pytest.raises(Conflict):
        customer.cancel(store, member, chat, message)
    item, chat, message = drafted(store, member)
    turn = turns.regenerate(store, member, chat, message, model="tiny")
    newer, _, _ = came_in(store, member, chat, turn, "How much?", "It is 5.")
    assert (row(store, item).state, row(store, newer).state) == ("superseded", "queued")
    edited = turns.edit_message(
        store, member, chat, str(turn.answer.parent_id), text="How many?", run=True, model="tiny"
    )
    newest, _, _ = came_in(store, member, chat, edited, "How many?", "5.")
    assert (row(store, newer).state, row(store, newest).state) == ("superseded", "queued")
    stranger = house(store)[3]
    with pytest.raises(NotFound):
        customer.statuses(store, stranger, chat)


def test_a_full_queue_withholds(store: Store) -> None:
    lead, _, _, member = house(store)
    set_mode(store, lead, "all", review_queue=1)
    first, _, _ = drafted(store, member)
    second, chat, message = drafted(store, member)
    assert (row(store, first).state, row(store, second).state) == ("queued", "withheld")
    assert seen(store, member, chat, message).content == ""
    assert customer.statuses(store, member, chat)[0].state == "withheld"


def test_deleting_a_chat_takes_its_reviews_and_their_judgements(store: Store) -> None:
    _, ana, _, member = house(store)
    item, chat, message = drafted(store, member)
    decide(store, ana, item, "edit", text="It is four.", reasons=["fact"])
    customer.complain(store, member, chat, message, "Hm.")
    assert len(judged(store)) == 1
    deletion.delete_chat(store, member, chat)
    with store.read() as conn:
        for table in (items, versions, decisions, deliveries, claim_table):
            assert conn.execute(select(table)).all() == [], table.name
    assert judged(store) == []


def test_deleting_the_expert_keeps_the_decision_without_the_name(store: Store) -> None:
    _, ana, _, member = house(store)
    item, chat, message = drafted(store, member)
    decide(store, ana, item, "approve")
    deletion.delete_account(store, ana)
    assert seen(store, member, chat, message).content == "It is 3."
    with store.read() as conn:
        assert conn.execute(select(decisions.c.person_id)).scalar() is None
    assert judged(store) == []


# --- what the database refuses, whatever the code does ---------------------------------------------------------------


def refused(store: Store, statement: Any) -> str:
    with pytest.raises(DatabaseError) as error, store.write() as conn:
        conn.execute(statement)
    return str(error.value.orig)


def test_the_database_refuses_what_must_never_happen(store: Store) -> None:
    lead, ana, _, member = house(store)
    item, chat, message = drafted(store, member)
    other, _, _ = drafted(store, member)
    with store.read() as conn:
        version = conn.execute(select(versions).where(versions.c.item_id == item)).one()
    now, ws = store.now(), ana.workspace_id
    sent = {
        "workspace_id": ws,
        "item_id": item,
        "version_id": version.id,
        "hash": version.hash,
        "created_at": now,
    }
    say = {
        "workspace_id": ws,
        "item_id": item,
        "judged_id": version.id,
        "decided_by": "person",
        "decision": "approve",
        "version_id": version.id,
        "hash": version.hash,
        "reasons": [],
        "severe": False,
        "created_at": now,
    }

    def approving(**more: Any) -> Any:
        return insert(decisions).values(id=new_id("rdec"), **{**say, **more})

    def delivering(**more: Any) -> Any:
        return insert(deliveries).values(id=new_id("rdel"), channel="chat", **{**sent, **more})

    into = update(messages).where(messages.c.id == message)
    state = update(items).where(items.c.id == item)
    assert "nothing but the delivered text" in refused(store, into.values(content="It is 3."))
    assert "nothing but the delivered text" in refused(store, into.values(reasoning="hm"))
    assert "nothing was delivered" in refused(store, state.values(state="delivered"))
    refused(store, delivering(decision_id="rdec_none"))
    refused(store, delivering(decision_id=None))
    assert "holds the claim" in refused(store, approving(person_id=ana.person_id))
    claims.claim(store, ana, item)
    claim = {
        "workspace_id": ws,
        "item_id": item,
        "person_id": lead.person_id,
        "expires_at": now,
        "created_at": now,
    }
    refused(store, insert(claim_table).values(id=new_id("rclaim"), **claim))  # a second open claim
    with store.write() as conn:
        demoted = update(memberships).where(memberships.c.person_id == ana.person_id)
        conn.execute(demoted.values(role="member"))
    assert "reviewer" in refused(store, approving(person_id=ana.person_id))
    with store.write() as conn:
        conn.execute(demoted.values(role="reviewer"))
    refused(store, approving(person_id=ana.person_id, hash="0" * 64))
    policy = policies.create_policy(store, lead, {"topic": "general"})
    assert "policy" in refused(store, approving(decided_by="policy", policy_id=policy.id))
    with store.write() as conn:
        conn.execute(insert(decisions).values(id="rdec_a", person_id=ana.person_id, **say))
    refused(store, delivering(decision_id="rdec_a", item_id=other))
    refused(store, delivering(decision_id="rdec_a", hash="0" * 64))
    with store.write() as conn:
        conn.execute(delivering(decision_id="rdec_a"))
        conn.execute(into.values(content="It is 3.", state="complete"))
    refused(store, delivering(decision_id="rdec_a"))  # once
    assert "nothing but" in refused(store, into.values(content="It is 3. "))
    assert "never changes" in refused(store, update(versions).values(text="other"))
    assert "never changes" in refused(store, update(decisions).values(decision="edit"))
    assert "never changes" in refused(store, update(deliveries).values(channel="api"))
    for table in (versions, decisions, deliveries):
        assert "only with its item" in refused(store, delete(table)), table.name
    with store.write() as conn:
        conn.execute(state.values(state="delivered"))
    assert "does not lead" in refused(store, state.values(state="withheld"))
    assert chats.open_chat(store, member, chat).messages[-1].content == "It is 3."


def test_an_item_cannot_begin_on_a_message_that_shows_something(store: Store) -> None:
    _, _, _, member = house(store)
    item, _, _ = drafted(store, member)
    begun = row(store, item)._mapping
    with store.write() as conn:
        first = conn.execute(text("SELECT id FROM message WHERE role = 'user'")).scalar()
    bad = {**begun, "id": "review_x", "message_id": first, "held_id": None}
    assert "empty message" in refused(store, insert(items).values(bad))
    bad = {**begun, "id": "review_x", "message_id": None, "state": "approved"}
    assert "begins queued" in refused(store, insert(items).values(bad))


def test_the_database_knows_the_same_reviewers_as_the_rights() -> None:
    able = {role for role, level in ACTIONS["review"][1].items() if level}
    assert able == set(review_guards.REVIEWERS)


def test_a_backup_with_reviews_is_restored_with_its_guards(
    store: Store, databases: Databases, tmp_path: Path
) -> None:
    """Its rows come in the order of tables, not of time: a decision before any open claim, a delivered item first."""
    _, ana, _, member = house(store)
    item, chat, message = drafted(store, member)
    decide(store, ana, item, "approve")
    backup.back_up(store, tmp_path / "copy")
    other = Store.open(databases.fresh())
    try:
        backup.restore(tmp_path / "copy", other)
        assert seen(other, member, chat, message).content == "It is 3."
        into = update(messages).where(messages.c.id == message)
        assert "nothing but the delivered text" in refused(other, into.values(content="other"))
    finally:
        other.close()
