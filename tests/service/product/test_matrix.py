"""Who may do what over HTTP: every route below /api, generated from the server's own description.

nobody logged in       401, but for the doors
another member         404 for each object of somebody else, as for an unknown one
a member               403 for everything of administrators
a foreign page         403: no CSRF token, no change
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from tests.service.product.events import ask, finish, new_chat

from ziggurat.product import registration
from ziggurat.service.product.house import DOORS, SHARED
from ziggurat.store.store import Store

PASSWORD = "a long and quiet password"
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/api/chats/{chat_id}/turns"): {"text": "Hello"},
    ("post", "/api/chats/{chat_id}/pair"): {"text": "Hello"},
    ("post", "/api/chats/{chat_id}/picks"): {"shown": ["{message_id}", "{user_id}"], "winner": "tie"},
    ("post", "/api/chats/{chat_id}/fork"): {"message_id": "{message_id}"},
    ("post", "/api/chats/{chat_id}/messages/{message_id}/edit"): {"text": "Hello", "run": False},
    ("post", "/api/chats/{chat_id}/messages/{message_id}/rewrite"): {"text": "Better"},
    ("post", "/api/chats/{chat_id}/messages/{message_id}/report"): {"kind": "spam", "reason": "It is."},
    ("put", "/api/chats/{chat_id}/messages/{message_id}/judgement"): {"value": 1},
    ("post", "/api/chats/{chat_id}/generations/{generation_id}/stop"): {"seen_chars": 1},
    ("post", "/api/chats/{chat_id}/reviews/{message_id}/complaint"): {"text": "It is wrong."},
    ("patch", "/api/chats/{chat_id}"): {"title": "Mine now"},
    ("patch", "/api/folders/{folder_id}"): {"name": "Mine now"},
    ("patch", "/api/personas/{persona_id}"): {"name": "Mine now"},
    ("patch", "/api/admin/people/{person_id}"): {"role": "owner"},
    ("post", "/api/admin/invitations"): {"role": "owner"},
    ("post", "/api/admin/rules"): {"kind": "words", "name": "n", "words": ["hello"], "action": "block"},
    ("patch", "/api/admin/rules/{rule_id}"): {"enabled": False},
    ("post", "/api/admin/rules/try"): {"text": "hello"},
    ("post", "/api/admin/held/{held_id}"): {"decision": "release"},
    ("put", "/api/admin/settings"): {"registration": "open"},
}
OWNED = ("chat_id", "folder_id", "persona_id", "share_id", "key_id", "session_id")
"""Ids of objects that belong to one person."""


@dataclass
class Account:
    """Somebody who is logged in."""

    client: httpx.Client
    csrf: str
    person_id: str
    ids: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"x-csrf-token": self.csrf}
        if method in ("get", "delete") and body is None:
            return self.client.request(method, path, headers=headers)
        return self.client.request(method, path, json=body or {}, headers=headers)


@dataclass
class Town:
    """A server with three people; the first owns it, the second has objects of every kind."""

    owner: Account
    ana: Account
    ben: Account
    paths: dict[str, dict[str, Any]]

    def routes(self) -> Iterator[tuple[str, str]]:
        for path, methods in self.paths.items():
            if path.startswith("/api/"):
                for method in methods:
                    yield method, path


@pytest.fixture
def town(open_house: Callable[..., httpx.Client], monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    token: list[str] = []
    opened = Store.open

    def remembering(*args: Any, **kwargs: Any) -> Store:
        store = opened(*args, **kwargs)
        token.append(registration.setup_token(store) or "")
        return store

    monkeypatch.setattr(Store, "open", remembering)
    client = open_house(accounts=True)
    address = str(client.base_url)
    owner = entered(address, "/api/setup", "owner@house.example", token=token[0])
    opened_up = owner.send("put", "/api/admin/settings", {"registration": "open"})
    assert opened_up.status_code == 200, opened_up.text
    ana = entered(address, "/api/register", "ana@house.example")
    ben = entered(address, "/api/register", "ben@house.example")
    furnish(ana)
    yield Town(owner, ana, ben, described(owner))
    for account in (owner, ana, ben):
        account.client.close()


def described(owner: Account) -> dict[str, Any]:
    """The paths of /openapi.json, which needs a key."""
    key = owner.send("post", "/api/me/keys", {"name": "reader", "scopes": ["chat"]})
    assert key.status_code == 201, key.text
    headers = {"authorization": f"Bearer {key.json()['secret']}"}
    answer = httpx.get(f"{owner.client.base_url}/openapi.json", headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["paths"])


def entered(address: str, door: str, email: str, **more: str) -> Account:
    client = httpx.Client(base_url=address, timeout=30)
    body = {"email": email, "name": email.partition("@")[0], "password": PASSWORD, **more}
    answer = client.post(door, json=body)
    assert answer.status_code == 201, answer.text
    return Account(client, answer.json()["csrf"], answer.json()["person"]["id"])


def furnish(who: Account) -> None:
    """One object of every kind."""
    who.client.headers["x-csrf-token"] = who.csrf
    chat_id = new_chat(who.client)
    begun = ask(who.client, chat_id, "Hello")
    message = finish(who.client, chat_id, begun["generation_id"])
    made = {
        "folder_id": who.send("post", "/api/folders", {"name": "Papers"}),
        "persona_id": who.send("post", "/api/personas", {"name": "Tutor", "system_prompt": "Teach."}),
        "share_id": who.send("post", f"/api/chats/{chat_id}/shares"),
    }
    sessions = who.send("get", "/api/me/sessions").json()["data"]
    who.ids = {
        "chat_id": chat_id,
        "message_id": message["id"],
        "user_id": begun["user"]["id"],
        "generation_id": begun["generation_id"],
        "session_id": sessions[0]["id"],
        "key_id": "key_00000000000070008000000000000000",
        "person_id": who.person_id,
        **{name: answer.json()["id"] for name, answer in made.items()},
    }


def filled(template: str, ids: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda m: ids.get(m.group(1), "unknown"), template)


def body_of(method: str, path: str, ids: dict[str, str]) -> Any:
    body = BODIES.get((method, path))

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return filled(value, ids)
        return [fill(one) for one in value] if isinstance(value, list) else value

    return None if body is None else {name: fill(value) for name, value in body.items()}


def query_of(path: str, ids: dict[str, str]) -> str:
    if path.endswith("/messages"):
        return f"?before={ids['message_id']}"
    return "?q=hello" if path == "/api/search" else ""


def test_nobody_passes_without_a_login_but_by_the_doors(town: Town) -> None:
    with httpx.Client(base_url=town.owner.client.base_url, timeout=30) as stranger:
        for method, path in town.routes():
            if path in DOORS or path.startswith(SHARED):
                continue
            url = filled(path, town.ana.ids) + query_of(path, town.ana.ids)
            answer = stranger.request(method, url, json=body_of(method, path, town.ana.ids) or {})
            assert answer.status_code == 401, (method, path, answer.text)


def test_an_object_of_somebody_else_is_as_unknown_as_no_object(town: Town) -> None:
    checked = 0
    unknown = {name: re.sub("[0-9a-f]{4}$", "0000", value) for name, value in town.ana.ids.items()}
    for method, path in town.routes():
        if "/admin/" in path or not any(f"{{{name}}}" in path for name in OWNED):
            continue
        if method == "get" and path.endswith("/events"):
            continue  # a stream; its generation is asked for by `stop` below
        answers = []
        for ids in (town.ana.ids, unknown):
            url = filled(path, ids) + query_of(path, ids)
            answer = town.ben.send(method, url, body_of(method, path, ids))
            answers.append((answer.status_code, answer.json()["error"]["code"]))
        assert answers[0] == answers[1], (method, path, answers)
        may_not = path.startswith("/api/me/keys")  # members have no keys at all
        assert answers[0] == ((403, "forbidden") if may_not else (404, "not_found")), (method, path, answers)
        checked += 1
    assert checked > 25
    kept = town.ana.send("get", f"/api/chats/{town.ana.ids['chat_id']}")
    assert kept.status_code == 200
    assert len(kept.json()["messages"]) == 2


def test_the_events_of_somebody_elses_answer_are_not_sent(town: Town) -> None:
    ids = town.ana.ids
    answer = town.ben.send("get", f"/api/chats/{ids['chat_id']}/generations/{ids['generation_id']}/events")
    assert answer.status_code == 404


def test_emptying_the_trash_deletes_what_is_mine_and_lies_in_it(town: Town) -> None:
    for who, titles in ((town.ana, ("kept", "gone", "gone too")), (town.ben, ("of ben", "his last one"))):
        made = {title: who.send("post", "/api/chats", {"title": title}).json()["id"] for title in titles}
        for title in titles[1:]:
            assert who.send("delete", f"/api/chats/{made[title]}").status_code == 200
    with httpx.Client(base_url=town.ana.client.base_url, cookies=town.ana.client.cookies) as client:
        assert client.delete("/api/chats/trash").json()["error"]["code"] == "csrf"
    emptied = town.ana.send("delete", "/api/chats/trash")
    assert (emptied.status_code, emptied.json()) == (200, {"deleted": 2})
    assert town.ana.send("get", "/api/chats?trash=true").json()["data"] == []
    assert town.ana.send("get", f"/api/chats/{town.ana.ids['chat_id']}").status_code == 200
    assert "kept" in [one["title"] for one in town.ana.send("get", "/api/chats").json()["data"]]
    assert [one["title"] for one in town.ben.send("get", "/api/chats?trash=true").json()["data"]] == [
        "his last one"
    ]
    assert town.ana.send("delete", "/api/chats/trash").json() == {"deleted": 0}
    entries = town.owner.send("get", "/api/admin/audit").json()["data"]
    (entry,) = [one for one in entries if one["action"] == "trash.empty"]
    assert (entry["actor_id"], len(entry["detail"]["chats"])) == (town.ana.person_id, 2)


def test_a_member_does_nothing_of_administrators(town: Town) -> None:
    checked = 0
    for method, path in town.routes():
        if not path.startswith("/api/admin/"):
            continue
        answer = town.ben.send(method, filled(path, town.ana.ids), body_of(method, path, town.ana.ids))
        assert answer.status_code in (403, 404), (method, path, answer.text)
        checked += 1
    assert checked >= 15
    people = town.owner.send("get", "/api/admin/people").json()["data"]
    assert [one["role"] for one in people].count("owner") == 1
    used = {one["id"]: one["used_today"] for one in people}
    nothing = {town.owner.person_id: 0, town.ben.person_id: 0}
    assert used == {town.ana.person_id: 1 + 5, **nothing}, "one word of a question, five pieces of an answer"


def test_no_change_without_the_csrf_token(town: Town) -> None:
    for headers in ({}, {"x-csrf-token": town.ben.csrf}):
        with httpx.Client(base_url=town.ana.client.base_url, cookies=town.ana.client.cookies) as client:
            url = f"/api/chats/{town.ana.ids['chat_id']}"
            answer = client.patch(url, json={"title": "x"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf")


def test_a_cookie_is_no_api_key_and_a_revoked_key_is_none(town: Town) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}
    assert town.ana.client.post("/v1/chat/completions", json=body).status_code == 401
    made = town.owner.send("post", "/api/me/keys", {"name": "mine", "scopes": ["embeddings"]}).json()
    headers = {"authorization": f"Bearer {made['secret']}"}
    url = f"{town.owner.client.base_url}/v1/chat/completions"
    narrow = httpx.post(url, json=body, headers=headers)
    assert (narrow.status_code, narrow.json()["error"]["code"]) == (403, "scope")
    wide = town.owner.send("post", "/api/me/keys", {"name": "wide", "scopes": ["chat"]}).json()
    headers = {"authorization": f"Bearer {wide['secret']}"}
    assert httpx.post(url, json=body, headers=headers).status_code == 200
    town.owner.send("delete", f"/api/me/keys/{wide['id']}")

    time.sleep(1.2)  # a key is remembered for a second
    assert httpx.post(url, json=body, headers=headers).status_code == 401


def test_over_https_the_cookie_is_bound_to_this_host_and_the_browser_is_told_to_stay(town: Town) -> None:
    headers = {"x-forwarded-proto": "https"}  # as a proxy on this machine says it
    with httpx.Client(base_url=town.ana.client.base_url) as client:
        body = {"email": "ana@house.example", "password": PASSWORD}
        answer = client.post("/api/login", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-ziggurat=")
    for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert part in cookie
    assert "domain" not in cookie.lower()
    assert answer.headers["strict-transport-security"].startswith("max-age=")
