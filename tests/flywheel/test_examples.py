"""Approved answers before a question: the nearest, with the right to use them now, and off by default."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.flywheel.people import a_member, a_talk, about
from tests.product.house import join

from ziggurat.flywheel import examples, nearest
from ziggurat.product import judgements
from ziggurat.product.principal import Principal
from ziggurat.product.workspaces import change_settings
from ziggurat.store.store import Store

FERRY = ("When does the ferry leave the harbour?", "At noon and at six.")
BREAD = ("Who bakes the best bread?", "The baker at the bridge.")


@pytest.fixture(autouse=True)
def _no_encoder(monkeypatch: pytest.MonkeyPatch, ziggurat_home: Path) -> None:
    """Whatever this machine has installed, words decide."""
    monkeypatch.setattr(examples, "encoder", lambda: None)


@pytest.fixture
def owner(store: Store) -> Principal:
    principal = join(store, "owner")
    for question, answer in (FERRY, BREAD):
        approve(store, principal, question, answer)
    return principal


def approve(store: Store, principal: Principal, question: str, answer: str, *, data_use: bool = True) -> str:
    value = {"decision": "approve", "reasons": [], "text": answer}
    return about(store, principal, "decision", value, question=question, answers=(answer,), data_use=data_use)


def asked(store: Store, principal: Principal, question: str, *before: dict[str, str]) -> list[str]:
    talk = [*before, {"role": "user", "content": question}]
    path, _ = examples.put_before(store, principal.workspace_id, talk)
    return [f"{one['role']}: {one['content']}" for one in path]


def test_off_by_default_and_then_the_nearest_stand_before_the_question(
    store: Store, owner: Principal
) -> None:
    question = "When does the last ferry leave?"
    assert asked(store, owner, question) == [f"user: {question}"]
    change_settings(store, owner, {"examples": {"count": 3}})
    system = {"role": "system", "content": "Be short."}
    assert asked(store, owner, question, system) == [
        "system: Be short.",
        f"user: {FERRY[0]}",
        f"assistant: {FERRY[1]}",
        f"user: {question}",
    ]
    assert asked(store, owner, "How is the weather?") == ["user: How is the weather?"]
    change_settings(store, owner, {"examples": {"form": "system"}})
    (first, _) = asked(store, owner, question, system)
    assert first.startswith("system: Be short.\n\nAnswers that experts approved")
    assert first.endswith(f"Question: {FERRY[0]}\nAnswer: {FERRY[1]}")


def test_a_withdrawn_example_is_gone_from_the_next_answer_on(store: Store, owner: Principal) -> None:
    change_settings(store, owner, {"examples": {"count": 3}})
    question = "Who bakes good bread?"
    _, found = examples.put_before(store, owner.workspace_id, [{"role": "user", "content": question}])
    assert [one.answer for one in found] == [BREAD[1]]
    kept = [found[0].judgement_id]
    assert [one.answer for one in examples.these(store, owner.workspace_id, kept)] == [BREAD[1]]
    with store.write() as conn:
        conn.execute(
            judgements.judgements.update()
            .where(judgements.judgements.c.id == kept[0])
            .values(withdrawn_at=store.now())
        )
    assert asked(store, owner, question) == [f"user: {question}"]
    assert examples.these(store, owner.workspace_id, kept) == []


def test_what_may_not_be_used_never_stands_before_a_question(store: Store, owner: Principal) -> None:
    change_settings(store, owner, {"examples": {"count": 8}})
    approve(store, owner, "When does the ferry leave on Sunday?", "Never.", data_use=False)
    approve(store, owner, "When does the ferry of ana@example.org leave?", "At one.")
    about(
        store, owner, "decision", {"decision": "reject", "reasons": []}, question=FERRY[0], answers=("No.",)
    )
    member = a_member(store)
    chat_id, (answer,) = a_talk(store, member, (FERRY[0], "Go away."))
    judgements.rewrite(store, member, chat_id, answer.id, text="A member's own opinion.")
    assert asked(store, owner, FERRY[0])[:-1] == [f"user: {FERRY[0]}", f"assistant: {FERRY[1]}"]


def test_the_nearest_by_words_in_english_and_chinese() -> None:
    texts = [FERRY[0], BREAD[0], "渡船几点离开港口？", "谁烤的面包最好？"]
    for place, text in enumerate(texts):
        (first, *_) = nearest.by_words(text, texts, 2)
        assert first.place == place
        assert first.score > 0.9
    assert nearest.by_words("渡船几点开？", texts, 1)[0].place == 2
    assert nearest.by_words("", texts, 3) == []
    assert nearest.by_words("xylophone", texts, 3) == []
