"""Under load and abuse: nothing hangs, nothing grows, and whoever comes next is answered."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, saying, wait_until
from tests.service.tiny import MODEL, asking, tiny_chat

from ziggurat.dialogue.chat import Chat
from ziggurat.service.http.limits import Limits
from ziggurat.service.models.tickets import Ticket
from ziggurat.service.models.worker import ModelWorker
from ziggurat.service.server import create_app


@pytest.fixture
def address(serving: Serving, chat: Chat) -> Iterator[str]:
    with serving(create_app({MODEL: chat}, limits=Limits(max_waiting=400, max_running=32))) as where:
        yield where


def test_two_hundred_that_hang_up_leave_a_server_that_answers(address: str) -> None:
    async def hang_up() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=0.5, limits=limits) as client:
            sent = [
                client.post(f"{address}/v1/chat/completions", json=asking(max_tokens=450, temperature=1))
                for _ in range(200)
            ]
            await asyncio.gather(*sent, return_exceptions=True)

    asyncio.run(hang_up())
    began = time.monotonic()
    told = httpx.post(f"{address}/v1/chat/completions", json=asking(max_tokens=4), timeout=10)
    assert told.status_code == 200
    assert time.monotonic() - began < 5

    def idle() -> bool:
        state = httpx.get(f"{address}/admin/health").json()["models"][MODEL]
        return bool(state["running"] == state["waiting"] == 0)

    wait_until(idle)


def test_a_full_line_says_when_to_come_back_and_everybody_in_it_is_answered(
    serving: Serving, chat: Chat
) -> None:
    limits = Limits(max_waiting=20, max_running=4)
    with serving(create_app({MODEL: chat}, limits=limits)) as address:

        async def crowd() -> list[httpx.Response]:
            async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=300)) as client:
                sent = [
                    client.post(f"{address}/v1/chat/completions", json=asking(max_tokens=8))
                    for _ in range(300)
                ]
                return await asyncio.gather(*sent)

        told = asyncio.run(crowd())
        assert {response.status_code for response in told} == {200, 503}
        refused = [response for response in told if response.status_code == 503]
        assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
        assert all("try again" in response.json()["error"]["message"] for response in refused)
        answered = {
            response.json()["choices"][0]["message"]["content"]
            for response in told
            if response.status_code == 200
        }
        assert len(answered) == 1  # greedy: the same question has one answer, whoever sat beside it


def crowd_of(n: int, address: str) -> list[httpx.Response]:
    """`n` requests at once, each on a connection of its own."""

    async def all_of_them() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            url = f"{address}/v1/chat/completions"
            return await asyncio.gather(*(client.post(url, json=asking(max_tokens=2)) for _ in range(n)))

    return asyncio.run(all_of_them())


@pytest.mark.slow
def test_six_hundred_in_the_line_are_answered_in_their_order(
    serving: Serving, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody starves: whoever joined the line first is begun first, and memory stays bounded."""
    tickets: list[Ticket] = []
    submit = ModelWorker.submit

    def kept(worker: ModelWorker[Any], request: Any, owner: str, **how: Any) -> Ticket:
        tickets.append(submit(worker, request, owner, **how))
        return tickets[-1]

    monkeypatch.setattr(ModelWorker, "submit", kept)
    memory = psutil.Process().memory_info
    with serving(create_app({MODEL: chat}, limits=Limits(max_waiting=600, max_running=32))) as address:
        before = memory().rss
        told = crowd_of(600, address)
    assert {response.status_code for response in told} == {200}
    assert memory().rss - before < 400 * 2**20  # server and client are one process here
    began = [ticket.t_started for ticket in tickets]
    assert len(began) == 600
    assert began == sorted(began)
    waits = [ticket.t_started - ticket.t_submitted for ticket in tickets]
    assert max(waits) > 20 * min(waits)  # there was a line


@pytest.mark.slow
def test_two_thousand_at_once_are_answered_or_told_when_to_come_back(serving: Serving, chat: Chat) -> None:
    with serving(create_app({MODEL: chat})) as address:
        told = crowd_of(2_000, address)
        statuses = [response.status_code for response in told]
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) >= Limits().max_waiting
        assert all(int(r.headers["retry-after"]) >= 1 for r in told if r.status_code == 503)
        assert httpx.post(f"{address}/v1/chat/completions", json=asking(max_tokens=2)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"model": ' + b'{"a":' * 20_000,
        b'{"model": "\xff\xfe"}',
        b"null",
        b"[]",
        b'"x"',
        b"",
        b'{"model": "\\ud800", "messages": []}',
        b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}], "temperature": NaN}',
        b'{"model": "m", "max_tokens": 1e400}',
    ],
)
def test_bodies_that_are_no_request_are_a_400(address: str, body: bytes) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/v1/embeddings"):
        told = httpx.post(f"{address}{path}", content=body, headers={"content-type": "application/json"})
        assert told.status_code in (400, 404), (path, told.text)
        assert set(told.json()["error"]) == {"message", "type", "param", "code"}


def test_a_hundred_megabytes_are_refused_before_they_are_read(address: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * (1 << 20)

    announced = httpx.post(
        f"{address}/v1/completions", content=b" " * (2 << 20), headers={"content-type": "application/json"}
    )
    assert announced.status_code == 413
    try:
        streamed = httpx.post(
            f"{address}/v1/completions", content=endless(), headers={"content-type": "application/json"}
        )
    except httpx.HTTPError:
        pass  # the server hung up on it
    else:
        assert streamed.status_code == 413


def test_clients_that_trickle_hold_nobody_up(serving: Serving, chat: Chat) -> None:
    with serving(create_app({MODEL: chat}, limits=Limits(body_timeout_s=0.5))) as address:
        host, port = address.removeprefix("http://").split(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(50)]
        for one in slow:
            one.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            )
        for one in slow[25:]:
            one.sendall(b"Content-Length: 1000\r\n\r\n{")
        began = time.monotonic()
        assert httpx.post(f"{address}/v1/chat/completions", json=asking(max_tokens=2)).status_code == 200
        assert time.monotonic() - began < 3
        slow[-1].settimeout(5)
        assert b" 408 " in slow[-1].recv(1000).splitlines()[0] + b" "
        for one in slow:
            one.close()


def test_a_crash_of_the_engine_is_told_to_all_and_turns_health_to_503(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = tiny_chat()

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck in /a/secret/path")

    with serving(create_app({MODEL: chat})) as address:
        assert httpx.post(f"{address}/v1/chat/completions", json=asking(max_tokens=2)).status_code == 200
        monkeypatch.setattr(chat.model, "hidden", crash)
        told = httpx.post(f"{address}/v1/chat/completions", json=asking())
        assert told.status_code == 500
        assert "secret" not in told.text
        assert httpx.get(f"{address}/health").status_code == 503
        assert httpx.get(f"{address}/ready").status_code == 503
        later = httpx.post(f"{address}/v1/chat/completions", json=asking())
        assert (later.status_code, "failed" in later.json()["error"]["message"]) == (503, True)
        assert later.json()["error"]["code"] == "failed"


def test_a_reader_who_stops_reading_does_not_stop_the_others(serving: Serving) -> None:
    chat = FakeChat(saying(*["word " * 200] * 2000))
    with serving(create_app({"m": chat})) as address:
        host, port = address.removeprefix("http://").split(":")
        body = json.dumps(
            {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        ).encode()
        deaf = socket.create_connection((host, int(port)))
        deaf.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        wait_until(lambda: len(chat.requests) == 1)
        chat.answer = saying("heard")
        told = httpx.post(f"{address}/v1/chat/completions", json=asking(model="m"), timeout=20)
        assert told.json()["choices"][0]["message"]["content"] == "heard"
        deaf.close()
