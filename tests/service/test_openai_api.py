"""The OpenAI-compatible half, field by field as OpenAI's own clients read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, echo

from ziggurat.service.server import create_app


@pytest.fixture
def chat() -> FakeChat:
    return FakeChat(echo)


@pytest.fixture
def address(serving: Serving, chat: FakeChat) -> Iterator[str]:
    with serving(create_app({"town/ppo-1": chat})) as where:
        yield f"{where}/v1"


def post(address: str, **changes: Any) -> httpx.Response:
    content = {"model": "town/ppo-1", "messages": [{"role": "user", "content": "one two"}], **changes}
    return httpx.post(f"{address}/chat/completions", json=content, headers={"authorization": "Bearer any"})


def test_models_are_listed_and_found_by_a_name_with_a_slash(address: str) -> None:
    listed = httpx.get(f"{address}/models").json()
    assert (listed["object"], [model["id"] for model in listed["data"]]) == ("list", ["town/ppo-1"])
    assert httpx.get(f"{address}/models/town/ppo-1").json()["object"] == "model"
    missing = httpx.get(f"{address}/models/town/ppo-9")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_a_whole_completion(address: str) -> None:
    told = post(address).json()
    assert told["object"] == "chat.completion"
    assert told["system_fingerprint"].startswith("fp_")
    assert told["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "[1] one two", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert told["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


def test_a_streamed_completion_with_usage(address: str) -> None:
    lines = post(address, stream=True, stream_options={"include_usage": True}).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == "[1] one two"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 5)


def test_text_parts_and_the_developer_role_are_read(address: str, chat: FakeChat) -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    post(
        address,
        messages=[{"role": "developer", "content": "be kind"}, {"role": "user", "content": parts}],
        max_completion_tokens=9,
        user="ignored",
        stop="###",
    )
    messages, params = chat.requests[0]
    assert [(m.role, m.content) for m in messages] == [("system", "be kind"), ("user", "a b")]
    assert params.max_tokens == 9
    assert chat.stops == ["###"]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"n": 129}, "n: Input should be less than or equal to 128"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "does not show tools"),
        ({"response_format": {"type": "json_schema"}}, "needs json_schema"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "exactly one"),
        ({"tool_choice": "required"}, "there are no tools"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"temperature": 2.1}, "temperature"),
        ({"messages": []}, "messages is empty"),
        ({"messages": [{"role": "tool", "content": "4"}]}, "tool_call_id"),
        ({"stop": [""]}, "stop"),
        ({"stream_options": {}}, "stream_options needs stream"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "only text parts"),
    ],
)
def test_what_is_not_built_is_refused_by_name(address: str, changes: dict[str, Any], names: str) -> None:
    response = post(address, **changes)
    assert response.status_code == 400
    assert names in response.json()["error"]["message"]


def test_fields_left_at_their_meaningless_value_are_no_reason_to_refuse(address: str) -> None:
    nothing = {"tools": [], "stop": None, "logprobs": False, "response_format": {"type": "text"}, "n": 1}
    assert post(address, **nothing).status_code == 200
