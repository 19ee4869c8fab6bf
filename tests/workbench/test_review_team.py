"""What a team sees: the inbox, notes, second opinions, autonomy on evidence, figures."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from tests.stores import Clock
from tests.workbench.reviewing import decide, drafted, house, row, set_mode

from ziggurat.product import audit, retention
from ziggurat.product.errors import Conflict, Forbidden, Invalid
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.reviews import items
from ziggurat.store.tables.reviews import policies as policy_table
from ziggurat.workbench.review import (
    autonomy,
    card,
    claims,
    customer,
    inbox,
    metrics,
    notes,
    policies,
    seconds,
)
from ziggurat.workbench.review.intake import Draft, take_in


def test_the_inbox_is_in_the_order_of_deadlines_then_risk(store: Store, clock: Clock) -> None:
    lead, ana, ben, member = house(store)
    policies.create_policy(
        store, lead, {"topic": "fast", "words": ["urgent"], "risk": 2, "claim_s": 60, "decide_s": 600}
    )
    slow, _, _ = drafted(store, member, "How are you?")
    fast, _, _ = drafted(store, member, "An urgent thing?")
    found = inbox.inbox(store, ana).data
    assert [one.id for one in found] == [fast, slow]
    assert (found[0].topic, found[0].risk, found[1].topic) == ("fast", 2, "general")
    assert [one.id for one in inbox.inbox(store, ana, {"topic": "fast"}).data] == [fast]
    assert [one.id for one in inbox.inbox(store, ana, {"query": "urgent"}).data] == [fast]
    assert [one.id for one in inbox.inbox(store, ana, {"risk": "2"}).data] == [fast]
    assert [one.id for one in inbox.inbox(store, ana, {"customer": found[0].customer}).data] == [fast, slow]
    first = inbox.inbox(store, ana, limit=1)
    assert [one.id for one in inbox.inbox(store, ana, limit=1, cursor=first.next).data] == [slow]
    with pytest.raises(Invalid, match="did you mean|no field"):
        inbox.inbox(store, ana, {"topics": "x"})
    clock.move(seconds=601)
    assert [one.id for one in inbox.inbox(store, ana, {"show": "late"}).data] == [fast]
    claims.claim(store, ana, slow)
    assert [one.id for one in inbox.inbox(store, ana, {"show": "mine"}).data] == [slow]
    assert inbox.counts(store, ana) | {"mark": "", "oldest_at": ""} == {
        "open": 2,
        "late": 1,
        "oldest_at": "",
        "mine": 1,
        "mentions": 0,
        "seconds": 0,
        "topics": {"fast": 1, "general": 1},
        "mark": "",
    }
    saved = inbox.save_view(store, ana, "Urgent", {"topic": "fast"})
    assert inbox.list_views(store, ana) == [saved]
    assert inbox.list_views(store, ben) == []
    inbox.delete_view(store, ana, saved["id"])
    with pytest.raises(Forbidden):
        inbox.inbox(store, member)


def test_notes_mention_colleagues_and_reach_no_customer(store: Store) -> None:
    _, ana, ben, member = house(store)
    item, chat, _ = drafted(store, member)
    notes.add_note(store, ana, item, "xyzzy, what do you think?", [ben.person_id])
    assert inbox.counts(store, ben)["mentions"] == 1
    assert [one.id for one in inbox.inbox(store, ben, {"show": "mentions"}).data] == [item]
    with pytest.raises(Invalid):
        notes.add_note(store, ana, item, "x", [member.person_id])
    decide(store, ana, item, "approve")
    seen = str([one.model_dump() for one in customer.statuses(store, member, chat)])
    assert "xyzzy" not in seen
    assert "Ana" not in seen


def test_the_card_has_what_an_expert_needs_and_who_is_here(store: Store) -> None:
    _, ana, ben, member = house(store)
    old, _, _ = drafted(store, member, "Where is my refund for the red bicycle?", "On Friday.")
    decide(store, ana, old, "edit", text="On Monday.", reasons=["fact"])
    item, _, _ = drafted(
        store,
        member,
        "Where is my refund for the blue bicycle?",
        "In 5 days.",
        signals={"mean_logprob": -0.4},
    )
    claims.look(store, ben, item)
    shown = card.card(store, ana, item)
    assert [(one.question, one.answer, one.decision) for one in shown.earlier] == [
        ("Where is my refund for the red bicycle?", "On Monday.", "edit")
    ]
    assert shown.signals["mean_logprob"] == -0.4
    assert [one["kind"] for one in shown.facts] == ["number"]
    assert [one.name for one in shown.here] == ["Ben"]
    assert shown.may_claim
    actions = [
        one.action
        for one in audit.list_events(store, Principal(ana.workspace_id, ana.person_id, "owner")).data
    ]
    assert "review.view" in actions


def test_a_second_expert_decides_blind(store: Store) -> None:
    lead, ana, ben, member = house(store)
    policies.create_policy(store, lead, {"double_pct": 100})
    for _ in range(2):
        item, _, _ = drafted(store, member)
        decide(store, ana, item, "approve")
    assert seconds.next_second(store, ana) is None, "it was Ana's decision"
    blind = seconds.next_second(store, ben)
    assert blind is not None
    assert "approve" not in str(blind)
    with pytest.raises(Conflict):
        seconds.decide_second(store, ana, blind["id"], decision="approve")
    with pytest.raises(Invalid, match="reason"):
        seconds.decide_second(store, ben, blind["id"], decision="reject")
    seconds.decide_second(store, ben, blind["id"], decision="approve")
    again = seconds.next_second(store, ben)
    assert again is not None
    seconds.decide_second(store, ben, again["id"], decision="edit", reasons=["fact"], text="It is 4.")
    found = metrics.metrics(store, ana)["agreement"]
    assert (found["hits"], found["n"]) == (1, 2)


def test_a_topic_earns_autonomy_and_loses_it_by_harm(store: Store, clock: Clock) -> None:
    """Ten of ten unchanged: Wilson's lower bound is 10 / (10 + 1.96^2) = 0.7225."""
    lead, ana, _, member = house(store, "policy")
    rule = {"threshold": 0.7, "min_items": 10, "window_days": 30}
    policy = policies.create_policy(store, lead, {"autonomy": rule, "sample_pct": 0})
    for n in range(10):
        item, _, _ = drafted(store, member)
        if n == 9:
            assert autonomy.evidence(store, lead, policy.id)["missing"] == ["items"]
            with pytest.raises(Conflict):
                autonomy.change_mode(store, lead, policy.id, "sampled")
        decide(store, ana, item, "approve")
    found = autonomy.evidence(store, lead, policy.id)
    assert found["unchanged"]["low"] == pytest.approx(0.7225, abs=1e-4)
    assert found["allowed"]
    with pytest.raises(Conflict, match="to sampled"):
        autonomy.change_mode(store, lead, policy.id, "auto")
    with pytest.raises(Forbidden):
        autonomy.change_mode(store, ana, policy.id, "sampled")
    assert autonomy.change_mode(store, lead, policy.id, "sampled").mode == "sampled"
    passed, _, _ = drafted(store, member)
    assert row(store, passed).state == "delivered"
    sampled, _, _ = drafted(store, member, chance=lambda: 0.0)
    assert row(store, sampled).state == "delivered", "0 % is none"
    policies.change_policy(store, lead, policy.id, {"sample_pct": 10})
    sampled, _, _ = drafted(store, member, chance=lambda: 0.05)
    assert (row(store, sampled).state, row(store, sampled).routed) == ("queued", ["sample"])
    decide(store, ana, sampled, "reject", reasons=["fact"], then="withhold", severe=True)
    with store.read() as conn:
        assert conn.execute(select(policy_table.c.mode)).scalar() == "all"
    assert autonomy.evidence(store, lead, policy.id)["missing"] == ["share", "severe"]
    clock.move(days=31)
    assert autonomy.evidence(store, lead, policy.id)["missing"] == ["items", "share"]
    assert audit.verify(store) is None


def test_routes_send_a_sampled_topic_to_a_person(store: Store) -> None:
    lead, _, _, member = house(store, "policy")
    routes: dict[str, Any] = {"words": ["bomb"], "probation": ["new"], "logprob_under": -1.0}
    policies.create_policy(store, lead, {"routes": routes, "sample_pct": 0})
    with store.write() as conn:
        conn.execute(policy_table.update().values(mode="auto"))
    sure = {"mean_logprob": -0.1}
    calm, _, _ = drafted(store, member, signals=sure)
    assert row(store, calm).state == "delivered"
    for more, why in (
        ({"question": "A bomb?", "signals": sure}, "words"),
        ({"model": "new", "signals": sure}, "probation"),
        ({"signals": {"mean_logprob": -2.0}}, "logprob"),
        ({}, "logprob"),  # a signal that is missing calms nobody
    ):
        item, _, _ = drafted(store, member, **more)
        assert (row(store, item).state, row(store, item).routed) == ("queued", [why])
        assert row(store, item).risk == 2


def test_figures_count_each_decided_item_once(store: Store, clock: Clock) -> None:
    _, ana, ben, member = house(store)
    for n, (what, more) in enumerate(
        [
            ("approve", {}),
            ("approve", {}),
            (
                "edit",
                {"text": "It is 3!", "reasons": ["tone"]},
            ),  # one of nine characters is more than a tenth
            ("edit", {"text": "It was rather about four.", "reasons": ["fact"]}),
            ("answer", {"text": "Ask Ben.", "reasons": ["fact"]}),
            ("decline", {"template": "cannot", "reasons": ["policy"]}),
        ]
    ):
        item, chat, message = drafted(store, member, draft="It is 3." if n != 2 else "It is 3, I think.")
        clock.move(seconds=100)
        claims.claim(store, ana, item)
        clock.move(seconds=20)
        decide(store, ana, item, what, claim=False, **more)
        if n == 0:
            customer.complain(store, member, chat, message, "No.")
            decide(store, ben, item, "edit", text="It is 5.", reasons=["fact"], note="Sorry.")
    found = metrics.metrics(store, ana, by="reviewer")["all"]
    assert found["decided"] == 6
    assert (found["unchanged"]["hits"], found["usable"]["hits"]) == (2, 2)
    assert found["outcomes"] == {"answered": 1, "declined": 1, "edited": 2, "unchanged": 2}
    assert (found["escapes"]["hits"], found["escapes"]["n"]) == (1, 6)
    assert found["reasons"] == {"fact": 2, "tone": 1, "policy": 1}
    assert found["times"]["to_claim"]["p50"] == pytest.approx(100, abs=5)
    assert found["times"]["to_decide"]["p90"] == pytest.approx(20, abs=5)
    assert found["in_time"]["hits"] == 6
    groups = metrics.metrics(store, ana, by="topic_model")["groups"]
    assert [(one["key"], one["decided"], one["clears"]["0.5"]) for one in groups] == [
        ("general · tiny", 6, "undecided")
    ]


def test_a_light_edit_is_usable(store: Store) -> None:
    _, ana, _, member = house(store)
    item, _, _ = drafted(store, member, draft="The color of the house is red.")
    decide(store, ana, item, "edit", text="The colour of the house is red.", reasons=["tone"])
    found = metrics.metrics(store, ana)["all"]
    assert (found["light"]["hits"], found["usable"]["hits"], found["unchanged"]["hits"]) == (1, 1, 0)


def test_drift_compares_models_on_one_mix_of_topics(store: Store) -> None:
    """Model `b` got only easy questions more often; on the same mix both are equal: each has all easy ones right and
    all hard ones wrong, (3 x 1 + 2 x 0) / 5 = 0.6 with the weights of both."""
    lead, ana, _, member = house(store)
    policies.create_policy(store, lead, {"topic": "hard", "words": ["hard"]})
    for model, question in (("a", "easy"), ("a", "hard"), ("b", "easy"), ("b", "easy"), ("b", "hard")):
        item, _, _ = drafted(store, member, question, model=model)
        if question == "easy":
            decide(store, ana, item, "approve")
        else:
            decide(store, ana, item, "answer", text="No.", reasons=["fact"])
    assert metrics.metrics(store, ana)["drift"] == [
        {"model": "a", "usable": 0.6, "n": 2},
        {"model": "b", "usable": 0.6, "n": 3},
    ]


def test_answers_of_the_api_go_in_time(store: Store, clock: Clock) -> None:
    lead, _, _, member = house(store)
    set_mode(store, lead, "all", retention_days=3, review_queue=1)
    for _ in range(2):
        with store.write() as conn:
            take_in(
                conn,
                store,
                Draft(text="x", prompt=[{"role": "user", "content": "q"}], model="tiny"),
                workspace_id=member.workspace_id,
                person_id=member.person_id,
                channel="api",
                origin={"path": "/v1/completions"},
            )
    clock.move(days=4)
    assert retention.run(store, dry_run=True).reviews == 1
    assert retention.run(store).reviews == 1
    with store.read() as conn:
        assert [one.state for one in conn.execute(select(items))] == ["queued"], "what waits stays"
