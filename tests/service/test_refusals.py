"""What a refusal says: its code, its parameter, its limit."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from tests.service.tiny import MODEL

LONG = "good morning, Ana! " * 400
TURNS = [{"role": "user", "content": LONG}]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": TURNS}),
        ("/v1/completions", {"prompt": LONG}),
        ("/v1/completions", {"prompt": [7] * 513}),
        ("/v1/completions", {"prompt": "a", "truncate_prompt_tokens": 513}),
        ("/v1/responses", {"input": LONG}),
        ("/v1/embeddings", {"input": ["a", LONG]}),
    ],
)
def test_a_prompt_over_the_context_has_openais_code_and_is_not_worth_a_retry(
    address: str, path: str, body: dict[str, Any], streamed: bool
) -> None:
    more = {"stream": True} if streamed and path != "/v1/embeddings" else {}
    answer = httpx.post(f"{address}{path}", json={"model": MODEL, **body, **more}, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
    assert (error["type"], answer.headers["x-should-retry"]) == ("invalid_request_error", "false")
    assert "512" in error["message"]


def test_the_official_client_reads_the_code(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input=LONG)
    assert caught.value.code == "context_length_exceeded"


TEXTS = ["a"] * 2049
FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("path", "body", "param", "says"),
    [
        ("/v1/embeddings", {"input": TEXTS}, "input", "at most 2048"),
        ("/v1/embeddings", {"input": []}, "input", "at least 1"),
        ("/v1/embeddings", {"input": ""}, "input", "at least 1"),
        ("/v1/embeddings", {"input": ["a", ""]}, "input.1", "at least 1"),
        ("/v1/embeddings", {"input": 7}, "input", "expected a text or a list of texts"),
        ("/v1/embeddings", {"input": [[1, 2]]}, "input", "check_embedding_ctx_length=False"),
        ("/v1/completions", {"prompt": TEXTS}, "prompt", "at most 128"),
        ("/v1/completions", {"prompt": [[1]] * 129}, "prompt", "at most 128"),
        ("/v1/completions", {"prompt": [1, -1]}, "prompt.1", "greater than or equal to 0"),
        ("/v1/completions", {"prompt": [[1], [2, 2**40]]}, "prompt.1.1", "less than"),
        ("/v1/completions", {"prompt": ["a", 1]}, "prompt.1", "valid string"),
        ("/v1/completions", {"prompt": {"a": 1}}, "prompt", "expected a text"),
        ("/v1/completions", {"prompt": "a", "stop": ["a"] * 33}, "stop", "at most 32"),
        ("/v1/completions", {"prompt": "a", "stop": "a" * 201}, "stop", "at most 200"),
        ("/v1/completions", {"prompt": "a", "stop": ["a", "a" * 201]}, "stop.1", "at most 200"),
        ("/v1/completions", {"prompt": "a", "stop": 7}, "stop", "expected a text or a list of texts"),
        ("/v1/completions", {"prompt": "a", "structured_outputs": {"json": 7}}, "structured_outputs.json", "schema"),
        ("/v1/chat/completions", {"tool_choice": "any"}, "tool_choice", "'required'"),
        ("/v1/chat/completions", {"tool_choice": {"type": "any"}}, "tool_choice", "allowed_tools"),
        ("/v1/chat/completions", {"tool_choice": {"type": "function"}}, "tool_choice.function", "required"),
        ("/v1/responses", {"input": "a", "tool_choice": {"type": "function"}}, "tool_choice.name", "required"),
        ("/v1/responses", {"input": "a", "tool_choice": 7}, "tool_choice", "none, auto, required"),
        ("/v1/moderations", {"input": ["a"] * 257}, "input", "at most 256"),
        ("/score", {"text_1": 7, "text_2": "a"}, "text_1", "expected a text or a list of texts"),
        ("/score", {"text_1": "a", "text_2": ["a", 7]}, "text_2.1", "valid string"),
        ("/score", {"messages": [[]], "text_2": "a"}, "messages.0", "at least 1"),
        ("/score", {"messages": [{"role": "x"}], "text_2": "a"}, "messages.0.role", "'user'"),
    ],
)  # fmt: skip
def test_a_wrong_value_of_several_types_is_refused_by_its_limit_and_plain_path(
    address: str, path: str, body: dict[str, Any], param: str, says: str
) -> None:
    chat = {"messages": [{"role": "user", "content": "a"}], "tools": [FUNCTION]} if "chat" in path else {}
    answer = httpx.post(f"{address}{path}", json={"model": MODEL, **chat, **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert error["message"].startswith(f"{param}: ")
    assert says in error["message"]
    assert "more)" not in error["message"]
