"""The one store of judgements: what each row keeps, and what a second or withdrawn one does."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from tests.product.house import a_chat, answered, join

from ziggurat.product import chats, consents, generations, judgements, messages, people, turns, workspaces
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.objects import Judgement, Message
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements as table


@pytest.fixture
def ana(store: Store) -> Principal:
    return join(store, "owner")


def rows(store: Store) -> list[Judgement]:
    with store.read() as conn:
        return [judgements.judgement_view(row) for row in conn.execute(select(table).order_by(table.c.id))]


def test_a_thumb_is_replaced_and_withdrawn_and_nothing_is_lost(store: Store, ana: Principal) -> None:
    chat = a_chat(store, ana, ("q", "a"))
    leaf = str(chat.active_leaf_id)
    up = judgements.judge(store, ana, chat.id, leaf, value=1, reasons=["accurate"], comment="yes")
    assert up.judgement == {"value": 1, "reasons": ["accurate"], "comment": "yes"}
    down = judgements.judge(store, ana, chat.id, leaf, value=-1)
    assert down.judgement == {"value": -1, "reasons": [], "comment": None}
    assert judgements.judge(store, ana, chat.id, leaf, value=0).judgement is None
    first, second = rows(store)
    assert first.superseded_by == second.id
    assert second.withdrawn_at is not None
    assert judgements.list_judgements(store, ana).data == []


def test_a_judgement_keeps_what_was_judged_and_under_which_consent(store: Store, ana: Principal) -> None:
    workspaces.change_settings(store, ana, {"guideline": "v3"})
    chat = chats.create_chat(store, ana, system_prompt="Be kind.", data_use=True)
    turn = turns.begin_turn(
        store, ana, chat.id, text="q", parent_id=None, model="tiny", settings={"temperature": 0.5}
    )
    hashes = {"weights": "ab", "template": "cd", "rules": "7"}
    generations.finish(
        store, str(turn.generation_id), finish_reason="stop", content="a", seed=9, hashes=hashes, lang="en"
    )
    consents.set_consent(store, ana, "improve_model", True)
    judgements.judge(store, ana, chat.id, turn.answer.id, value=1, seconds=2.5)
    (row,) = judgements.list_judgements(store, ana).data
    assert row.prompt == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "q"}]
    assert (row.completions[0]["content"], row.completions[0]["model"]) == ("a", "tiny")
    assert row.sampling == {turn.answer.id: {"temperature": 0.5, "seed": 9}}
    assert row.hashes == {turn.answer.id: hashes}
    assert (row.seconds, row.guideline, row.shown) == (2.5, "v3", [turn.answer.id])
    assert row.consent_id is not None
    assert row.chosen_how == {"method": "only_answer", "probability": 1.0}


@pytest.mark.parametrize("end", ["stopped", "failed"])
def test_a_judgement_on_an_unfinished_answer_knows_what_made_it(
    store: Store, ana: Principal, end: str
) -> None:
    chat = chats.create_chat(store, ana, data_use=True)
    turn = turns.begin_turn(store, ana, chat.id, text="q", parent_id=None, model="tiny")
    made: dict[str, Any] = {"seed": 9, "usage": {"completion_tokens": 3}, "hashes": {"weights": "ab"}}
    generation = str(turn.generation_id)
    if end == "stopped":
        answer = generations.stop(store, ana, chat.id, generation, seen_chars=3, text="half", **made)
    else:
        generations.append(store, generation, [{"type": "text", "text": "hal"}])
        answer = generations.fail(store, generation, {"message": "no", "code": "x"}, **made)
    assert (answer.state, answer.content, answer.seed, answer.usage) == (end, "hal", 9, made["usage"])
    assert generations.get_generation(store, ana, chat.id, generation).tokens == 3
    judgements.judge(store, ana, chat.id, answer.id, value=1)
    (row,) = judgements.list_judgements(store, ana).data
    assert row.sampling == {answer.id: {"seed": 9}}
    assert row.hashes == {answer.id: made["hashes"]}


def test_readers_see_only_what_the_chats_owner_lets_out(store: Store, ana: Principal) -> None:
    for data_use in (False, True):
        chat = chats.create_chat(store, ana, data_use=data_use)
        _, answer = answered(store, ana, chat.id, f"q {data_use}", "a")
        judgements.judge(store, ana, chat.id, answer.id, value=1)
    assert [row.prompt[0]["content"] for row in judgements.list_judgements(store, ana).data] == ["q True"]


def a_pair(store: Store, principal: Principal) -> tuple[str, list[Message]]:
    chat = chats.create_chat(store, principal)
    how = {"method": "uniform", "probability": 0.25, "order": "random"}
    pair = turns.begin_pair(
        store, principal, chat.id, text="q", parent_id=None, models=("one", "two"), chosen_how=how
    )
    answers = [
        generations.finish(store, gid, finish_reason="stop", content=f"text {i}")
        for i, gid in enumerate(pair.generation_ids)
    ]
    return chat.id, answers


def test_a_pair_is_blind_until_the_pick(store: Store, ana: Principal) -> None:
    chat_id, answers = a_pair(store, ana)
    assert [answer.model for answer in answers] == [None, None]
    ids = [answer.id for answer in answers]
    row, shown = judgements.pick(store, ana, chat_id, shown=ids, winner=ids[1])
    assert {message.model for message in shown} == {"one", "two"}
    assert row.value == {"winner": ids[1], "hidden_models": True}
    assert row.chosen_how == {"method": "uniform", "probability": 0.25, "order": "random"}
    assert row.shown == ids
    assert chats.get_chat(store, ana, chat_id).active_leaf_id == ids[1]
    with pytest.raises(Conflict):
        judgements.pick(store, ana, chat_id, shown=ids, winner="tie")


def test_the_answers_of_a_pair_keep_the_order_of_the_models(store: Store, ana: Principal) -> None:
    """A shuffle in here passes 12 pairs by chance 1 time in 4,096."""
    local = people.local_principal(store)
    for _ in range(12):
        chat_id, answers = a_pair(store, local)
        ids = [answer.id for answer in answers]
        _, shown = judgements.pick(store, local, chat_id, shown=ids, winner="tie")
        assert [message.model for message in shown] == ["one", "two"]
        assert [message.content for message in shown] == ["text 0", "text 1"]


def test_siblings_that_were_no_pair_can_be_compared_openly(store: Store, ana: Principal) -> None:
    chat = a_chat(store, ana, ("q", "a"))
    first = str(chat.active_leaf_id)
    again = turns.regenerate(store, ana, chat.id, first, model="tiny")
    generations.finish(store, str(again.generation_id), finish_reason="stop", content="b")
    row, _ = judgements.pick(store, ana, chat.id, shown=[first, again.answer.id], winner="both_bad")
    assert row.value == {"winner": "both_bad", "hidden_models": False}
    assert row.chosen_how["method"] == "person"


@pytest.mark.parametrize("winner", ["left", "", "msg_other"])
def test_a_wrong_winner_is_refused(store: Store, ana: Principal, winner: str) -> None:
    chat_id, answers = a_pair(store, ana)
    with pytest.raises(Invalid):
        judgements.pick(store, ana, chat_id, shown=[a.id for a in answers], winner=winner)
    assert messages.get_message(store, ana, chat_id, answers[0].id).model is None


def test_only_finished_answers_are_judged(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana)
    turn = turns.begin_turn(store, ana, chat.id, text="q", parent_id=None, model="tiny")
    assert turn.user is not None
    with pytest.raises(Conflict):
        judgements.judge(store, ana, chat.id, turn.answer.id, value=1)
    with pytest.raises(Invalid):
        judgements.judge(store, ana, chat.id, turn.user.id, value=1)


def test_a_rewrite_is_preferred_to_the_answer_and_must_differ(store: Store, ana: Principal) -> None:
    chat = a_chat(store, ana, ("q", "a"))
    with pytest.raises(Invalid):
        judgements.rewrite(store, ana, chat.id, str(chat.active_leaf_id), text=" a ")
    row = judgements.rewrite(store, ana, chat.id, str(chat.active_leaf_id), text="better")
    assert (row.kind, row.value, row.completions[0]["content"]) == ("rewrite", {"text": "better"}, "a")


def test_each_report_stands_for_itself(store: Store, ana: Principal) -> None:
    chat = a_chat(store, ana, ("q", "a"))
    for kind in ("spam", "offensive"):
        judgements.report(store, ana, chat.id, str(chat.active_leaf_id), kind=kind, reason="look")
    found = judgements.list_judgements(store, ana, kind="report").data
    assert [row.value["kind"] for row in found] == ["spam", "offensive"]


def test_consent_is_off_until_it_is_given_and_leaves_a_record(store: Store, ana: Principal) -> None:
    assert set(consents.consents(store, ana).values()) == {False}
    assert consents.set_consent(store, ana, "publish", True)["publish"]
    assert not consents.set_consent(store, ana, "publish", False)["publish"]
    assert consents.set_consent(store, ana, "publish", True)["publish"]
    with pytest.raises(Invalid):
        consents.set_consent(store, ana, "sell", True)
