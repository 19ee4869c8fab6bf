"""Forms of answers: schemas whose words are also names, numbers that end, forms that no answer can satisfy."""

from __future__ import annotations

import json
from typing import Any

import httpx
import orjson
import pytest
from tests.service.tiny import MODEL

from ziggurat.dialogue.chat import Chat

MESSAGES = [{"role": "user", "content": "How many people live here?"}]


def ask(address: str, path: str = "chat/completions", **body: Any) -> httpx.Response:
    asked = {
        "model": MODEL,
        **({"input": "How many?"} if path == "responses" else {"messages": MESSAGES}),
        **body,
    }
    if path == "completions":
        asked = {"prompt": "How many?", **{key: value for key, value in asked.items() if key != "messages"}}
    return httpx.post(f"{address}/v1/{path}", json=asked, timeout=120)


def contents(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    choices = answer.json()["choices"]
    assert {choice["finish_reason"] for choice in choices} == {"stop"}
    return [orjson.loads(choice["message"]["content"]) for choice in choices]


def refusal(answer: httpx.Response) -> str:
    assert answer.status_code == 400, answer.text
    message: str = answer.json()["error"]["message"]
    return message


def as_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}


def digits(chat: Chat) -> dict[str, int]:
    """A model that prefers digits to everything, and texts, lists and objects to nothing."""
    names = [chat.token_name(id) for id in range(chat.tokenizer.vocab_size)]
    likes = {str(id): 30 for id, name in enumerate(names) if name in "0123456789.e"}
    return likes | {str(id): -100 for id, name in enumerate(names) if set(name) & set('"[{')}


NAMED = {
    "type": "object",
    "properties": {
        "format": {"type": "integer", "minimum": 3, "maximum": 4},
        "enum": {"enum": [{"$ref": "#/a"}]},
        "default": {"const": 1},
    },
    "required": ["format", "enum", "default"],
    "additionalProperties": False,
}


def fits(value: Any) -> bool:
    return value["format"] in (3, 4) and value["enum"] == {"$ref": "#/a"} and value["default"] == 1


def test_property_names_are_no_keywords_in_response_format(address: str) -> None:
    assert all(map(fits, contents(ask(address, response_format=as_format(NAMED), max_tokens=120))))


@pytest.mark.parametrize("choice", ["required", "auto"])
def test_property_names_are_no_keywords_in_tools(address: str, chat: Chat, choice: str) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": NAMED, "strict": True}}]
    likes = {str(chat.tokenizer.id_of("<|tool|>")): 90, **{str(id): 100 for id in chat.template.stop_ids}}
    answer = ask(
        address, tools=tools, tool_choice=choice, max_tokens=200, logit_bias=likes, seed=3, min_tokens=1
    )
    assert answer.status_code == 200, answer.text
    (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
    assert fits(json.loads(call["function"]["arguments"]))


def test_property_names_are_no_keywords_in_responses(address: str) -> None:
    text = {"format": {"type": "json_schema", "name": "it", "schema": NAMED}}
    answer = ask(address, "responses", text=text, max_output_tokens=120)
    assert answer.status_code == 200, answer.text
    assert fits(json.loads(answer.json()["output"][0]["content"][0]["text"]))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer"},
        {"type": "number"},
        {"type": "object", "properties": {"population": {"type": "integer"}}, "required": ["population"],
         "additionalProperties": False},
        {"type": "array", "items": {"type": ["number", "null"]}, "minItems": 2, "maxItems": 2},
        {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False},
    ],
)  # fmt: skip
def test_ten_of_ten_numbers_end(address: str, chat: Chat, schema: dict[str, Any]) -> None:
    """A model that likes digits best writes at most 16 before and 9 after the point, and no exponent."""
    answer = ask(
        address,
        response_format=as_format(schema),
        logit_bias=digits(chat),
        max_tokens=120,
        temperature=1,
        seed=1,
        n=10,
    )
    for value in contents(answer):
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        assert all(part is None or abs(part) <= 10**15 for part in parts)


def test_bounds_of_the_schema_take_the_place_of_the_default(address: str, chat: Chat) -> None:
    schema = {"type": "integer", "minimum": 10**17, "maximum": 10**18 - 1}
    (value,) = contents(
        ask(address, response_format=as_format(schema), logit_bias=digits(chat), max_tokens=60)
    )
    assert 10**17 <= value < 10**18


# --- what no answer can satisfy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"enum": []},
    ],
)
def test_a_schema_that_nothing_satisfies_is_refused(address: str, schema: dict[str, Any]) -> None:
    said = refusal(ask(address, response_format=as_format(schema)))
    assert said.startswith("Invalid schema for response_format: ")
    tool = {"name": "f", "parameters": schema}
    refused = ask(address, tools=[{"type": "function", "function": tool}], tool_choice="required")
    assert "parameters of a function" in refusal(refused)


@pytest.mark.parametrize("grammar", ["start: start", 'start: a\na: b "x"\nb: a', "start: A\nA: /a/ & /b/"])
def test_a_grammar_without_a_first_token_is_refused(address: str, grammar: str) -> None:
    assert "no answer can satisfy it" in refusal(ask(address, structured_outputs={"grammar": grammar}))


@pytest.mark.parametrize(
    "grammar",
    [
        'start: "a" start',
        'start: "a" b\nb: "c" start | "d" b',
        'start: "x" A\nA: /a/ & /b/',
        'start: "a" %json {"$ref": "#"}',
        'start: "a" (start | A)\nA: /a/ & /b/',
    ],
)
def test_a_grammar_without_an_end_is_refused(address: str, grammar: str) -> None:
    """Row 18: it was followed to the limit, and the answer ended with `length`."""
    said = refusal(ask(address, structured_outputs={"grammar": grammar}))
    assert said.startswith("the grammar cannot be followed: no answer can satisfy it")
    assert ask(address, structured_outputs={"grammar": 'start: "a" start | "b"'}).status_code == 200


@pytest.mark.parametrize("field", ["regex", "json"])
def test_a_pattern_with_look_ahead_is_named_with_the_reason(address: str, field: str) -> None:
    pattern = "^(?=a)b+$"
    form: Any = pattern if field == "regex" else {"type": "string", "pattern": pattern}
    said = refusal(ask(address, structured_outputs={field: form}))
    assert pattern in said
    assert "look-ahead" in said
    assert "\n" not in said


def test_schemas_with_numbers_beyond_json_or_depth_are_refused(address: str) -> None:
    deep = '{"items": ' * 3_000 + "true" + "}" * 3_000
    for schema in ('{"const": 1e999}', '{"const": NaN}', deep, "[", "7"):
        assert "response_format" in refusal(ask(address, structured_outputs={"json": schema}))


# --- two forms at once ------------------------------------------------------------------------------------------------

OBJECT = {"type": "json_object"}


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        (
            "chat/completions",
            {"response_format": OBJECT, "structured_outputs": {"regex": "a"}},
            "response_format",
        ),
        ("chat/completions", {"response_format": OBJECT, "guided_regex": "a"}, "guided_regex"),
        ("chat/completions", {"guided_choice": ["a"], "structured_outputs": {"regex": "a"}}, "guided_choice"),
        ("chat/completions", {"guided_choice": ["a"], "guided_regex": "a"}, "guided_regex"),
        ("completions", {"response_format": OBJECT, "guided_regex": "a"}, "response_format"),
        ("responses", {"text": {"format": OBJECT}, "structured_outputs": {"regex": "a"}}, "text.format"),
        ("responses", {"text": {"format": OBJECT}, "guided_regex": "a"}, "text.format"),
        ("responses", {"response_format": OBJECT}, "text.format"),
        ("chat/completions", {"response_format": {"type": "text", "schema": {}}}, "schema"),
        ("chat/completions", {"response_format": {**OBJECT, "json_schema": {"name": "a"}}}, "json_schema"),
        (
            "chat/completions",
            {"guided_json": {}, "guided_whitespace_pattern": " "},
            "guided_whitespace_pattern",
        ),
    ],
)
def test_two_forms_at_once_are_refused_by_their_names(address: str, path: str, body: Any, names: str) -> None:
    assert names in refusal(ask(address, path, **body))


@pytest.mark.parametrize(
    ("body", "pattern"),
    [
        ({"guided_choice": ["yes", "no"]}, ["yes", "no"]),
        ({"guided_regex": "ab?"}, ["a", "ab"]),
        ({"guided_grammar": 'start: "ab"'}, ["ab"]),
        ({"guided_json": {"const": 7}}, ["7"]),
        ({"response_format": {"type": "json_object", "schema": {"const": {"a": 1}}}}, ['{"a": 1}']),
        ({"response_format": {"type": "text"}, "guided_choice": ["yes"]}, ["yes"]),
    ],
)
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_other_names_of_forms_are_used(address: str, path: str, body: Any, pattern: list[str]) -> None:
    answer = ask(address, path, max_tokens=30, **body)
    assert answer.status_code == 200, answer.text
    choice = answer.json()["choices"][0]
    assert (choice["message"]["content"] if path.startswith("chat") else choice["text"]) in pattern
