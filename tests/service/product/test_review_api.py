"""A reviewed workspace over HTTP: drafts stay on the server, in chats and in the API, until an expert has decided."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import threading
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.fakes import FakeChat, saying, wait_until
from tests.service.product.test_guarded import rule
from tests.service.product.test_matrix import entered

from ziggurat.product import registration
from ziggurat.service.access.keys import Keyring, new_key
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import generation_events, messages
from ziggurat.store.tables.programs import inferences

Open = Callable[..., httpx.Client]
SECRET = "zanzibar"
ASKED = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Where to?"}]},
    "/v1/completions": {"prompt": "Where to?"},
    "/v1/responses": {"input": "Where to?"},
}


def reviewed(open_house: Open, *pieces: str, mode: str = "all", **options: Any) -> httpx.Client:
    model = FakeChat(saying(*(pieces or ("Go to ", SECRET, "."))))
    client = open_house({"fake": model}, **options)
    assert client.put("/api/admin/settings", json={"review": mode}).status_code == 200
    return client


def ask(client: httpx.Client, text: str = "Where to?") -> tuple[str, dict[str, Any]]:
    """(chat, the answer as it waits)."""
    chat = client.post("/api/chats", json={}).json()["id"]
    turn = client.post(f"/api/chats/{chat}/turns", json={"text": text}).json()
    wait_until(lambda: message(client, chat, turn["answer"]["id"])["state"] != "running")
    return chat, message(client, chat, turn["answer"]["id"])


def message(client: httpx.Client, chat: str, message_id: str) -> dict[str, Any]:
    found = client.get(f"/api/chats/{chat}").json()["messages"]
    return next(one for one in found if one["id"] == message_id)


def items(client: httpx.Client, **query: str) -> list[dict[str, Any]]:
    return list(client.get("/api/review/items", params=query).json()["data"])


def decide(client: httpx.Client, item: str, decision: str, **more: Any) -> dict[str, Any]:
    card = client.post(f"/api/review/items/{item}/claim", json={}).json()
    body = {"decision": decision, "version": card["item"]["version"], **more}
    answer = client.post(f"/api/review/items/{item}/decision", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_draft_is_nowhere_until_it_is_approved(open_house: Open, tmp_path: Path) -> None:
    client = reviewed(open_house)
    chat, held = ask(client)
    assert (held["state"], held["content"]) == ("held", "")
    everything = [
        client.get(f"/api/chats/{chat}").text,
        client.get(f"/api/chats/{chat}/tree").text,
        client.get(f"/api/chats/{chat}/export?format=json").text,
        client.get(f"/api/chats/{chat}/reviews").text,
        client.get("/api/search", params={"q": SECRET}).text,
    ]
    assert not any(SECRET in text for text in everything)
    store = Store.open(tmp_path / "ziggurat.db")
    with store.read() as conn:
        shown = conn.execute(messages.select()).all() + conn.execute(generation_events.select()).all()
        assert SECRET not in str(shown)
    store.close()
    refused = client.post(f"/api/chats/{chat}/turns", json={"text": "And?", "parent_id": held["id"]})
    assert refused.json()["error"]["code"] == "answer_held"
    (item,) = items(client)
    card = client.get(f"/api/review/items/{item['id']}").json()
    assert card["versions"][0]["text"] == f"Go to {SECRET}."
    assert card["prompt"][-1]["content"] == "Where to?"
    client.post(f"/api/review/items/{item['id']}/notes", json={"text": "xyzzy internal"})
    decide(client, item["id"], "approve")
    assert message(client, chat, held["id"])["content"] == f"Go to {SECRET}."
    assert SECRET in client.get("/api/search", params={"q": SECRET}).text
    customers = client.get(f"/api/chats/{chat}").text + client.get(f"/api/chats/{chat}/reviews").text
    assert "xyzzy" not in customers + client.get(f"/api/chats/{chat}/export?format=json").text
    assert client.get("/api/admin/audit?verify=true").json()["broken"] is None


def test_nothing_of_the_draft_is_streamed(open_house: Open) -> None:
    client = reviewed(open_house)
    chat = client.post("/api/chats", json={}).json()["id"]
    turn = client.post(f"/api/chats/{chat}/turns", json={"text": "Where to?"}).json()
    events = client.get(f"/api/chats/{chat}/generations/{turn['generation_id']}/events").text
    assert '"held"' in events
    assert '"done"' in events
    assert "Go to" not in events


def test_what_would_go_round_the_review_is_refused(open_house: Open) -> None:
    client = reviewed(open_house)
    temporary = client.post(
        "/api/chat", json={"model": "fake", "messages": [{"role": "user", "content": "x"}]}
    )
    assert (temporary.status_code, temporary.json()["error"]["code"]) == (409, "review_first")
    assert client.get("/api/models").json()["temporary"] is False, "so the page does not offer it"
    chat, held = ask(client)
    client.post(f"/api/chats/{chat}/reviews/{held['id']}/cancel", json={})
    again = client.post(f"/api/chats/{chat}/messages/{held['id']}/continue", json={})
    assert again.json()["error"]["code"] == "review_first"
    body = {"model": "fake", **ASKED["/v1/chat/completions"], "n": 2}
    several = client.post("/v1/chat/completions", json=body)
    assert (several.status_code, several.json()["error"]["code"]) == (400, "one_at_a_time")


def test_the_expert_asks_for_another_draft(open_house: Open) -> None:
    said: list[str] = []

    def answer(history: Any, params: Any) -> list[str]:
        said.append(history[-1].content)
        return ["shorter"] if len(said) > 1 else ["a long answer"]

    client = open_house({"fake": FakeChat(answer)})
    client.put("/api/admin/settings", json={"review": "all"})
    chat, held = ask(client)
    (item,) = items(client)
    decide(client, item["id"], "reject", reasons=["too_long"], then="regenerate", instruction="One word.")
    wait_until(lambda: items(client)[0]["state"] == "claimed")
    assert "One word." in said[1]
    card = client.get(f"/api/review/items/{item['id']}").json()
    assert [one["text"] for one in card["versions"]] == ["a long answer", "shorter"]
    body = {"decision": "approve", "version": card["item"]["version"]}
    client.post(f"/api/review/items/{item['id']}/decision", json=body)
    assert message(client, chat, held["id"])["content"] == "shorter"


@pytest.mark.parametrize("path", ASKED)
def test_a_draft_of_a_call_is_not_kept_among_the_answers(open_house: Open, tmp_path: Path, path: str) -> None:
    """Its id and hashes are, so that feedback finds it; the archive of who asked holds nothing of its text."""
    client = reviewed(open_house)
    assert client.put("/api/admin/settings", json={"api_answers": "all"}).status_code == 200
    assert client.post(path, json={"model": "fake", **ASKED[path]}).status_code == 202
    store = Store.open(tmp_path / "ziggurat.db")

    def kept() -> list[Any]:
        with store.read() as conn:
            return list(conn.execute(inferences.select()))

    wait_until(lambda: bool(kept()))
    (row,) = kept()
    store.close()
    assert (row.prompt, row.answer, len(row.answer_hash)) == (None, None, 64)
    with zipfile.ZipFile(io.BytesIO(client.get("/api/me/export").content)) as archive:
        assert json.loads(archive.read("answers.json"))[0]["id"] == row.id
        assert not any(SECRET.encode() in archive.read(name) for name in archive.namelist())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ASKED)
def test_a_call_is_answered_by_an_id_and_polled(open_house: Open, path: str, stream: bool) -> None:
    client = reviewed(open_house)
    answer = client.post(path, json={"model": "fake", **ASKED[path], "stream": stream})
    assert answer.status_code == 202
    assert SECRET not in answer.text
    told = answer.json()
    assert (told["object"], told["status"]) == ("review", "waiting")
    assert answer.headers["location"] == told["poll"] == f"/v1/reviews/{told['id']}"
    assert SECRET not in client.get(told["poll"]).text
    decide(client, told["id"], "edit", text="Go to Pemba.", reasons=["fact"])
    found = client.get(told["poll"]).json()
    assert (found["status"], found["by_person"]) == ("delivered", True)
    assert SECRET not in json.dumps(found)
    text = {
        "/v1/chat/completions": lambda r: r["choices"][0]["message"]["content"],
        "/v1/completions": lambda r: r["choices"][0]["text"],
        "/v1/responses": lambda r: r["output"][0]["content"][0]["text"],
    }[path](found["response"])
    assert text == "Go to Pemba."
    assert client.get("/v1/reviews/review_none").status_code == 404


def test_a_response_cannot_be_fetched_before_the_decision(open_house: Open) -> None:
    client = reviewed(open_house)
    body = {"model": "fake", "input": "Where to?", "store": True}
    told = client.post("/v1/responses", json=body).json()
    decide(client, told["id"], "approve")
    response = client.get(told["poll"]).json()["response"]
    assert client.get(f"/v1/responses/{response['id']}").status_code == 404


def test_a_call_may_wait_for_the_decision(open_house: Open) -> None:
    client = reviewed(open_house)
    got: list[httpx.Response] = []

    def call() -> None:
        with httpx.Client(base_url=client.base_url, timeout=20) as other:
            body = {"model": "fake", **ASKED["/v1/chat/completions"]}
            got.append(other.post("/v1/chat/completions", json=body, headers={"prefer": "wait=15"}))

    thread = threading.Thread(target=call)
    thread.start()
    wait_until(lambda: len(items(client)) == 1)
    decide(client, items(client)[0]["id"], "approve")
    thread.join(10)
    assert got[0].status_code == 200
    assert got[0].json()["choices"][0]["message"]["content"] == f"Go to {SECRET}."
    assert got[0].json()["object"] == "chat.completion"


def test_a_guards_answer_joins_the_same_line(open_house: Open) -> None:
    client = open_house({"fake": FakeChat(saying("Take ", "zorbulator", "."))})
    rule(client, words=["zorbulator"], action="hold", templates={"en": ["Held for a look."]})
    chat, held = ask(client)
    assert held["state"] == "held"
    (item,) = items(client)
    assert "guard" in item["routed"]
    (one,) = client.get("/api/admin/held").json()["data"]
    released = client.post(f"/api/admin/held/{one['id']}", json={"decision": "release"}).json()
    assert released["decision"] == "release"
    assert message(client, chat, held["id"])["content"] == "Take zorbulator."
    assert (items(client), items(client, show="done")[0]["state"]) == ([], "delivered")
    chat, held = ask(client)
    decide(client, items(client)[0]["id"], "reject", reasons=["policy"], then="withhold")
    assert client.get("/api/admin/held").json()["data"] == []
    assert message(client, chat, held["id"])["content"] == ""


def test_a_policy_may_let_a_topic_pass_and_it_is_not_called_checked(open_house: Open, tmp_path: Path) -> None:
    client = reviewed(open_house, mode="policy")
    made = client.post("/api/review/policies", json={"topic": "general", "sample_pct": 0}).json()
    _, held = ask(client)
    assert held["state"] == "held", "mode all"
    early = client.post(f"/api/review/policies/{made['id']}/autonomy", json={"mode": "sampled"})
    assert early.json()["error"]["code"] == "not_earned"
    store = Store.open(tmp_path / "ziggurat.db")
    with store.write() as conn:
        conn.exec_driver_sql("UPDATE review_policy SET mode = 'sampled'")
    store.close()
    chat, passed = ask(client)
    assert passed["content"] == f"Go to {SECRET}."
    status = client.get(f"/api/chats/{chat}/reviews").json()["data"][0]
    assert (status["state"], status["by_person"]) == ("delivered", False)
    assert client.post("/api/review/stop", json={}).json() == {"changed": 1}
    assert ask(client)[1]["state"] == "held"


@contextmanager
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            got.append((dict(self.headers.items()), self.rfile.read(length)))
            self.send_response(500 if len(got) == 1 else 204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_a_delivery_is_told_to_the_webhook_signed(open_house: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from ziggurat.service.product import routes
    from ziggurat.workbench.review import webhooks

    monkeypatch.setattr(routes, "SEND_EVERY_S", 0.05)
    monkeypatch.setattr(webhooks, "FIRST_WAIT_S", 0)
    with receiver() as (url, got):
        client = reviewed(open_house)
        secret = client.put("/api/review/webhook", json={"url": url}).json()["secret"]
        assert client.put("/api/review/webhook", json={"url": "file:///etc/passwd"}).status_code == 400
        told = client.post("/v1/chat/completions", json={"model": "fake", **ASKED["/v1/chat/completions"]})
        decide(client, told.json()["id"], "approve")
        wait_until(lambda: len(got) == 2)  # the first was refused, and is sent again
        (first, _), (headers, body) = got
        headers = {name.lower(): value for name, value in headers.items()}
        assert {k.lower(): v for k, v in first.items()}["webhook-id"] == headers["webhook-id"]
        key = b64decode(secret.removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = hmac.new(key, signed, hashlib.sha256).digest()
        assert b64decode(headers["webhook-signature"].removeprefix("v1,")) == expected
        assert json.loads(body)["type"] == "review.delivered"
        assert json.loads(body)["data"]["response"]["choices"][0]["message"]["content"] == f"Go to {SECRET}."


@pytest.mark.parametrize("error", [httpx.InvalidURL("bad"), UnicodeError("bad"), httpx.ConnectError("bad")])
def test_a_bad_address_stops_no_other_webhook(error: Exception) -> None:
    import asyncio
    from types import SimpleNamespace

    from ziggurat.service.product.review.duties import ReviewDuties
    from ziggurat.workbench.review import webhooks

    told: list[tuple[str, str | None]] = []

    class House:
        async def run(self, rule: Any, *given: Any) -> Any:
            if rule is webhooks.due:
                return [SimpleNamespace(id=name, url=name, body=b"", headers={}) for name in ("bad", "good")]
            told.append(given)
            return None

    class Client:
        async def post(self, url: str, **_: Any) -> httpx.Response:
            if url == "bad":
                raise error
            return httpx.Response(204)

    duties = ReviewDuties(House())  # type: ignore[arg-type]
    duties._client = Client()  # type: ignore[assignment]
    asyncio.run(duties.send())
    assert told == [("bad", type(error).__name__), ("good", None)]


def test_another_draft_is_asked_for_once(open_house: Open) -> None:
    client = reviewed(open_house)
    ask(client)
    (item,) = items(client)
    assert client.post(f"/api/review/items/{item['id']}/regenerate", json={}).status_code == 409
    client.post(f"/api/review/items/{item['id']}/claim", json={})
    assert client.post(f"/api/review/items/{item['id']}/regenerate", json={}).status_code == 409


def test_only_the_key_that_asked_can_poll(open_house: Open, tmp_path: Path) -> None:
    """A key of the store is its person's; two keys of a file are told apart by their hashes."""
    store = Store.open(tmp_path / "ziggurat.db")
    token = registration.setup_token(store)
    store.close()
    mine, other = (new_key(tmp_path / "keys.jsonl", name) for name in ("mine", "other"))
    model = FakeChat(saying("Go to ", SECRET))
    client = open_house({"fake": model}, accounts=True, keyring=Keyring(tmp_path / "keys.jsonl"))
    owner = entered(str(client.base_url), "/api/setup", "owner@house.example", token=str(token))
    assert owner.send("put", "/api/admin/settings", {"review": "all"}).status_code == 200
    kept = owner.send("post", "/api/me/keys", {"name": "kept", "scopes": ["chat"]}).json()["secret"]
    body = {"model": "fake", **ASKED["/v1/chat/completions"]}
    for asking, stranger in ((mine, other), (kept, mine)):
        headers = {"authorization": f"Bearer {asking}"}
        told = client.post("/v1/chat/completions", json=body, headers=headers)
        assert told.status_code == 202, told.text
        poll = told.json()["poll"]
        assert client.get(poll, headers=headers).json()["status"] == "waiting"
        assert client.get(poll, headers={"authorization": f"Bearer {stranger}"}).status_code == 404
        assert client.get(poll).status_code == 401
    owner.client.close()


def test_a_draft_that_cannot_be_kept_is_answered_to_nobody(
    open_house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ziggurat.service.product.review import calls, drafts

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    client = reviewed(open_house)
    for module in (calls, drafts):
        monkeypatch.setattr(module, "take_in", full)
    for path, body in ASKED.items():
        answer = client.post(path, json={"model": "fake", **body})
        assert answer.status_code == 500
        assert SECRET not in answer.text
    chat = client.post("/api/chats", json={}).json()["id"]
    turn = client.post(f"/api/chats/{chat}/turns", json={"text": "Where to?"}).json()
    events = client.get(f"/api/chats/{chat}/generations/{turn['generation_id']}/events").text
    assert '"error"' in events
    assert SECRET not in events + client.get(f"/api/chats/{chat}").text
