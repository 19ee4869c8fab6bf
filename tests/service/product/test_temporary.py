"""A temporary chat: its messages are in the request, and its answer is a stream that nothing keeps."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.service.fakes import FakeChat, saying, wait_until

from ziggurat.service.http.limits import Limits

Open = Callable[..., httpx.Client]
BODY = {"model": "fake", "messages": [{"role": "user", "content": "Who is Mira?"}], "seed": 7}


def events(client: httpx.Client) -> list[dict[str, Any]]:
    with client.stream("POST", "/api/chat", json=BODY) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]


def test_reasoning_text_and_the_summary_arrive_as_events(open_house: Open) -> None:
    client = open_house({"fake": FakeChat(saying("<think>a baker</think>", "Mira ", "bakes."))})
    assert client.get("/api/models").json()["temporary"] is True
    *pieces, last = events(client)
    assert pieces == [{"reasoning": "a baker"}, {"text": "Mira "}, {"text": "bakes."}]
    done = last["done"]
    assert (done["finish_reason"], done["seed"], done["dropped_messages"]) == ("stop", 7, 0)
    assert done["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert {"tokens_per_s", "first_token_s"} < set(done)


def test_an_answer_whose_reader_leaves_the_queue_is_never_begun(
    open_house: Open, caplog: pytest.LogCaptureFixture
) -> None:
    model = FakeChat(saying("a ", "b"))
    model.gate = threading.Semaphore(0)
    client = open_house({"fake": model}, limits=Limits(max_running=1))
    first = threading.Thread(target=events, args=(client,))
    first.start()
    wait_until(lambda: len(model.requests) == 1)
    with client.stream("POST", "/api/chat", json=BODY) as second:
        assert second.status_code == 200
    time.sleep(0.3)  # the server notices that the connection is closed
    model.gate.release(8)
    first.join(10)
    time.sleep(0.3)
    assert (len(model.requests), model.ended) == (1, 1)
    assert "a request failed" not in caplog.text
