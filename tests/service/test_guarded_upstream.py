"""The guard around models of another server: requests that stay here, answers that are cut on their way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import Answer, FakeChat, echo, saying
from tests.service.test_guarded import CRUEL, SEED, user

from ziggurat.safety.guard import Guard
from ziggurat.safety.sources import Builtin
from ziggurat.service.server import create_app
from ziggurat.service.upstream.guarding import FarGuard
from ziggurat.service.upstream.servers import Upstream


@pytest.fixture
def behind(serving: Serving) -> Callable[..., Any]:
    @contextmanager
    def start(answer: Answer) -> Iterator[tuple[openai.OpenAI, FakeChat, str]]:
        chat = FakeChat(answer)
        with serving(create_app({"x": chat})) as there:
            near = create_app({}, upstreams=[Upstream("far", f"{there}/v1")], guard=Guard(Builtin()))
            with (
                serving(near) as here,
                openai.OpenAI(base_url=f"{here}/v1", api_key="any", max_retries=0) as client,
            ):
                yield client, chat, here

    return start


def test_a_blocked_request_does_not_leave_the_house(behind: Any) -> None:
    with behind(echo) as (client, chat, here):
        (choice,) = client.chat.completions.create(model="far/x", messages=user(SEED)).choices
        assert (choice.finish_reason, "988" in choice.message.content) == ("content_filter", True)
        chunks = list(client.chat.completions.create(model="far/x", messages=user(SEED), stream=True))
        assert "988" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert chunks[-1].choices[0].model_extra["guard"]["rule"] == "selfharm.intent"
        assert "988" in client.completions.create(model="far/x", prompt=SEED).choices[0].text
        pieces = list(client.completions.create(model="far/x", prompt=SEED, stream=True))
        assert "988" in "".join(piece.choices[0].text for piece in pieces)
        response = client.responses.create(model="far/x", input=SEED)
        assert ("988" in response.output_text, response.status) == (True, "incomplete")
        events = list(client.responses.create(model="far/x", input=user(SEED), stream=True))
        assert "988" in "".join(e.delta for e in events if e.type == "response.output_text.delta")
        assert events[-1].type == "response.incomplete"
        assert chat.requests == []
        metrics = httpx.get(f"{here}/metrics").text
        assert 'app_guard_total{action="answer",layer="patterns"} 6.0' in metrics


def test_an_ordinary_answer_comes_through_unchanged(behind: Any) -> None:
    with behind(echo) as (client, _, _here):
        asked = {"model": "far/x", "messages": user("you should go and see")}
        assert (
            client.chat.completions.create(**asked).choices[0].message.content == "[1] you should go and see"
        )
        streamed = list(
            client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
        assert text == "[1] you should go and see"
        assert streamed[-1].usage.completion_tokens == 6
        assert client.completions.create(model="far/x", prompt="one two").choices[0].text == "[1] one two"
        response = client.responses.create(model="far/x", input="you should go")
        assert (response.output_text, response.status) == ("[1] you should go", "completed")
        events = list(client.responses.create(model="far/x", input="you should go", stream=True))
        assert (
            "".join(e.delta for e in events if e.type == "response.output_text.delta") == "[1] you should go"
        )
        assert events[-1].response.output_text == "[1] you should go"


def test_a_cruel_answer_is_cut_or_replaced(behind: Any) -> None:
    with behind(saying(*CRUEL)) as (client, _, _here):
        (choice,) = client.chat.completions.create(model="far/x", messages=user("Well?")).choices
        assert choice.finish_reason == "content_filter"
        assert "Tea" not in choice.message.content
        chunks = list(client.chat.completions.create(model="far/x", messages=user("Well?"), stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text.startswith("Tea helps. But \n\n")
        assert "kill" not in text
        assert chunks[-1].choices[0].finish_reason == "content_filter"
        pieces = list(client.completions.create(model="far/x", prompt="Well?", stream=True))
        assert "kill" not in "".join(piece.choices[0].text for piece in pieces)
        response = client.responses.create(model="far/x", input="Well?")
        assert "kill" not in response.output_text
        assert response.incomplete_details.reason == "content_filter"
        events = list(client.responses.create(model="far/x", input="Well?", stream=True))
        deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        assert deltas.startswith("Tea helps. But \n\n")
        assert events[-1].type == "response.incomplete"
        assert events[-1].response.output_text == deltas
        assert "kill" not in json.dumps([event.model_dump(mode="json") for event in events])


@pytest.mark.parametrize(
    ("body", "examined"),
    [
        ({"prompt": "x"}, True),
        ({"prompt": "x", "max_tokens": 0}, False),
        ({"prompt": "x", "max_tokens": 1, "echo": True}, False),
        ({"prompt": "x", "max_tokens": 1, "prompt_logprobs": 1}, False),
        ({"prompt": "x", "max_tokens": 1}, True),
        ({"prompt": "x", "max_tokens": 50, "echo": True}, True),
    ],
)
def test_scores_of_a_prompt_are_left_alone(body: dict[str, Any], examined: bool) -> None:
    assert FarGuard.applies("/completions", body) is examined
    assert not FarGuard.applies("/embeddings", body)
