"""Models from elsewhere through HTTP: forced calls, Hermes' calls, and 400 for what their template cannot show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from tests.dialogue.families import CHATML, HERMES, family

from ziggurat.dialogue.chat import Chat
from ziggurat.service.server import create_app

TOOL = {
    "name": "f",
    "parameters": {
        "type": "object",
        "properties": {"a": {"enum": ["x", "y"]}},
        "required": ["a"],
        "additionalProperties": False,
    },
}
TOOLS = [{"type": "function", "function": TOOL}]
USER = {"role": "user", "content": "Good morning!"}
CALLED = [
    USER,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "seven"},
]


@pytest.fixture(scope="module")
def chats() -> dict[str, Chat]:
    return {"plain": family(None), "chatml": family(CHATML), "hermes": family(HERMES, marks="added")}


@pytest.fixture
def elsewhere(serving: Callable[[Any], AbstractContextManager[str]], chats: dict[str, Chat]) -> Iterator[str]:
    with serving(create_app(chats)) as where:
        yield where


def send(address: str, path: str = "chat/completions", **body: Any) -> httpx.Response:
    asked = {"messages": [USER], "max_tokens": 150, "seed": 3, **body}
    return httpx.post(f"{address}/v1/{path}", json=asked, timeout=60)


@pytest.mark.parametrize("model", ["plain", "chatml", "hermes"])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_a_required_call_is_forced_for_any_model(elsewhere: str, model: str, choice: Any) -> None:
    answer = send(elsewhere, model=model, tools=TOOLS, tool_choice=choice)
    assert answer.status_code == 200, answer.text
    message = answer.json()["choices"][0]["message"]
    (call,) = message["tool_calls"]
    assert message["content"] is None
    assert json.loads(call["function"]["arguments"])["a"] in ("x", "y")
    assert call["function"]["name"] == "f"


@pytest.mark.parametrize("model", ["plain", "chatml"])
def test_tools_that_a_template_cannot_show_are_400(elsewhere: str, model: str) -> None:
    refused = send(elsewhere, model=model, tools=TOOLS)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "tools"
    assert "does not show tools" in refused.json()["error"]["message"]
    assert send(elsewhere, model=model, tools=TOOLS, tool_choice="none").status_code == 200


@pytest.mark.parametrize("model", ["plain", "chatml"])
def test_tool_calls_that_a_template_drops_are_400(elsewhere: str, model: str) -> None:
    refused = send(elsewhere, model=model, messages=CALLED)
    assert refused.status_code == 400
    assert "messages.1 has tool_calls" in refused.json()["error"]["message"]


def test_hermes_calls_are_read_whole_streamed_and_in_the_history(
    elsewhere: str, chats: dict[str, Chat]
) -> None:
    call = '\n{"name": "f", "arguments": {"a": "x"}}\n'
    grammar = f'start: "Hi. <tool_call>" {json.dumps(call)} "</tool_call>\\n<tool_call>no call</tool_call>"'
    body = {"model": "hermes", "tools": TOOLS, "structured_outputs": {"grammar": grammar}}
    choice = send(elsewhere, **body).json()["choices"][0]
    assert choice["message"]["content"] == "Hi. no call"
    assert [json.loads(c["function"]["arguments"]) for c in choice["message"]["tool_calls"]] == [{"a": "x"}]
    assert choice["finish_reason"] == "tool_calls"
    asked = {"messages": [USER], "max_tokens": 150, "stream": True, **body}
    with httpx.stream("POST", f"{elsewhere}/v1/chat/completions", json=asked, timeout=60) as answer:
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    deltas = [choice["delta"] for line in lines[:-1] for choice in json.loads(line)["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Hi. no call"
    (streamed,) = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    assert json.loads(streamed["function"]["arguments"]) == {"a": "x"}
    history = send(elsewhere, model="hermes", messages=CALLED, max_tokens=1).json()
    shown = "".join(
        [
            "<|im_start|>user\nGood morning!<|im_end|>\n<|im_start|>assistant\n",
            '\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><|im_end|>\n',
            "<|im_start|>user\n<tool_response>\nseven\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
        ]
    )
    assert history["usage"]["prompt_tokens"] == len(chats["hermes"].raw_ids(shown))


def test_template_variables_of_a_request_reach_the_template(
    elsewhere: str, chats: dict[str, Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    template, given = chats["chatml"].template, list[Any]()
    render = template.render_many

    def recording(conversations: Any, *, template_kwargs: Any = None, **more: Any) -> Any:
        given.append((template_kwargs, more["add_generation_prompt"]))
        return render(conversations, **more)

    monkeypatch.setattr(template, "render_many", recording)
    send(elsewhere, model="chatml", chat_template_kwargs={"enable_thinking": False}, max_tokens=1)
    send(elsewhere, model="chatml", add_generation_prompt=False, max_tokens=1)
    assert given == [({"enable_thinking": False}, True), ({}, False)]
