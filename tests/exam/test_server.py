"""A model behind an address, by a small server of the test's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ziggurat.errors import UsageError
from ziggurat.exam.candidate import Ask
from ziggurat.exam.candidates import address_of, open_candidate, upstreams_of
from ziggurat.exam.reading import read_task
from ziggurat.exam.run import sit
from ziggurat.exam.switches import Switches
from ziggurat.records import Message


class Handler(BaseHTTPRequestHandler):
    busy = 0
    seen: list[dict[str, Any]] = []
    scores = True
    key: str | None = None

    def do_GET(self) -> None:
        if self.key and self.headers.get("authorization") != f"Bearer {self.key}":
            self._send(401, {})
        else:
            self._send(200, {"data": [{"id": "echo"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).seen.append(body)
        if Handler.busy:
            Handler.busy -= 1
            self._send(503, {"error": "busy"})
        elif self.path == "/v1/chat/completions":
            text = body["messages"][-1]["content"]
            self._send(200, {"choices": [{"message": {"content": f"echo {text}"}}]})
        elif body.get("echo"):
            words = body["prompt"].split(" ")  # a token is a word with the blank before it
            offsets = [0]
            for word in words[:-1]:
                offsets.append(offsets[-1] + len(word) + (offsets[-1] > 0) * 0 + 1)
            starts = [0, *(at - 1 for at in offsets[1:])]
            values = [None, *[-float(len(word)) for word in words[1:]]]
            tops = [None, *[{word: value} for word, value in zip(words[1:], values[1:], strict=True)]]
            logprobs = {"text_offset": starts, "token_logprobs": values, "top_logprobs": tops}
            self._send(
                200, {"choices": [{"text": body["prompt"], "logprobs": logprobs if self.scores else None}]}
            )
        else:
            self._send(200, {"choices": [{"text": " more"}]})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *given: Any) -> None:
        del given


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Handler.busy, Handler.seen, Handler.scores, Handler.key = 0, [], True, None
    monkeypatch.setattr("ziggurat.exam.candidates.server.PAUSE_S", 0.01)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_names() -> None:
    given = upstreams_of(["cluster=http://10.0.0.5:8000/v1"])
    assert address_of("m@http://h:1/v1/", {}) == ("m", "http://h:1/v1", "ZIGGURAT_UPSTREAM_KEY")
    assert address_of("cluster/org/m", given) == (
        "org/m",
        "http://10.0.0.5:8000/v1",
        "ZIGGURAT_UPSTREAM_CLUSTER_KEY",
    )
    assert address_of("town/ppo", given) is None
    assert address_of("base@adapter", given) is None
    with pytest.raises(UsageError, match="write NAME=URL"):
        upstreams_of(["10.0.0.5"])


def test_answers_come_in_order_though_the_server_is_busy(url: str) -> None:
    candidate = open_candidate("far/echo", {"far": url})
    Handler.busy = 3
    talks = [[Message(role="user", content=str(i))] for i in range(5)]
    found = candidate.answers(talks, Ask(samples=2, max_tokens=7, stop=("x",)))
    assert found == [[f"echo {i}"] * 2 for i in range(5)]
    assert {body["max_tokens"] for body in Handler.seen} == {7}
    assert candidate.continuations(["a"], Ask()) == [[" more"]]


def test_likelihoods_of_raw_text(url: str) -> None:
    """A word costs as many nats as it has letters; the blank belongs to the word after it."""
    candidate = open_candidate(f"echo@{url}")
    (found,) = candidate.likelihoods([("Sky is", [" blue", " so red"])])
    assert [(one.nats, one.tokens, one.greedy) for one in found] == [(-4.0, 1, True), (-5.0, 2, True)]
    assert candidate.text_nats(["ab cde"]) == [(-3.0, 1)]


def test_what_the_server_lacks_is_one_sentence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = open_candidate(f"echo@{url}")
    with pytest.raises(
        UsageError, match="gives no likelihoods of answers in a conversation; use --raw or --generate"
    ):
        candidate.likelihoods([([Message(role="user", content="q")], ["a"])])
    Handler.scores = False
    with pytest.raises(UsageError, match="gives no log-probabilities of a prompt"):
        candidate.likelihoods([("q", [" a"])])
    with pytest.raises(UsageError, match="has no model 'other'; it has echo"):
        open_candidate(f"other@{url}")
    Handler.key = "secret"
    with pytest.raises(UsageError, match="needs a key; set ZIGGURAT_UPSTREAM_KEY"):
        open_candidate(f"echo@{url}")
    monkeypatch.setenv("ZIGGURAT_UPSTREAM_KEY", "secret")
    assert open_candidate(f"echo@{url}").chats
    with pytest.raises(UsageError, match="does not answer"):
        open_candidate("echo@http://127.0.0.1:9/v1")


def test_a_server_sits_a_task(url: str, write_task: Callable[..., Path]) -> None:
    rows = [{"question": "one", "answer": "echo one"}, {"question": "two", "answer": "two"}]
    result = sit(open_candidate(f"echo@{url}"), read_task(write_task(rows=rows)), Switches())
    assert result.figure["score"] == 0.5
    assert result.folder.parent.name.startswith("echo@http:++127.0.0.1")


def test_stops_beyond_four_and_a_choice_without_tokens(url: str) -> None:
    candidate = open_candidate(f"echo@{url}")
    talk = [Message(role="user", content="a b c")]
    assert candidate.answers([talk], Ask(stop=("1", "2", "3", "4", " c"))) == [["echo a b"]]
    assert Handler.seen[-1]["stop"] == ["1", "2", "3", "4"]
    with pytest.raises(UsageError, match="gives 'y' after 'Sky' no tokens of its own"):
        candidate.likelihoods([("Sky", ["y"])])
