"""What one key, or one address, may have in the line, and whose turn it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, FakeRequest, saying, told_of, wait_until

from ziggurat.engine.params import SamplingParams
from ziggurat.records import Message
from ziggurat.service.access.keys import Keyring, new_key
from ziggurat.service.http.limits import Limits
from ziggurat.service.models.worker import ModelWorker
from ziggurat.service.server import create_app

TIGHT = Limits(max_running=1, max_waiting=8, max_waiting_each=2, max_sequences=4)


@pytest.fixture
def chat() -> Iterator[FakeChat]:
    """Its first answer is held back until somebody releases the gate."""
    made = FakeChat(saying("word"))
    made.gate = threading.Semaphore(0)
    yield made
    made.gate.release(1000)


@pytest.fixture
def pool(chat: FakeChat) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads
        assert chat.gate is not None
        chat.gate.release(1000)  # before it waits for them


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "keys.jsonl"
    made = {name: new_key(file, name, concurrent=50, tokens_per_minute=10**6) for name in ("ana", "ben")}
    return {**made, "root": new_key(file, "root", admin=True)}


@pytest.fixture
def address(serving: Serving, chat: FakeChat, keys: dict[str, str], tmp_path: Path) -> Iterator[str]:
    app = create_app({"m": chat}, keyring=Keyring(tmp_path / "keys.jsonl"), limits=TIGHT)
    with serving(app) as where:
        yield where


Ask = Callable[..., "Future[httpx.Response]"]


@pytest.fixture
def ask(address: str, keys: dict[str, str], pool: ThreadPoolExecutor) -> Ask:
    """Sends a prompt by the key of that name; returns when it runs (`waiting` 0), when so many wait, or (-1) when it is
    answered."""

    def send(name: str, prompt: Any, *, waiting: int = 0, **fields: Any) -> Future[httpx.Response]:
        headers = {"authorization": f"Bearer {keys[name]}"}
        body = {"model": "m", "prompt": prompt, "max_tokens": 2, **fields}
        sent = pool.submit(httpx.post, f"{address}/v1/completions", json=body, headers=headers, timeout=20)

        def stands() -> bool:
            told = told_of(address, keys["root"])
            return bool(told["running"] == 1 and told["waiting"] == waiting)

        wait_until(sent.done if waiting < 0 else stands)
        return sent

    return send


def begun(chat: FakeChat) -> list[str]:
    return [messages[0].content for messages, _ in chat.requests]


def test_a_key_that_has_its_share_is_told_to_wait_and_others_have_their_turn(
    ask: Ask, chat: FakeChat
) -> None:
    first = ask("ana", "a1")
    sent = [first, ask("ana", "a2", waiting=1), ask("ana", "a3", waiting=2)]
    refused = ask("ana", "a4", waiting=-1).result()
    sent += [ask("ben", "b1", waiting=3), ask("ben", "b2", waiting=4)]
    assert refused.status_code == 429
    assert refused.json()["error"] == {
        "message": "This key has 2 of at most 2 answers waiting for m, and this request asks for 1; "
        "send it again when some have begun.",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert int(refused.headers["retry-after"]) >= 1
    assert "x-should-retry" not in refused.headers
    assert chat.gate is not None
    chat.gate.release(1000)
    assert [one.result().status_code for one in sent] == [200] * 5
    assert begun(chat) == ["a1", "a2", "b1", "a3", "b2"]


def test_a_request_alone_is_taken_whole(ask: Ask, chat: FakeChat) -> None:
    sent = [ask("ana", "a1"), ask("ana", ["a2", "a3", "a4"], waiting=3)]  # where two may wait
    refused = ask("ana", "a5", waiting=-1).result()
    assert (refused.status_code, "3 of at most 2" in refused.json()["error"]["message"]) == (429, True)
    sent.append(ask("ben", "b1", waiting=4))
    assert chat.gate is not None
    chat.gate.release(1000)
    assert [one.result().status_code for one in sent] == [200] * 3
    assert begun(chat) == ["a1", "a2", "b1", "a3", "a4"]


def test_a_request_for_which_there_is_no_room_is_refused_whole(ask: Ask, chat: FakeChat) -> None:
    sent = [ask("ana", "a1"), ask("ana", ["a2", "a3", "a4"], waiting=3), ask("ben", ["b"] * 4, waiting=7)]
    refused = ask("root", ["r1", "r2"], waiting=-1).result()  # eight may wait
    assert refused.status_code == 503
    assert refused.headers["x-ratelimit-remaining-tokens"] == refused.headers["x-ratelimit-limit-tokens"]
    sent.append(ask("root", "r3", waiting=8))
    assert chat.gate is not None
    chat.gate.release(1000)
    assert [one.result().status_code for one in sent] == [200] * 4
    assert not {"r1", "r2"} & set(begun(chat))


def test_answers_that_wait_inside_the_engine_count_too(chat: FakeChat) -> None:
    async def counts() -> list[int]:
        worker = ModelWorker("m", chat, chat.desk, max_running=2, max_waiting=9, max_waiting_each=9)
        message = [Message(role="user", content="a")]
        worker.submit(FakeRequest(message, SamplingParams(n=5), (), 0), "ana")
        await asyncio.to_thread(wait_until, lambda: worker.running == 1)
        told = [worker.waiting_of(owner) for owner in ("ana", "ben")]
        assert chat.gate is not None
        chat.gate.release(1000)
        worker.close()
        return told

    assert asyncio.run(counts()) == [3, 0]


def test_what_waits_is_counted_in_answers(chat: FakeChat) -> None:
    async def counts() -> list[int]:
        worker = ModelWorker("m", chat, chat.desk, max_running=1, max_waiting=9, max_waiting_each=9)
        worker.submit(FakeRequest([Message(role="user", content="a")], SamplingParams(), (), 0), "ana")
        await asyncio.to_thread(wait_until, lambda: worker.running == 1)
        for owner, n in (("ana", 3), ("ben", 5), ("ana", 1)):
            worker.submit(FakeRequest([], SamplingParams(n=n), (), 0), owner)
        told = [worker.waiting_of(owner) for owner in ("ana", "ben", "eve")]
        assert chat.gate is not None
        chat.gate.release(1000)
        worker.close()
        return told

    assert asyncio.run(counts()) == [4, 5, 0]


def test_texts_to_embed_wait_by_the_same_rule(
    ask: Ask, address: str, keys: dict[str, str], pool: ThreadPoolExecutor, chat: FakeChat
) -> None:
    first = ask("ana", "a1")

    def embed(name: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {keys[name]}"}
        return httpx.post(f"{address}/v1/embeddings", json={"model": "m", "input": "a"}, headers=headers)

    def waiting() -> int:
        return int(told_of(address, keys["root"])["waiting"])

    sent = [pool.submit(embed, "ana") for _ in range(2)]
    wait_until(lambda: waiting() == 2)
    assert embed("ana").status_code == 429
    sent.append(pool.submit(embed, "ben"))
    wait_until(lambda: waiting() == 3)
    assert chat.gate is not None
    chat.gate.release(1000)
    assert [one.result().status_code for one in (first, *sent)] == [200] * 4


@pytest.mark.parametrize(
    ("path", "fields", "param", "message"),
    [
        (
            "completions",
            {"prompt": ["a", "b", "c"], "n": 2},
            "prompt",
            "3 prompts with 2 answers each make 6; one request may ask for 4 answers, so send several.",
        ),
        ("completions", {"prompt": ["a"] * 5}, "prompt", "5 prompts with 1 answers each make 5;"),
        ("completions", {"prompt": "a", "best_of": 5}, "n", "1 prompts with 5 answers each make 5;"),
        ("completions", {"prompt": ["a", "b"], "n": 1, "best_of": 3}, "prompt", "2 prompts with 3 answers"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "a"}], "n": 5},
            "n",
            "1 prompts with 5",
        ),
    ],
)
def test_one_request_may_ask_for_so_many_answers(
    address: str, keys: dict[str, str], path: str, fields: dict[str, Any], param: str, message: str
) -> None:
    headers = {"authorization": f"Bearer {keys['ana']}"}
    told = httpx.post(f"{address}/v1/{path}", json={"model": "m", **fields}, headers=headers)
    assert told.status_code == 400
    assert told.json()["error"]["param"] == param
    assert message in told.json()["error"]["message"]


def test_without_keys_an_address_has_a_share_but_the_machine_itself_has_none(chat: FakeChat) -> None:
    """In the application itself, since a test has no second address to connect from."""
    app = create_app({"m": chat}, limits=TIGHT)
    assert asyncio.run(_five_from(app, "10.0.0.7", chat)) == [200, 200, 200, 429, 429]
    assert asyncio.run(_five_from(app, "127.0.0.1", chat)) == [200] * 5


async def _five_from(app: FastAPI, host: str, chat: FakeChat) -> list[int]:
    """The first is held at its first word, and the others come while it is."""
    transport = httpx.ASGITransport(app, client=(host, 1))
    body = {"model": "m", "prompt": "a"}
    chat.gate, before = threading.Semaphore(0), len(chat.requests)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        sent = [asyncio.create_task(client.post("/v1/completions", json=body))]
        await asyncio.to_thread(wait_until, lambda: len(chat.requests) == before + 1)
        for _ in range(4):
            sent.append(asyncio.create_task(client.post("/v1/completions", json=body)))
            await asyncio.sleep(0.1)
        chat.gate.release(1000)
        return [(await one).status_code for one in sent]
