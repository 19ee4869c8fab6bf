"""Which tools a model may call, as either of OpenAI's APIs spells it: by the official client and a tiny real model."""

from __future__ import annotations

import enum
import json
import re
from typing import Any

import openai
import pydantic
import pytest
from tests.service.tiny import MODEL, TOOLS, asking

from ziggurat.dialogue.chat import Chat

FUNCTIONS: list[Any] = [{"type": "function", "strict": False, **tool["function"]} for tool in TOOLS]


def functions(*, strict: bool) -> Any:
    return [{"type": "function", "function": {**tool["function"], "strict": strict}} for tool in TOOLS]


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


# --- strict ----------------------------------------------------------------------------------------------------------


def eager(chat: Chat) -> dict[str, Any]:
    """A model that begins with the tool's token, and ends where it may."""
    likes = {str(chat.tokenizer.id_of("<|tool|>")): 90, **{str(end): 100 for end in chat.template.stop_ids}}
    return {"temperature": 1, "seed": 5, "extra_body": {"min_tokens": 1, "logit_bias": likes}}


def fits(name: str, arguments: str) -> bool:
    told = json.loads(arguments)
    if name == "calendar":
        return list(told) == ["feast"] and told["feast"] in ("Lantern Day", "元宵")
    return list(told) == ["sum"] and bool(re.fullmatch(r"[0-9]{1,3}\+[0-9]{1,3}", told["sum"]))


def test_a_call_of_a_strict_tool_fits_its_parameters_though_nobody_asked_for_a_call(
    client: openai.OpenAI, chat: Chat
) -> None:
    asked = asking(tools=functions(strict=True), max_tokens=120, n=4) | eager(chat)
    for choice in client.chat.completions.create(**asked).choices:
        (call,) = choice.message.tool_calls or ()
        assert fits(call.function.name, call.function.arguments)
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    free = asking(tools=functions(strict=False), max_tokens=120) | eager(chat)
    assert not client.chat.completions.create(**free).choices[0].message.tool_calls, (
        "a tool's token and the end"
    )


def test_responses_hold_strict_tools_too_and_allowed_tools_to_their_names(
    client: openai.OpenAI, chat: Chat
) -> None:
    strict = [{**function, "strict": True} for function in FUNCTIONS]
    common: Any = {"model": MODEL, "input": "Good morning!", "max_output_tokens": 120}
    sampled = eager(chat)
    sampled["extra_body"]["seed"] = sampled.pop("seed")
    (call,) = client.responses.create(**common, **sampled, tools=strict).output
    assert call.type == "function_call"
    assert fits(call.name, call.arguments)
    spelled = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "calendar"}]}
    (call,) = client.responses.create(**common, **sampled, tools=FUNCTIONS, tool_choice=spelled).output
    assert call.type == "function_call"
    assert call.name == "calendar"


def test_what_is_said_before_no_call_is_as_it_would_be(client: openai.OpenAI) -> None:
    def said(strict: bool) -> str | None:
        asked = asking(tools=functions(strict=strict), max_tokens=40)
        return client.chat.completions.create(**asked).choices[0].message.content

    assert said(True) == said(False)


def test_a_form_asked_for_beside_strict_tools_is_kept(client: openai.OpenAI) -> None:
    asked = asking(tools=functions(strict=True), extra_body={"structured_outputs": {"choice": ["yes", "no"]}})
    assert client.chat.completions.create(**asked).choices[0].message.content in ("yes", "no")


def test_parameters_of_a_strict_tool_that_cannot_be_followed_are_refused(client: openai.OpenAI) -> None:
    """One that is not strict is only told to the model."""
    odd: Any = {"name": "f", "parameters": {"type": "object", "unevaluatedProperties": False}}
    with pytest.raises(openai.BadRequestError, match="parameters of a function.*unevaluatedProperties"):
        client.chat.completions.create(
            **asking(tools=[{"type": "function", "function": {**odd, "strict": True}}])
        )
    client.chat.completions.create(**asking(tools=[{"type": "function", "function": odd}]))


@pytest.mark.parametrize("choice", ["required", "auto"])
@pytest.mark.parametrize("others", [0, 1])
def test_parameters_may_refer_to_their_own_definitions(
    client: openai.OpenAI, choice: Any, others: int
) -> None:
    """As pydantic writes an enumeration; with other tools beside it the definitions stand elsewhere."""

    class Colour(enum.Enum):
        RED = "red"
        BLUE = "blue"

    class Paint(pydantic.BaseModel):
        colour: Colour

    tool = openai.pydantic_function_tool(Paint)
    assert "$defs" in tool["function"]["parameters"]
    asked = asking(tools=[*functions(strict=True)[:others], tool], max_tokens=60)
    if choice == "required":
        asked["tool_choice"] = {"type": "function", "function": {"name": "Paint"}}
    (answer,) = client.chat.completions.create(**asked).choices
    if choice == "required":
        (call,) = answer.message.tool_calls or ()
        assert json.loads(call.function.arguments)["colour"] in ("red", "blue")
