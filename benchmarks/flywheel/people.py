"""People who use the product over HTTP as the page does: session cookie, CSRF token, Server-Sent Events.

A `Person` registers or logs in, gives consents, opens chats, asks, waits for the answer's last event, and judges:
thumb, rewrite, blind pick of two. `Team` is the owner, whom the set-up token makes, and the people whom the owner
invites.

Left out: taste. What a person thinks of an answer stands in `tastes.py`, what a round of votes is in `voting.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

PASSWORD = "a long enough pass phrase"
TIMEOUT_S = 300.0
"""Of one request. An answer waits for those of the other people: one model, two cores."""
PATIENCE = 10
"""Times that a person waits when the server says that it is too much at once (429)."""


class Refused(Exception):
    """The server refused a request; the message says which, with what status and why."""

    def __init__(self, status: int, code: str | None, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Answer:
    """One answer of a model, whole."""

    chat_id: str
    message_id: str
    question_id: str
    """The person's message above it."""
    text: str
    model: str | None
    """None while hidden."""
    state: str = "complete"


@dataclass
class Person:
    """Somebody with a browser."""

    address: str
    email: str
    password: str = PASSWORD
    client: httpx.Client = field(init=False)
    csrf: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        self.client = browser(self.address)

    def close(self) -> None:
        self.client.close()

    # --- the door -------------------------------------------------------------------------------------------------

    def set_up(self, token: str) -> None:
        self._enter("/api/setup", {"token": token, "name": self.name, **self.credentials})

    def register(self, invitation: str | None = None) -> None:
        invited = {"invitation": invitation} if invitation else {}
        self._enter("/api/register", {"name": self.name, **self.credentials, **invited})

    def log_in(self) -> None:
        self._enter("/api/login", self.credentials)

    def log_out(self) -> None:
        self.call("POST", "/api/logout", {})
        self.csrf = ""

    @property
    def name(self) -> str:
        return self.email.partition("@")[0]

    @property
    def credentials(self) -> dict[str, str]:
        return {"email": self.email, "password": self.password}

    def consent(self, *purposes: str, given: bool = True) -> None:
        for purpose in purposes:
            self.call("PUT", f"/api/me/consents/{purpose}", {"given": given})

    # --- chats ----------------------------------------------------------------------------------------------------

    def new_chat(self, model: str | None = None, *, data_use: bool = True) -> str:
        named = {"model": model} if model else {}
        return str(self.call("POST", "/api/chats", {"data_use": data_use, **named})["id"])

    def ask(
        self,
        chat_id: str,
        text: str,
        *,
        parent_id: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Answer:
        """A question, and its answer when it is whole."""
        below = {"parent_id": parent_id} if parent_id else {}
        turn = self.call("POST", f"/api/chats/{chat_id}/turns", {"text": text, **below, **_given(settings)})
        return self._finished(chat_id, turn["user"]["id"], turn["generation_id"])

    def ask_two(
        self,
        chat_id: str,
        text: str,
        *,
        models: tuple[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> tuple[Answer, Answer]:
        """A question with two answers, left and right as the page shows them, their models hidden."""
        named = {"models": list(models)} if models else {}
        made = self.call("POST", f"/api/chats/{chat_id}/pair", {"text": text, **named, **_given(settings)})
        user_id, (left, right) = made["user"]["id"], made["generation_ids"]
        return self._finished(chat_id, user_id, left), self._finished(chat_id, user_id, right)

    def _finished(self, chat_id: str, user_id: str, generation_id: str) -> Answer:
        """The message of the last event."""
        message: dict[str, Any] | None = None
        for event in self._events(f"/api/chats/{chat_id}/generations/{generation_id}/events"):
            if event["type"] == "error":
                raise Refused(500, "failed", f"the answer failed: {event.get('error')}")
            message = event.get("message", message)
        if message is None:
            raise Refused(500, "cut", "the events ended without the answer's message")
        return Answer(chat_id, message["id"], user_id, message["content"], message["model"], message["state"])

    def _events(self, path: str) -> Iterator[dict[str, Any]]:
        with self.client.stream("GET", path, headers={"last-event-id": "0"}) as answer:
            if answer.status_code != 200:
                answer.read()
                _check(answer)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])

    # --- judgements -----------------------------------------------------------------------------------------------

    def thumb(
        self, answer: Answer, value: int, *, reasons: tuple[str, ...] = (), seconds: float = 3.0
    ) -> None:
        body = {"value": value, "reasons": list(reasons), "seconds": seconds}
        self.call("PUT", f"/api/chats/{answer.chat_id}/messages/{answer.message_id}/judgement", body)

    def rewrite(self, answer: Answer, text: str, *, seconds: float = 20.0) -> None:
        path = f"/api/chats/{answer.chat_id}/messages/{answer.message_id}/rewrite"
        self.call("POST", path, {"text": text, "seconds": seconds})

    def pick(self, shown: tuple[Answer, Answer], winner: str, *, seconds: float = 6.0) -> tuple[str, str]:
        """`winner`: a message's id, `tie` or `both_bad`. The models of the two, which are known from now on."""
        body = {"shown": [one.message_id for one in shown], "winner": winner, "seconds": seconds}
        first, second = self.call("POST", f"/api/chats/{shown[0].chat_id}/picks", body)["models"]
        return first, second

    # --- requests -------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request of the page; its JSON. Whoever is told to wait waits. Raises Refused."""
        for _ in range(PATIENCE):
            answer = self.client.request(method, path, json=body, headers={"x-csrf-token": self.csrf})
            if answer.status_code != 429:
                break
            time.sleep(float(answer.headers.get("retry-after") or 10.0))
        _check(answer)
        return answer.json() if answer.content else None

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def _enter(self, path: str, body: dict[str, str]) -> None:
        inside = self.call("POST", path, body)
        self.csrf, self.id = inside["csrf"], inside["person"]["id"]


@dataclass
class Team:
    """The owner, and the people that the owner invited, each logged in with the consents that the loop needs."""

    owner: Person
    members: list[Person] = field(default_factory=list)

    @classmethod
    def found(cls, address: str, token: str) -> Team:
        """Set the server up."""
        owner = Person(address, "owner@flywheel.example")
        owner.set_up(token)
        return cls(owner)

    def invite(self, count: int, role: str = "member", name: str = "voter") -> list[Person]:
        """New people: an invitation each, registered, logged out and in again, consents given."""
        found = []
        for _ in range(count):
            person = Person(self.owner.address, f"{name}-{len(self.members)}@flywheel.example")
            secret = self.owner.call("POST", "/api/admin/invitations", {"email": person.email, "role": role})
            person.register(str(secret["secret"]))
            person.log_out()
            person.log_in()
            person.consent("improve_model", "share_with_experts")
            self.members.append(person)
            found.append(person)
        return found

    def move(self, address: str) -> None:
        """The server was started again elsewhere: everybody logs in there."""
        for person in (self.owner, *self.members):
            person.client.close()
            person.address, person.csrf = address, ""
            person.client = browser(address)
            person.log_in()

    def close(self) -> None:
        for person in (self.owner, *self.members):
            person.close()


def browser(address: str) -> httpx.Client:
    """A client that lets go of an idle connection before the server closes it."""
    limits = httpx.Limits(keepalive_expiry=1.0)
    return httpx.Client(base_url=address, timeout=TIMEOUT_S, limits=limits)


def _given(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"settings": dict(settings)} if settings else {}


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": answer.text[:300], "code": None}
    request = f"{answer.request.method} {answer.request.url.path}"
    raise Refused(
        answer.status_code, error.get("code"), f"{request}: {answer.status_code} {error['message']}"
    )
