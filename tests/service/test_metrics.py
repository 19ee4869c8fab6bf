"""What `/metrics` tells of times, streams and refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, saying, told_of, wait_until

from ziggurat.service.access.keys import Keyring, new_key
from ziggurat.service.http.limits import Limits
from ziggurat.service.models.library import Library
from ziggurat.service.server import create_app
from ziggurat.service.upstream.servers import Upstream

BODY = {"model": "m", "messages": [{"role": "user", "content": "a"}], "max_tokens": 5}


@pytest.fixture
def chat() -> FakeChat:
    return FakeChat(saying("a ", "b ", "c"), delay_s=0.02)


@pytest.fixture
def address(serving: Serving, chat: FakeChat) -> Iterator[str]:
    with serving(create_app({"m": chat})) as where:
        yield where


Figure = Callable[..., float]


@pytest.fixture
def figure(address: str) -> Figure:
    return lambda line: read(address, line)


def read(address: str, line: str, key: str | None = None) -> float:
    """The figure of one whole line, its labels included; it must be there."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    lines = httpx.get(f"{address}/metrics", headers=headers).text.splitlines()
    (found,) = [row for row in lines if row.rsplit(" ", 1)[0] == line]
    return float(found.rsplit(" ", 1)[1])


def post(address: str, key: str | None = None, path: str = "/v1/chat/completions") -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.post(f"{address}{path}", json=BODY, headers=headers, timeout=20).status_code


def test_the_line_the_prefill_and_the_decoding_are_the_whole_of_it(address: str, figure: Figure) -> None:
    """The fake waits 20 ms before each of three pieces: one is its prefill, two its decoding."""
    assert post(address) == 200
    for prefix, label, names in (
        ("app_", "model", ("queue_time", "prefill_time", "decode_time", "generation_duration")),
        ("vllm:", "model_name", ("request_queue_time", "request_prefill_time", "request_decode_time")),
    ):
        found = [figure(f'{prefix}{name}_seconds_sum{{{label}="m"}}') for name in names]
        counts = [figure(f'{prefix}{name}_seconds_count{{{label}="m"}}') for name in names]
        whole = figure('vllm:e2e_request_latency_seconds_sum{model_name="m"}')
        assert counts == [1] * len(names)
        assert sum(found[:3]) == pytest.approx(whole, abs=1e-9)
        assert found[1] >= 0.02
        assert found[2] >= 0.04


def test_streams_are_counted_while_they_are_open_and_when_they_are_left(
    address: str, figure: Figure, chat: FakeChat
) -> None:
    def streams() -> tuple[float, float]:
        return figure("app_sse_connections"), figure("app_sse_disconnects_total")

    chat.answer, chat.delay_s = saying(*["word "] * 200), 0.01
    asked = {"json": {**BODY, "max_tokens": 200, "stream": True}, "timeout": 20}
    assert post(address) == 200  # whole answers are none
    assert streams() == (0, 0)
    with httpx.stream("POST", f"{address}/v1/chat/completions", **asked) as left:  # type: ignore[arg-type]
        lines = left.iter_lines()  # held: a generator that is let go closes its stream
        next(lines)
        assert streams() == (1, 0)
    wait_until(lambda: streams() == (0, 1))
    chat.answer = saying("word")
    for path in ("/v1/chat/completions", "/api/chat"):
        body = BODY if path == "/api/chat" else {**BODY, "stream": True}
        assert httpx.post(f"{address}{path}", json=body, timeout=20).status_code == 200
    wait_until(lambda: streams()[0] == 0)
    assert streams() == (0, 1)


def test_streams_from_elsewhere_count_as_our_own(serving: Serving, address: str, chat: FakeChat) -> None:
    chat.answer, chat.delay_s = saying(*["word "] * 200), 0.01
    with serving(create_app({}, upstreams=[Upstream("far", f"{address}/v1")])) as near:
        body = {**BODY, "model": "far/m", "max_tokens": 200, "stream": True}
        with httpx.stream("POST", f"{near}/v1/chat/completions", json=body, timeout=20) as left:
            lines = left.iter_lines()
            next(lines)
            assert read(near, "app_sse_connections") == 1
        for where in (near, address):
            wait_until(lambda where=where: read(where, "app_sse_disconnects_total") == 1)  # type: ignore[misc]
            assert read(where, "app_sse_connections") == 0


def test_refusals_are_counted_by_the_limit(serving: Serving, chat: FakeChat, tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    keys = {
        "requests": new_key(file, "ana", requests_per_minute=1),
        "tokens": new_key(file, "ben", tokens_per_minute=6),
        "concurrent": new_key(file, "cyd", concurrent=1),
        "waiting": new_key(file, "dan"),
    }
    root = new_key(file, "root", admin=True)
    limits = Limits(max_running=1, max_waiting=9, max_waiting_each=2)
    with serving(create_app({"m": chat}, keyring=Keyring(file), limits=limits)) as address:

        def refused() -> dict[str, float]:
            told = 'app_ratelimit_rejections_total{{scope="{}"}}'
            return {scope: read(address, told.format(scope), keys["waiting"]) for scope in keys}

        def waiting() -> int:
            return int(told_of(address, root)["waiting"])

        assert refused() == dict.fromkeys(keys, 0)
        assert [post(address, keys["requests"]) for _ in range(2)] == [200, 429]
        assert refused() == {"requests": 1, "tokens": 0, "concurrent": 0, "waiting": 0}
        chat.gate, before = threading.Semaphore(0), len(chat.requests)
        held: list[threading.Thread] = []
        for number, scope in enumerate(("concurrent", "tokens", "waiting", "waiting")):
            held.append(threading.Thread(target=post, args=(address, keys[scope])))
            held[-1].start()
            wait_until(lambda n=number: len(chat.requests) > before and waiting() == n)  # type: ignore[misc]
        for scope, times in (("concurrent", 1), ("tokens", 2), ("waiting", 3)):
            assert [post(address, keys[scope]) for _ in range(times)] == [429] * times
        chat.gate.release(1000)
        for thread in held:
            thread.join(20)
        assert refused() == {"requests": 1, "tokens": 2, "concurrent": 1, "waiting": 3}
        headers = {"authorization": f"Bearer {keys['waiting']}"}
        told = httpx.get(f"{address}/metrics", headers=headers).text
        assert not [name for name in ("ana", "ben", "cyd", "dan", *keys.values()) if f'"{name}"' in told]
        assert httpx.get(f"{address}/metrics").status_code == 401
        for path in ("/docs", "/redoc"):
            assert httpx.get(f"{address}{path}", headers=headers).status_code == 404


def test_failed_logins_are_counted_by_their_reason(serving: Serving, chat: FakeChat, tmp_path: Path) -> None:
    key = new_key(tmp_path / "keys.jsonl", "ana")
    app = create_app({"m": chat}, keyring=Keyring(tmp_path / "keys.jsonl"), shelves=Library())
    with serving(app) as address:
        assert post(address, key, "/admin/models/m/reload") == 403
        assert [post(address, given) for given in (None, key + "x", key)] == [401, 401, 200]
        assert httpx.get(f"{address}/metrics", headers={"authorization": f"Basic {key}"}).status_code == 401
        assert httpx.get(f"{address}/health").status_code == 200
        told = 'app_auth_failures_total{{reason="{}"}}'
        found = [read(address, told.format(r), key) for r in ("no_key", "unknown_key", "not_admin")]
    assert found == [1, 2, 1]
