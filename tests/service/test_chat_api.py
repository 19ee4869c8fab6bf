"""The page's API through a real socket: what is streamed, what is refused, and that nothing runs on unwatched."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, echo, failing, saying, wait_until, wait_until_stopped

from ziggurat.errors import ContextError
from ziggurat.service.http.limits import Limits
from ziggurat.service.models.shelf import Example, ModelCard
from ziggurat.service.server import create_app

LIMITS = Limits(
    max_body_bytes=4_000,
    max_messages=5,
    max_message_chars=500,
    max_tokens=64,
    max_running=1,
    max_waiting=2,
    keepalive_s=0.2,
)


def body(text: str = "hello there", **changes: Any) -> dict[str, Any]:
    return {"model": "town/ppo-1", "messages": [{"role": "user", "content": text}], **changes}


def events(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]


def ask(address: str, **changes: Any) -> list[dict[str, Any]]:
    with httpx.stream("POST", f"{address}/api/chat", json=body(**changes)) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return events(response)


@pytest.fixture
def chat() -> FakeChat:
    return FakeChat(echo)


@pytest.fixture
def address(serving: Serving, chat: FakeChat) -> Iterator[str]:
    with serving(create_app({"town/ppo-1": chat}, limits=LIMITS)) as where:
        yield where


def test_models_are_listed_in_order_with_cards_and_examples(serving: Serving) -> None:
    models = {"town/pretrain-1": FakeChat(echo, is_base=True), "town/ppo-1": FakeChat(echo)}
    card = ModelCard(name="town/ppo-1", stage="ppo", run="town/ppo-1", parameters=3_600_000)
    example = Example(text="Who is Mira?", kind="known")
    with serving(create_app(models, cards={card.name: card}, examples=[example])) as address:
        told = httpx.get(f"{address}/api/models").json()
    assert [model["name"] for model in told["models"]] == ["town/pretrain-1", "town/ppo-1"]
    assert told["models"][0]["is_base"] is True
    assert told["models"][1]["parameters"] == 3_600_000
    assert told["examples"] == [{"text": "Who is Mira?", "lang": "en", "kind": "known"}]
    assert told["limits"]["max_tokens"] == 2048


def test_an_answer_streams_as_deltas_and_ends_with_its_counts(address: str) -> None:
    *deltas, last = ask(address, text="one two")
    assert [delta["text"] for delta in deltas] == ["[1] ", "one ", "two"]
    assert last["done"]["finish_reason"] == "stop"
    assert last["done"]["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert last["done"]["tokens_per_s"] > 0


def test_the_settings_and_the_whole_conversation_reach_the_model(address: str, chat: FakeChat) -> None:
    said = [{"role": r, "content": c} for r, c in [("user", "a"), ("assistant", "b"), ("user", "c")]]
    last = ask(address, messages=said, temperature=0.5, max_tokens=7, seed=42)[-1]
    messages, params = chat.requests[0]
    assert [(message.role, message.content) for message in messages] == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    assert (params.temperature, params.max_tokens, params.seed) == (0.5, 7, 42)
    assert last["done"]["seed"] == 42


def test_a_seed_is_drawn_and_told_when_none_is_given(address: str, chat: FakeChat) -> None:
    assert ask(address)[-1]["done"]["seed"] == chat.requests[0][1].seed is not None


def test_an_answer_that_reaches_max_tokens_says_so(address: str) -> None:
    assert ask(address, text="a b c d", max_tokens=2)[-1]["done"]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("changes", "status", "names"),
    [
        ({"model": "town/ppo-2"}, 404, 'Did you mean "town/ppo-1"?'),
        ({"messages": []}, 400, "messages is empty"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            400,
            "ends on",
        ),
        ({"messages": [{"role": "user", "content": "a"}] * 6}, 400, "6 messages; at most 5"),
        ({"messages": [{"role": "user", "content": "x" * 501}]}, 400, "501 characters"),
        ({"messages": [{"role": "robot", "content": "a"}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, 400, "messages.0.content"),
        ({"temperature": -1}, 400, "temperature"),
        ({"temperature": 3}, 400, "temperature"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": 65}, 400, "at most 64"),
        ({"seed": 2**63}, 400, "seed"),
        ({"tempreature": 1}, 400, "tempreature"),
    ],
)
def test_a_bad_request_is_refused_in_one_shape(
    address: str, chat: FakeChat, changes: dict[str, Any], status: int, names: str
) -> None:
    response = httpx.post(f"{address}/api/chat", json=body(**changes))
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert names in error["message"]
    assert chat.requests == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"x" * 4_001, "application/json", 413),
    ],
)
def test_a_body_that_is_no_request_is_refused(address: str, content: bytes, kind: str, status: int) -> None:
    response = httpx.post(f"{address}/api/chat", content=content, headers={"content-type": kind})
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_a_body_without_a_length_is_bounded_all_the_same(address: str) -> None:
    """Chunked transfer announces no length; only counting stops it."""
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{address}/api/chat", content=(b"x" * 1_000 for _ in range(5)), headers=headers)
    assert response.status_code == 413


def test_unknown_paths_and_methods_have_the_same_error_shape(address: str) -> None:
    for response in (httpx.get(f"{address}/nowhere"), httpx.get(f"{address}/api/chat")):
        assert response.status_code in (404, 405)
        assert response.json()["error"]["type"]


def test_a_prompt_that_does_not_fit_is_a_400_not_a_broken_stream(serving: Serving) -> None:
    error = ContextError("The prompt has 600 tokens, the context is 512; start a new chat.")
    with serving(create_app({"town/ppo-1": FakeChat(failing(error))})) as address:
        response = httpx.post(f"{address}/api/chat", json=body())
    assert response.status_code == 400
    assert response.json()["error"]["message"] == str(error)


def test_a_bug_in_the_model_is_a_500_without_its_details(serving: Serving) -> None:
    with serving(create_app({"town/ppo-1": FakeChat(failing(RuntimeError("secret path")))})) as address:
        response = httpx.post(f"{address}/api/chat", json=body())
        assert response.status_code == 500
        assert response.headers["x-request-id"].startswith("req_"), "marked like every answer"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "secret" not in response.text
        assert httpx.get(f"{address}/health").status_code == 200


def test_a_failure_half_way_ends_the_stream_with_an_error(serving: Serving) -> None:
    with serving(create_app({"town/ppo-1": FakeChat(failing(RuntimeError("x"), after=2))})) as address:
        told = ask(address)
    assert [event["text"] for event in told[:-1]] == ["piece 0 ", "piece 1 "]
    assert told[-1]["error"]["type"] == "server_error"


def test_hanging_up_stops_the_model(address: str, chat: FakeChat) -> None:
    """A client that leaves after the first word must not leave the model talking to nobody."""
    chat.answer, chat.gate = saying(*["word "] * 64), threading.Semaphore(1)
    with httpx.stream("POST", f"{address}/api/chat", json=body()) as response:
        next(response.iter_lines())
    wait_until_stopped(chat)
    chat.gate = None
    chat.answer = saying("free again")
    assert ask(address)[0]["text"] == "free again"


def test_hanging_up_while_waiting_leaves_the_line(address: str, chat: FakeChat) -> None:
    chat.answer, chat.gate = saying("first"), threading.Semaphore(0)
    health = f"{address}/admin/health"
    first = threading.Thread(target=ask, args=(address,))
    first.start()
    wait_until(lambda: httpx.get(health).json()["models"]["town/ppo-1"]["running"])
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{address}/v1/chat/completions", json=body(), timeout=0.5)
    wait_until(lambda: httpx.get(health).json()["models"]["town/ppo-1"]["waiting"] == 0)
    chat.gate.release()
    first.join(10)
    assert len(chat.requests) == 1


def test_the_line_is_bounded_and_a_full_one_answers_503(address: str, chat: FakeChat) -> None:
    chat.answer, chat.gate = saying("slow"), threading.Semaphore(0)
    waiting = f"{address}/admin/health"
    threads = [threading.Thread(target=ask, args=(address,)) for _ in range(3)]  # one runs, two wait
    threads[0].start()
    wait_until(lambda: httpx.get(waiting).json()["models"]["town/ppo-1"]["running"])
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: httpx.get(waiting).json()["models"]["town/ppo-1"]["waiting"] == 2)
    refused = httpx.post(f"{address}/api/chat", json=body())
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "busy"
    assert refused.json()["error"]["type"] == "service_unavailable_error"
    assert int(refused.headers["retry-after"]) >= 1
    for _ in threads:
        chat.gate.release()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_waiting_request_is_kept_alive_by_comments(address: str, chat: FakeChat) -> None:
    chat.answer, chat.gate = saying("at last"), threading.Semaphore(0)
    with httpx.stream("POST", f"{address}/api/chat", json=body()) as response:
        lines = response.iter_lines()
        assert next(lines) == ": waiting"
        chat.gate.release()
        assert any("at last" in line for line in lines)


def test_answers_of_one_model_are_written_side_by_side(serving: Serving) -> None:
    """The second begins before the first has ended: the engine may compute both in one step."""
    chat = FakeChat(saying("a ", "b ", "c ", "d"), delay_s=0.05)
    with serving(create_app({"town/ppo-1": chat}, limits=Limits(max_running=2))) as address:
        threads = [threading.Thread(target=ask, args=(address,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(chat.requests) == 2)
        assert chat.closed == 0
        for thread in threads:
            thread.join(10)
    assert chat.closed == 2


def test_a_conversation_that_outgrew_the_context_loses_its_oldest_turns_aloud(
    address: str, chat: FakeChat
) -> None:
    chat.context_messages = 1
    said = [{"role": r, "content": c} for r, c in [("user", "a"), ("assistant", "b"), ("user", "c")]]
    assert ask(address, messages=said)[-1]["done"]["dropped_messages"] == 2
    assert [m.content for m in chat.requests[0][0]] == ["c"]


def test_two_models_answer_beside_each_other(serving: Serving) -> None:
    """The second answers while the first is stuck: no model runs on the event loop or on another's thread."""
    stuck = FakeChat(saying("late"))
    stuck.gate = threading.Semaphore(0)
    with serving(create_app({"stuck": stuck, "town/ppo-1": FakeChat(saying("now"))})) as address:
        thread = threading.Thread(target=ask, args=(address,), kwargs={"model": "stuck"})
        thread.start()
        wait_until(lambda: len(stuck.requests) == 1)
        assert ask(address)[0] == {"text": "now"}
        stuck.gate.release()
        thread.join(10)
