"""Which tools a model may call, as either of OpenAI's APIs spells it: by the official client and a tiny real model."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from tests.service.tiny import MODEL, TOOLS, asking

FUNCTIONS: list[Any] = [{"type": "function", "strict": False, **tool["function"]} for tool in TOOLS]


def allowing(mode: str, name: str) -> Any:
    tools = [{"type": "function", "function": {"name": name}}]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


@pytest.mark.parametrize("name", ["calculator", "calendar"])
def test_of_the_allowed_tools_one_is_called_where_that_is_required(client: openai.OpenAI, name: str) -> None:
    asked = asking(tools=TOOLS, tool_choice=allowing("required", name), max_tokens=120)
    (choice,) = client.chat.completions.create(**asked).choices
    assert choice.finish_reason == "tool_calls"
    assert [call.function.name for call in choice.message.tool_calls or ()] == [name]


def test_the_model_is_told_of_the_allowed_tools_alone(client: openai.OpenAI) -> None:
    """In both APIs the prompt is that of a request with the one tool."""

    def chat_tokens(**changes: Any) -> int:
        usage = client.chat.completions.create(**asking(max_tokens=1, **changes)).usage
        assert usage is not None
        return usage.prompt_tokens

    def response_tokens(**changes: Any) -> int:
        return client.responses.input_tokens.count(
            model=MODEL, input="Good morning, Ana!", **changes
        ).input_tokens

    both, one = chat_tokens(tools=TOOLS), chat_tokens(tools=TOOLS[1:])
    assert both > one
    assert chat_tokens(tools=TOOLS, tool_choice=allowing("auto", "calendar")) == one
    spelled: Any = {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "calendar"}],
    }
    assert response_tokens(tools=FUNCTIONS) == both
    assert response_tokens(tools=FUNCTIONS, tool_choice=spelled) == one


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (allowing("auto", "oven"), "tool_choice names oven, which is not among tools"),
        (allowing("sometimes", "calendar"), "tool_choice"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, "tool_choice"),
    ],
)
def test_allowed_tools_that_cannot_be_are_refused(client: openai.OpenAI, choice: Any, says: str) -> None:
    with pytest.raises(openai.BadRequestError, match=says):
        client.chat.completions.create(**asking(tools=TOOLS, tool_choice=choice))
