"""Which judgement becomes which record: the table of PRODUCT 4.4, row by row."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flywheel.people import a_member, a_subject, a_talk, about

from ziggurat.flywheel.dataset import reading
from ziggurat.flywheel.dataset.samples import Sample, Taken
from ziggurat.product import chats, generations, judgements, turns
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store

ASKED = [{"role": "user", "content": "Which ferry goes to the market?"}]
ONE, TWO = "The first one goes there.", "None does."


@pytest.fixture
def expert(quick_store: Store) -> Principal:
    return a_member(quick_store, agrees=False, role="adjudicator")


def taken(store: Store, principal: Principal) -> Taken:
    with store.read() as conn:
        return reading.read(conn, principal.workspace_id)


def made(store: Store, principal: Principal) -> list[tuple[str, Any, bool, float]]:
    return [(one.kind, short(one), one.weak, one.weight) for one in taken(store, principal).samples]


def short(one: Sample) -> Any:
    if one.kind == "rating":
        return one.record["completion"], one.record["label"]
    if one.kind == "comparison":
        return tuple(zip(one.record["completions"], one.record["ranks"], strict=True))
    return one.record["messages"][-1]["content"] if one.kind == "demonstration" else one.record["prompt"]


def reasons(store: Store, principal: Principal) -> list[str]:
    return [one.reason for one in taken(store, principal).left_out]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (
            {"decision": "approve", "reasons": [], "text": ONE},
            [("rating", (ONE, True), False, 1.0), ("demonstration", ONE, False, 1.0)],
        ),
        (
            {"decision": "edit", "reasons": ["tone"], "text": "The second."},
            [
                ("demonstration", "The second.", False, 1.0),
                ("comparison", (("The second.", 1), (ONE, 2)), False, 1.0),
            ],
        ),
        (
            {"decision": "answer", "reasons": [], "text": "Mine."},
            [("demonstration", "Mine.", False, 1.0), ("comparison", (("Mine.", 1), (ONE, 2)), False, 1.0)],
        ),
        ({"decision": "reject", "reasons": ["wrong"]}, [("rating", (ONE, False), False, 1.0)]),
        ({"decision": "escalate", "reasons": []}, []),
    ],
)
def test_a_decision_of_an_expert(
    quick_store: Store, expert: Principal, value: dict[str, Any], wanted: list[Any]
) -> None:
    about(quick_store, expert, "decision", value, answers=(ONE,))
    assert made(quick_store, expert) == wanted


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        (
            "ranking",
            {"ranks": {"c0": 2, "c1": 1, "c2": 2}, "not_rankable": False},
            [("comparison", ((ONE, 2), (TWO, 1), ("Ask.", 2)), False, 1.0)],
        ),
        (
            "ranking",
            {"ranks": {}, "not_rankable": True},
            [("rating", (text, False), True, 0.5) for text in (ONE, TWO, "Ask.")],
        ),
        ("ranking", {"ranks": {"c0": 1, "c1": 1, "c2": 1}, "not_rankable": False}, []),
        ("labels", {"labels": {"overall_quality": 7}}, []),
        ("spans", {"spans": []}, []),
        (
            "rewrite",
            {"text": "Better.", "of": "c1"},
            [
                ("demonstration", "Better.", False, 1.0),
                ("comparison", (("Better.", 1), (TWO, 2)), False, 1.0),
            ],
        ),
        (
            "demonstration",
            {"messages": [{"role": "assistant", "content": "So."}]},
            [("demonstration", "So.", False, 1.0)],
        ),
    ],
)
def test_labels_of_an_item(
    quick_store: Store, expert: Principal, kind: str, value: dict[str, Any], wanted: list[Any]
) -> None:
    about(quick_store, expert, kind, value, answers=(ONE, TWO, "Ask."))
    assert made(quick_store, expert) == wanted


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("pairwise", {"strength": -3, "verdict": None}, [("comparison", ((ONE, 1), (TWO, 2)), False, 1.0)]),
        ("pairwise", {"strength": 1, "verdict": None}, [("comparison", ((ONE, 2), (TWO, 1)), False, 0.5)]),
        ("pairwise", {"strength": 0, "verdict": "tie"}, []),
        (
            "pairwise",
            {"strength": 0, "verdict": "both_bad"},
            [("rating", (ONE, False), True, 0.5), ("rating", (TWO, False), True, 0.5)],
        ),
        ("vote", {"winner": "b", "leaked": False}, [("comparison", ((ONE, 2), (TWO, 1)), False, 1.0)]),
        ("vote", {"winner": "b", "leaked": True}, []),
        ("metric", {"metric": "solved", "value": True}, [("rating", (ONE, True), True, 0.5)]),
        ("metric", {"metric": "seconds", "value": 3.5}, []),
    ],
)
def test_pairs_votes_and_metrics(
    quick_store: Store, expert: Principal, kind: str, value: dict[str, Any], wanted: list[Any]
) -> None:
    about(quick_store, expert, kind, value)
    assert made(quick_store, expert) == wanted


def test_a_written_prompt_is_a_prompt(quick_store: Store, expert: Principal) -> None:
    value = {"prompt_kind": "plain", "text": "Count to three."}
    about(quick_store, expert, "prompt", value, answers=())
    ((kind, prompt, *_),) = made(quick_store, expert)
    assert (kind, prompt) == ("prompt", [*ASKED, {"role": "user", "content": "Count to three."}])


def test_thumbs_are_weak_and_a_thumb_down_with_a_better_answer_is_a_pair(quick_store: Store) -> None:
    member = a_member(quick_store)
    chat_id, (first, second) = a_talk(quick_store, member, ("How far?", "A mile."), ("And back?", "No idea."))
    judgements.judge(quick_store, member, chat_id, first.id, value=1)
    judgements.judge(quick_store, member, chat_id, second.id, value=-1)
    assert made(quick_store, member) == [
        ("rating", ("A mile.", True), True, 0.5),
        ("rating", ("No idea.", False), True, 0.5),
    ]
    judgements.rewrite(quick_store, member, chat_id, second.id, text="A mile too.")
    assert made(quick_store, member) == [
        ("rating", ("A mile.", True), True, 0.5),
        ("demonstration", "A mile too.", False, 1.0),
        ("comparison", (("A mile too.", 1), ("No idea.", 2)), False, 1.0),
    ]
    assert reasons(quick_store, member) == ["in_a_rewrite"]
    judgements.judge(quick_store, member, chat_id, first.id, value=0)
    assert [kind for kind, *_ in made(quick_store, member)] == ["demonstration", "comparison"]


@pytest.mark.parametrize("kind", ["gold", "training", "test"])
def test_gold_is_never_training_data(quick_store: Store, expert: Principal, kind: str) -> None:
    about(
        quick_store,
        expert,
        "ranking",
        {"ranks": {"c0": 1, "c1": 2}, "not_rankable": False},
        subject=a_subject(quick_store, expert, kind=kind),
    )
    assert reasons(quick_store, expert) == ["gold"]
    assert made(quick_store, expert) == []


def test_an_open_conflict_waits_for_adjudication(quick_store: Store, expert: Principal) -> None:
    subject = a_subject(quick_store, expert, status="conflicted")
    value = {"ranks": {"c0": 1, "c1": 2}, "not_rankable": False}
    about(quick_store, expert, "ranking", value, subject=subject)
    assert reasons(quick_store, expert) == ["conflicted"]


def test_a_person_who_does_not_agree_and_a_closed_chat_are_left_out(quick_store: Store) -> None:
    silent = a_member(quick_store, agrees=False)
    closed = a_member(quick_store)
    for person, open_ in ((silent, True), (closed, False)):
        chat_id, (answer,) = a_talk(quick_store, person, ("Hm?", "Yes."), data_use=open_)
        judgements.judge(quick_store, person, chat_id, answer.id, value=1)
    assert reasons(quick_store, silent) == ["no_consent", "no_data_use"]


def test_work_on_what_may_not_be_used_is_left_out(quick_store: Store, expert: Principal) -> None:
    about(quick_store, expert, "decision", {"decision": "reject", "reasons": []}, data_use=False)
    assert reasons(quick_store, expert) == ["no_data_use"]


@pytest.mark.parametrize(
    ("value", "bar", "imitated"), [(3.5, 3.0, True), (3.5, 4.0, False), (True, 1.0, True)]
)
def test_answers_that_reach_the_bar_of_a_metric_are_imitated(
    quick_store: Store, expert: Principal, value: Any, bar: float, imitated: bool
) -> None:
    about(quick_store, expert, "metric", {"metric": "stars", "value": value}, answers=(ONE,))
    with quick_store.read() as conn:
        samples = reading.read(conn, expert.workspace_id, {"stars": bar}).samples
    found = [(one.kind, short(one), one.weight) for one in samples]
    assert found == [("rating", (ONE, imitated), 0.5), *([("demonstration", ONE, 0.5)] if imitated else [])]


def test_a_record_names_the_release_that_wrote_the_answer(quick_store: Store) -> None:
    """Chats name the channel "assistant", which says nothing about which release wrote."""
    member = a_member(quick_store)
    chat = chats.create_chat(quick_store, member, data_use=True)
    turn = turns.begin_turn(quick_store, member, chat.id, parent_id=None, text="How long?", model="assistant")
    done = generations.finish(
        quick_store,
        str(turn.generation_id),
        finish_reason="stop",
        content=ONE,
        hashes={"release": "assistant-3"},
    )
    judgements.judge(quick_store, member, chat.id, done.id, value=1)
    assert [one.model for one in taken(quick_store, member).samples] == ["assistant-3"]
