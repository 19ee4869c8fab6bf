"""What a rule holds at the API: its caller gets the guard's text at once, and a person decides about it afterwards."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, saying, wait_until
from tests.service.product.test_guarded import rule
from tests.service.product.test_matrix import entered
from tests.service.product.test_tool_calls import Calling

from ziggurat.product import held, registration
from ziggurat.safety.guard import Guard
from ziggurat.safety.sources import FileRules
from ziggurat.service.access.holding import ToHold
from ziggurat.service.access.keys import Keyring, new_key
from ziggurat.service.server import create_app
from ziggurat.service.services import Services
from ziggurat.service.upstream.servers import Upstream
from ziggurat.store.store import Store

Open = Callable[..., httpx.Client]
QUESTION = "How do I get happy?"
SAID = ("Take the ", "zorbulator", " and be happy.")
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": QUESTION}]},
    "/v1/completions": {"prompt": QUESTION},
    "/v1/responses": {"input": QUESTION},
}


def wrong() -> FakeChat:
    return FakeChat(saying(*SAID))


def asked(client: httpx.Client, path: str, *, stream: bool = False, model: str = "fake", **more: Any) -> str:
    """The whole answer as text."""
    answer = client.post(path, json={"model": model, **BODIES[path], "stream": stream, **more})
    assert answer.status_code == 200, answer.text
    return answer.text


def listed(client: httpx.Client) -> list[dict[str, Any]]:
    return list(client.get("/api/admin/held").json()["data"])


def waiting(client: httpx.Client, count: int) -> list[dict[str, Any]]:
    """The list, once it has so many; what is stored after the answer that was held may come a little later."""
    assert count > 0, "an empty list may only be too early"
    wait_until(lambda: len(listed(client)) >= count)
    found = listed(client)
    assert len(found) == count
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_a_held_answer_of_the_api_waits_for_a_person(open_house: Open, path: str, stream: bool) -> None:
    client = open_house({"fake": wrong()})
    made = rule(client, words=["zorbulator"], action="hold", templates={"en": ["Held for a look."]})
    text = asked(client, path, stream=stream)
    assert "zorbulator" not in text
    assert "Held for a look." in text
    assert '"action":"hold"' in text
    (one,) = waiting(client, 1)
    assert one["prompt"] == QUESTION
    assert one["text"].startswith("Take the zorbulator")
    assert (one["rule_id"], one["stage"], one["chat_id"]) == (made["id"], "after", None)
    assert one["person_id"] == client.get("/api/me").json()["person"]["id"], "this machine is its owner's"
    origin = one["origin"]
    assert (origin["path"], origin["model"], origin["key"]) == (path, "fake", None)
    assert origin["request_id"].startswith("req_")
    assert one["created_at"].endswith("Z")
    decided = client.post(f"/api/admin/held/{one['id']}", json={"decision": "refuse"})
    assert (decided.status_code, decided.json()["decision"]) == (200, "refuse")
    assert listed(client) == []
    again = client.post(f"/api/admin/held/{one['id']}", json={"decision": "release"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "decided")
    entries = client.get("/api/admin/audit").json()["data"]
    assert [e["object_id"] for e in entries if e["action"] == "held.refuse"] == [one["id"]]


def test_a_request_that_is_held_asks_no_model_and_waits_too(open_house: Open) -> None:
    model = wrong()
    client = open_house({"fake": model})
    rule(client, words=["happy"], action="hold", stage="before")
    asked(client, "/v1/chat/completions")
    (one,) = waiting(client, 1)
    assert (one["prompt"], one["text"], one["stage"]) == (QUESTION, "", "before")
    assert model.requests == []
    decided = client.post(f"/api/admin/held/{one['id']}", json={"decision": "release"})
    assert decided.json()["decision"] == "release"


def test_a_held_tool_call_is_in_the_list(open_house: Open) -> None:
    client = open_house(
        {"fake": Calling("Let me look.", '{"name": "search", "arguments": {"q": "zorbulator"}}')}
    )
    rule(client, words=["zorbulator"], action="hold")
    assert "zorbulator" not in asked(client, "/v1/chat/completions")
    (one,) = waiting(client, 1)
    assert one["prompt"] == QUESTION
    assert "Let me look." in one["text"]
    assert "zorbulator" in one["text"]


def test_what_is_not_held_is_not_in_the_list(open_house: Open) -> None:
    client = open_house({"fake": wrong()})
    rule(client, words=["zorbulator"], action="block")
    assert "content_filter" in asked(client, "/v1/chat/completions")
    rule(client, words=["happy"], action="hold", stage="before", name="another")
    asked(client, "/v1/completions")
    (one,) = waiting(client, 1)
    assert one["origin"]["path"] == "/v1/completions", "what was held later is there, and alone"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_so_does_an_answer_of_an_upstream(
    open_house: Open, serving: Serving, path: str, stream: bool
) -> None:
    with serving(create_app({"x": wrong()})) as there:
        client = open_house(upstreams=[Upstream("far", f"{there}/v1")])
        rule(client, words=["zorbulator"], action="hold")
        assert "zorbulator" not in asked(client, path, stream=stream, model="far/x")
        (one,) = waiting(client, 1)
    assert one["prompt"] == QUESTION
    assert one["text"].startswith("Take the zorbulator")
    assert one["origin"]["model"] == "far/x"


def test_the_list_names_the_key(open_house: Open, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "ziggurat.db")
    token = registration.setup_token(store)
    store.close()
    in_file = new_key(tmp_path / "keys.jsonl", "batch jobs")
    client = open_house({"fake": wrong()}, accounts=True, keyring=Keyring(tmp_path / "keys.jsonl"))
    owner = entered(str(client.base_url), "/api/setup", "owner@house.example", token=str(token))
    owner.client.headers["x-csrf-token"] = owner.csrf
    rule(owner.client, words=["zorbulator"], action="hold")
    key = owner.send("post", "/api/me/keys", {"name": "notebook", "scopes": ["chat"]}).json()
    for secret in (key["secret"], in_file):
        headers = {"authorization": f"Bearer {secret}", "x-request-id": "mine-7"}
        body = {"model": "fake", **BODIES["/v1/chat/completions"]}
        assert client.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    first, second = sorted(waiting(owner.client, 2), key=lambda one: one["origin"]["key"], reverse=True)
    assert (first["origin"]["key"], first["origin"]["key_id"]) == ("notebook", key["id"])
    assert (first["person_id"], first["origin"]["request_id"]) == (owner.person_id, "mine-7")
    assert (second["origin"]["key"], second["origin"]["key_id"]) == ("batch jobs", None)
    assert second["person_id"] is None
    assert key["secret"] not in json.dumps([first, second])
    owner.client.close()


def test_deleting_the_account_deletes_what_was_held_for_it(open_house: Open, tmp_path: Path) -> None:
    client = open_house({"fake": wrong()})
    rule(client, words=["zorbulator"], action="hold")
    asked(client, "/v1/chat/completions")
    waiting(client, 1)
    assert client.request("DELETE", "/api/me", json={}).status_code == 200
    other = sqlite3.connect(tmp_path / "ziggurat.db")
    assert other.execute("SELECT count(*) FROM held_answer").fetchone() == (0,)
    other.close()


def test_without_a_store_the_caller_gets_the_same(serving: Serving, tmp_path: Path) -> None:
    file = tmp_path / "guard.yaml"
    file.write_text(
        "rules: [{id: house.z, kind: words, category: house, action: hold, stage: after, words: [zorbulator]}]\n"
    )
    app = create_app({"fake": wrong()}, guard=Guard(FileRules(file)))
    with serving(app) as address, httpx.Client(base_url=address, timeout=20) as client:
        for path in BODIES:
            for stream in (False, True):
                text = asked(client, path, stream=stream)
                assert "zorbulator" not in text
                assert '"rule":"house.z"' in text


def test_a_store_that_fails_costs_the_caller_nothing(
    open_house: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    client = open_house({"fake": wrong()})
    made = rule(client, words=["zorbulator"], action="hold")
    monkeypatch.setattr(held, "insert_held", full)
    with caplog.at_level(logging.ERROR, logger="ziggurat.service"):
        assert '"action":"hold"' in asked(client, "/v1/chat/completions")
        wait_until(lambda: made["id"] in caplog.text)
    assert "zorbulator" not in caplog.text


def test_what_is_held_while_the_server_ends_is_kept(serving: Serving, tmp_path: Path) -> None:
    """The store was closed before the answers ended that a rule holds."""
    app = create_app({"fake": wrong()}, store=Store.open(tmp_path / "ziggurat.db"))
    services: Services = app.state.services
    close = services.upstreams.close

    async def closing() -> None:
        await close()
        late = ToHold(
            prompt=QUESTION,
            text="too late?",
            rule_id="house.z",
            stage="after",
            person_id=None,
            of_this_machine=False,
            origin={},
        )
        services.upstreams.holding._begin(late)

    services.upstreams.close = closing  # type: ignore[method-assign]
    with serving(app) as address:
        assert httpx.get(f"{address}/health").status_code == 200
    other = sqlite3.connect(tmp_path / "ziggurat.db")
    assert other.execute("SELECT text FROM held_answer").fetchall() == [("too late?",)]
    other.close()
