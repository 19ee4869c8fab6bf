"""Whose consent it takes to learn from an answer of the API, and what is told of an answer of a blind pair."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, update
from tests.flywheel.people import a_member, a_talk, about
from tests.product.house import join

from ziggurat.flywheel import examples, overview
from ziggurat.flywheel.dataset import reading
from ziggurat.product import consents, feedback, inferences, metrics
from ziggurat.product.errors import NotFound
from ziggurat.product.inferences import Answered
from ziggurat.product.principal import Principal
from ziggurat.product.workspaces import change_settings
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import messages
from ziggurat.store.tables.judgements import judgements

QUESTION = "When does the ferry leave the harbour?"


@pytest.fixture
def owner(store: Store) -> Principal:
    who = join(store, "owner")
    change_settings(store, who, {"api_answers": "all", "examples": {"count": 3}})
    metrics.declare(store, who, name="solved", type="boolean", optimize="max", level="inference")
    return who


def answered(store: Store, who: Principal, name: str = "chatcmpl-1") -> str:
    asked = [{"role": "user", "content": QUESTION}]
    one = Answered(
        id=name, principal=who, kind="chat.completion", model="m", prompt=asked, answer=["At noon."]
    )
    assert inferences.keep(store, [one]) == 1
    return name


def learned(store: Store, who: Principal) -> tuple[list[str], list[str]]:
    """(kinds of the records, reasons of what is left out)."""
    with store.read() as conn:
        taken = reading.read(conn, who.workspace_id)
    return sorted({one.kind for one in taken.samples}), [one.reason for one in taken.left_out]


def test_feedback_of_a_program_needs_the_consent_of_its_person(store: Store, owner: Principal) -> None:
    member = a_member(store, agrees=False)
    feedback.give(store, member, name="solved", value=True, inference_id=answered(store, member))
    feedback.give(store, member, name="demonstration", value="At one.", inference_id="chatcmpl-1")
    assert learned(store, owner) == ([], ["no_consent"] * 2)
    consents.set_consent(store, member, "improve_model", True)
    assert learned(store, owner) == (["comparison", "demonstration", "rating"], [])
    consents.set_consent(store, member, "improve_model", False)
    assert learned(store, owner) == ([], ["no_consent"] * 2)


def test_feedback_about_the_answer_of_another_person_needs_both(store: Store, owner: Principal) -> None:
    asker, developer = a_member(store, agrees=False), a_member(store, role="developer")
    feedback.give(store, developer, name="solved", value=True, inference_id=answered(store, asker))
    assert learned(store, owner) == ([], ["no_consent"])
    consents.set_consent(store, asker, "improve_model", True)
    assert learned(store, owner) == (["rating"], [])


def test_work_on_an_answer_of_the_api_needs_the_consent_of_who_asked(store: Store, owner: Principal) -> None:
    asker, expert = a_member(store, agrees=False), join(store, "reviewer")
    value = {"messages": [{"role": "assistant", "content": "At one."}]}
    about(store, expert, "demonstration", value, subject=("inference", answered(store, asker)))
    assert learned(store, owner) == ([], ["no_consent"])
    consents.set_consent(store, asker, "improve_model", True)
    assert learned(store, owner)[0] == ["comparison", "demonstration"]


def test_what_a_program_sends_is_no_approved_answer(
    store: Store, owner: Principal, monkeypatch: pytest.MonkeyPatch, ziggurat_home: Path
) -> None:
    monkeypatch.setattr(examples, "encoder", lambda: None)
    member, labeller = a_member(store), join(store, "labeller")
    value = {"messages": [{"role": "assistant", "content": "Send your password."}]}
    sent = about(
        store,
        member,
        "demonstration",
        value,
        question=QUESTION,
        subject=("inference", answered(store, member)),
    )
    assert examples.nearest_examples(store, owner.workspace_id, QUESTION) == []
    assert examples.these(store, owner.workspace_id, [sent]) == []
    value = {"messages": [{"role": "assistant", "content": "At noon."}]}
    written = about(store, labeller, "demonstration", value, question=QUESTION)
    (found,) = examples.nearest_examples(store, owner.workspace_id, QUESTION)
    assert (found.judgement_id, found.answer) == (written, "At noon.")


def test_the_release_of_an_answer_of_a_blind_pair_is_not_told(store: Store) -> None:
    member = a_member(store)
    _, (answer,) = a_talk(store, member, ("Where?", "There."))
    with store.write() as conn:
        mine = messages.c.id == answer.id
        conn.execute(
            update(messages).where(mine).values(hashes={"release": "assistant-4"}, hidden_model=True)
        )
    assert overview.release_named(store, member, answer.id) is None
    with pytest.raises(NotFound):
        overview.of_answer(store, member, answer.id)
    with store.write() as conn:
        conn.execute(update(messages).where(mine).values(hidden_model=False))
    assert overview.release_named(store, member, answer.id) == "assistant-4"


def test_feedback_is_kept_on_the_basis_of_consent(store: Store, owner: Principal) -> None:
    feedback.give(store, owner, name="comment", value="Good.", inference_id=answered(store, owner))
    with store.read() as conn:
        assert conn.execute(select(judgements.c.basis)).scalar() == "consent"
