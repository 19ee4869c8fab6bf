"""What one client sends must not break the answers of others, nor the server."""

from __future__ import annotations

import gc
import socket
import time
from typing import Any

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, saying
from tests.service.tiny import MODEL, asking

from ziggurat.dialogue.chat import Chat
from ziggurat.service.http import idle
from ziggurat.service.server import create_app


@pytest.mark.parametrize(
    "body",
    [
        {"min_tokens": 1, "stop_token_ids": [1_000_000]},
        {"stop_token_ids": [2**63]},
        {"top_k": 2**63},
        {"min_tokens": 2**63},
        {"repetition_penalty": 1e-40},
        {"structured_outputs": {"json": "[" * 100_000}},
        {"structured_outputs": {"json": '{"a":' * 5_000 + "1" + "}" * 5_000}},
    ],
    ids=lambda body: str(body)[:40],
)
def test_impossible_wishes_are_the_fault_of_who_has_them(
    serving: Serving, chat: Chat, body: dict[str, Any]
) -> None:
    with serving(create_app({MODEL: chat})) as address:
        told = httpx.post(f"{address}/v1/chat/completions", json=asking(max_tokens=3, **body))
        assert told.status_code == 400, told.text
        assert told.json()["error"]["message"]
        assert httpx.get(f"{address}/health").status_code == 200
        assert httpx.post(f"{address}/v1/chat/completions", json=asking(max_tokens=3)).status_code == 200


def test_the_coldest_temperature_is_the_greedy_one(serving: Serving, chat: Chat) -> None:
    with serving(create_app({MODEL: chat})) as address:
        said = [
            httpx.post(f"{address}/v1/chat/completions", json=asking(max_tokens=8, temperature=t)).json()
            for t in (0, 1e-40)
        ]
    assert said[0]["choices"] == said[1]["choices"]


def test_strange_methods_and_origins_are_told_so_and_make_no_labels(serving: Serving, chat: Chat) -> None:
    with serving(create_app({MODEL: chat})) as address:
        for i in range(3):
            assert httpx.request(f"FOO{i}", f"{address}/health").status_code in (404, 405)
        assert httpx.get(f"{address}/health", headers={"origin": "http://["}).status_code == 403
        metrics = httpx.get(f"{address}/metrics").text
    assert "FOO" not in metrics
    assert 'method="other"' in metrics


def test_connections_that_say_nothing_are_closed(
    serving: Serving, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "HEAD_S", 0.5)
    with serving(create_app({MODEL: chat})) as address:
        host, port = address.removeprefix("http://").split(":")
        silent, half, again = (socket.create_connection((host, int(port)), timeout=5) for _ in range(3))
        half.sendall(b"GET /health HTTP/1.1\r\nHost: local")
        again.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\nGET /ver")
        began = time.monotonic()
        assert again.recv(10_000).startswith(b"HTTP/1.1 200")
        for one in (silent, half, again):
            while one.recv(10_000):
                pass
            one.close()
        assert 0.3 < time.monotonic() - began < 4


def test_a_slow_answer_is_no_silence(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "HEAD_S", 0.2)

    with serving(create_app({"m": FakeChat(saying("one ", "two ", "three"), delay_s=0.3)})) as address:
        asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        told = httpx.post(f"{address}/v1/chat/completions", json=asked, timeout=20)
        assert told.json()["choices"][0]["message"]["content"] == "one two three"


def test_a_response_that_is_kept_keeps_no_model(serving: Serving) -> None:
    fake = FakeChat(saying("kept"))
    app = create_app({"m": fake})
    with serving(app) as address:
        told = httpx.post(f"{address}/v1/responses", json={"model": "m", "input": "hi", "store": True}).json()
        kept = httpx.get(f"{address}/v1/responses/{told['id']}").json()
        assert kept["output"] == told["output"]
        store = [each for each in gc.get_objects() if type(each).__name__ == "Kept"]
        assert store
        assert all(type(each.reply).__name__ == "Ended" for each in store)
