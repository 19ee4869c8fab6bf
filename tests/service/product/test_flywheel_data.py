"""Data of the flywheel over HTTP: a version, what is withdrawn of it, where an answer comes from, approved answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update
from tests.flywheel.people import about
from tests.flywheel.test_withdrawal import a_release
from tests.service.fakes import FakeChat
from tests.service.product.conftest import pieces
from tests.service.product.events import ask, finish, new_chat

from ziggurat.flywheel import examples
from ziggurat.flywheel.dataset import versions
from ziggurat.product import people
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import messages

Open = Callable[..., httpx.Client]
QUESTION, ANSWER = "When does the ferry leave?", "At noon and at six."


@pytest.fixture(autouse=True)
def _apart(ziggurat_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "encoder", lambda: None)


def approve(store: Store) -> str:
    owner = people.local_principal(store)
    value = {"decision": "approve", "reasons": [], "text": ANSWER}
    return about(store, owner, "decision", value, question=QUESTION, answers=(ANSWER,))


def test_from_a_thumb_to_a_version_and_from_an_answer_back_to_the_thumb(
    open_house: Open, tmp_path: Path
) -> None:
    client, store = open_house(), Store.open(tmp_path / "ziggurat.db")
    client.put("/api/me/consents/improve_model", json={"given": True})
    chat_id = new_chat(client)
    client.patch(f"/api/chats/{chat_id}", json={"data_use": True})
    first = finish(client, chat_id, ask(client, chat_id, QUESTION)["generation_id"])
    client.put(f"/api/chats/{chat_id}/messages/{first['id']}/judgement", json={"value": 1})
    settings = {"exams": [], "held_out_time": 0}
    made = client.post("/api/flywheel/datasets", json={"settings": settings})
    assert made.status_code == 201, made.text
    version = made.json()
    owner = people.local_principal(store)
    a_release(store, owner, "assistant-2", versions.get_version(store, owner, version["id"]))
    with store.write() as conn:
        wrote = update(messages).where(messages.c.id == first["id"])
        conn.execute(wrote.values(hashes={"release": "assistant-2"}))
    found = client.get(f"/api/flywheel/explain/{first['id']}").json()
    assert found["release"]["name"] == "assistant-2"
    assert [one["ref"] for one in found["versions"]] == ["feedback/v1"]
    behind = client.get(f"/api/flywheel/datasets/{version['id']}/judgements", params={"q": QUESTION}).json()
    assert [one["source"] for one in behind["data"]] == ["thumb"]
    assert client.get("/api/flywheel/withdrawn").json() == {"data": []}
    client.delete(f"/api/chats/{chat_id}")
    (gone,) = client.get("/api/flywheel/withdrawn").json()["data"]
    assert (gone["ref"], gone["withdrawn"], gone["releases"]) == ("feedback/v1", 1, ["assistant-2"])
    assert client.get(f"/api/flywheel/datasets/{version['id']}").json()["affected"] == gone
    wrong = client.post("/api/flywheel/datasets", json={"settings": {"person_kap": 1}})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "person_kap")
    store.close()


def test_approved_answers_stand_before_a_question_and_why_shows_them(
    open_house: Open, tmp_path: Path
) -> None:
    model = FakeChat(pieces(3))
    client, store = open_house({"fake": model}), Store.open(tmp_path / "ziggurat.db")
    approve(store)
    changed = client.put("/api/admin/settings", json={"examples": {"count": 2}})
    assert changed.status_code == 200, changed.text
    chat_id = new_chat(client)
    said = finish(client, chat_id, ask(client, chat_id, "When does the next ferry leave?")["generation_id"])
    asked = [f"{one.role}: {one.content}" for one in model.requests[-1][0]]
    assert asked == [f"user: {QUESTION}", f"assistant: {ANSWER}", "user: When does the next ferry leave?"]
    found = client.get(f"/api/flywheel/explain/{said['id']}").json()
    assert (found["examples"], found["release"]) == (1, None)
    store.close()
