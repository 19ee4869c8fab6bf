"""A line for each request: what it tells, what it never tells, and that nobody waits for it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, saying, wait_until
from tests.service.tiny import MODEL, asking

from ziggurat.dialogue.chat import Chat
from ziggurat.errors import DataError
from ziggurat.service.access.keys import Keyring, new_key
from ziggurat.service.observe import request_log
from ziggurat.service.observe.request_log import RequestLog
from ziggurat.service.observe.visits import Visit
from ziggurat.service.options import ServeOptions
from ziggurat.service.server import create_app, serve
from ziggurat.service.upstream.servers import Upstream


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "requests.jsonl"


@pytest.fixture
def key(tmp_path: Path) -> str:
    return new_key(tmp_path / "keys.jsonl", "安娜", requests_per_minute=5)


@pytest.fixture
def address(serving: Serving, chat: Chat, key: str, tmp_path: Path, file: Path) -> Iterator[str]:
    keyring = Keyring(tmp_path / "keys.jsonl")
    with serving(create_app({MODEL: chat}, keyring=keyring, request_log=RequestLog(file))) as where:
        yield where


def lines(file: Path, n: int) -> list[dict[str, Any]]:
    """All of them, once there are `n`."""
    wait_until(lambda: len(file.read_text().splitlines()) >= n)
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(told) == n
    return told


def test_a_line_tells_who_asked_for_how_much_and_nothing_of_what(address: str, key: str, file: Path) -> None:
    headers = {"authorization": f"Bearer {key}", "x-request-id": "mine-1"}
    secret = "a word of mine"
    body = asking(messages=[{"role": "user", "content": secret}], user=secret, max_tokens=9, n=2)
    told = httpx.post(f"{address}/v1/chat/completions", json=body, headers=headers).json()
    (line,) = lines(file, 1)
    assert line.pop("format_version") == 1
    assert line.pop("time").endswith("Z")
    assert 0 < line.pop("ms") < 20_000
    assert line == {
        "request_id": "mine-1",
        "key": "安娜",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "prompt_tokens": told["usage"]["prompt_tokens"],
        "completion_tokens": told["usage"]["completion_tokens"],
        "streamed": False,
        "left": False,
        "refused": None,
        "guard": None,
    }
    assert line["completion_tokens"] > 9
    said = [choice["message"]["content"] for choice in told["choices"]]
    written = file.read_text()
    assert not [text for text in (secret, key, key[4:], "127.0.0.1", *filter(None, said)) if text in written]
    assert file.stat().st_mode & 0o077 == 0


def test_refusals_and_strange_paths_have_their_lines(address: str, key: str, file: Path) -> None:
    headers = {"authorization": f"Bearer {key}"}
    httpx.get(f"{address}/a/secret/path?of=mine", headers=headers)
    httpx.get(f"{address}/v1/models/{MODEL}", headers=headers)
    httpx.get(f"{address}/v1/models")
    httpx.get(f"{address}/v1/models", headers={"authorization": "Bearer zig-wrong"})
    httpx.get(f"{address}/health", headers={"host": "evil.example"})
    for _ in range(6):
        last = httpx.post(f"{address}/tokenize", json={"prompt": "x"}, headers=headers)
    told = lines(file, 11)
    assert [(one["route"], one["status"], one["key"], one["refused"]) for one in told[:6]] == [
        ("other", 404, "安娜", None),
        ("/v1/models/{name:path}", 200, "安娜", None),
        ("other", 401, None, "no_key"),
        ("other", 401, None, "unknown_key"),
        ("other", 403, None, None),
        ("/tokenize", 200, "安娜", None),
    ]
    assert (told[-1]["status"], told[-1]["refused"]) == (429, "requests")
    assert told[-1]["request_id"] == last.headers["x-request-id"]
    assert told[-1]["prompt_tokens"] is None
    assert "secret" not in file.read_text()


def test_tokens_of_streams_texts_and_other_servers_are_told(serving: Serving, chat: Chat, file: Path) -> None:
    with serving(create_app({MODEL: chat})) as far:
        upstreams = [Upstream("far", f"{far}/v1")]
        with serving(create_app({MODEL: chat}, upstreams=upstreams, request_log=RequestLog(file))) as address:
            for model in (MODEL, f"far/{MODEL}"):
                body = asking(model=model, stream=True, stream_options={"include_usage": True})
                events = httpx.post(f"{address}/v1/chat/completions", json=body).text.splitlines()
                usage = json.loads(events[-4].removeprefix("data: "))["usage"]
                line = lines(file, 1 + model.count("far"))[-1]
                assert (line["streamed"], line["left"]) == (True, False)
                assert line["prompt_tokens"] == usage["prompt_tokens"]
                assert line["completion_tokens"] == usage["completion_tokens"]
            body = {"model": MODEL, "input": ["Good morning", "Ana"]}
            told = httpx.post(f"{address}/v1/embeddings", json=body).json()
            line = lines(file, 3)[-1]
            assert (line["prompt_tokens"], line["completion_tokens"]) == (told["usage"]["prompt_tokens"], 0)


def test_who_leaves_a_stream_is_told_with_what_was_written(serving: Serving, chat: Chat, file: Path) -> None:
    with serving(create_app({MODEL: chat}, request_log=RequestLog(file))) as address:
        body = asking(stream=True, max_tokens=400, min_tokens=400, temperature=1)
        with httpx.stream("POST", f"{address}/v1/chat/completions", json=body) as left:
            held = left.iter_lines()
            next(held)
        (line,) = lines(file, 1)
    assert (line["status"], line["streamed"], line["left"]) == (200, True, True)
    assert 0 < line["completion_tokens"] < 400


def test_a_slow_disk_drops_lines_holds_nobody_up_and_says_how_many(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, may_write = threading.Event(), threading.Event()
    append = RequestLog._append

    def slow(self: RequestLog, text: str) -> bool:
        writing.set()
        may_write.wait(20)
        return append(self, text)

    monkeypatch.setattr(request_log, "MAX_WAITING_LINES", 4)
    monkeypatch.setattr(RequestLog, "_append", slow)
    log = RequestLog(file)
    log.write(Visit("GET"))
    assert writing.wait(20)
    for _ in range(10):
        log.write(Visit("GET"))
    may_write.set()
    log.close()
    log.close()
    log.write(Visit("GET"))  # too late
    told = lines(file, 6)
    assert [one.get("dropped") for one in told].count(6) == 1
    assert sum("route" in one for one in told) == 5


def test_a_full_disk_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        log = RequestLog(Path("/dev/full"))
        for _ in range(3):
            log.write(Visit("GET"))
            wait_until(log._visits.empty)
        log.close()
    assert [record.getMessage() for record in caplog.records] == [
        "the request log /dev/full cannot be written: [Errno 28] No space left on device"
    ]


def test_what_a_disk_did_not_take_is_counted_when_it_takes_some_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, refused = RequestLog._append, threading.Event()

    def once(self: RequestLog, text: str) -> bool:
        done = append(self, text) if refused.is_set() else False
        refused.set()
        return done

    monkeypatch.setattr(RequestLog, "_append", once)
    log = RequestLog(file)
    log.write(Visit("GET"))
    assert refused.wait(20)
    log.write(Visit("POST"))
    log.close()
    told = lines(file, 2)
    assert [(one.get("method"), one.get("dropped")) for one in told] == [("POST", None), (None, 1)]


def test_it_may_go_to_stderr_and_there_is_none_unless_asked_for(
    serving: Serving, capfd: pytest.CaptureFixture[str]
) -> None:
    for log in (None, RequestLog(Path("-"))):
        with serving(create_app({"m": FakeChat(saying("word"))}, request_log=log)) as address:
            httpx.get(f"{address}/health")
        told = capfd.readouterr().err
        assert told.count('"route": "/health"') == (log is not None)


def test_a_file_that_cannot_be_opened_is_said_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the request log cannot be opened"):
        serve(ServeOptions(runs=["no/run-1"], port=0, request_log=tmp_path / "no" / "log"))
