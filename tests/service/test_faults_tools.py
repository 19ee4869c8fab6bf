"""Tool calls that a model writes badly, deeply or not at all: what a client gets is always JSON, and nothing is lost.

`saying(text)` is a request whose grammar fixes what the model writes after its tool token.
"""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import openai
import orjson
import pytest
from tests.service.tiny import MODEL

from ziggurat.dialogue.chat import Chat

F = {
    "name": "f",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
}
TOOLS = [{"type": "function", "function": F}]
FUNCTIONS = [{"type": "function", **F}]
MESSAGES = [{"role": "user", "content": "Good morning, Ana!"}]
HALF = '{"name":"f","arguments":{"a":"\\ud83d"}}'
DEEP = '{"name":"f","arguments":{"a":' + "[" * 1_200 + "]" * 1_200 + "}}"


def grammar(*texts: str) -> dict[str, Any]:
    return {"grammar": "start: " + " ".join(f"<|tool|> {json.dumps(text)}" for text in texts)}


def saying(*texts: str, **changes: Any) -> dict[str, Any]:
    """A chat request; the model writes `texts`, each after its tool token."""
    return {
        "model": MODEL,
        "messages": MESSAGES,
        "tools": TOOLS,
        "structured_outputs": grammar(*texts),
        "max_tokens": 400,
        **changes,
    }


def responding(*texts: str, **changes: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "input": "Good morning, Ana!",
        "tools": FUNCTIONS,
        "structured_outputs": grammar(*texts),
        "max_output_tokens": 400,
        **changes,
    }


def post(address: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(f"{address}/v1/{path}", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = orjson.loads(answer.content)  # refuses what is not JSON in UTF-8
    return read


def streamed(address: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream that ends as it should."""
    with httpx.stream("POST", f"{address}/v1/{path}", json={**body, "stream": True}, timeout=60) as answer:
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [orjson.loads(line) for line in lines[:-1]]


def message_of(address: str, *texts: str, **changes: Any) -> dict[str, Any]:
    message: dict[str, Any] = post(address, "chat/completions", saying(*texts, **changes))["choices"][0][
        "message"
    ]
    return message


def arguments_of(address: str, text: str) -> str:
    (call,) = message_of(address, text)["tool_calls"]
    written: str = call["function"]["arguments"]
    return written


# --- half a surrogate pair --------------------------------------------------------------------------------------------


def test_half_a_surrogate_pair_in_arguments_is_the_replacement_character(address: str) -> None:
    assert json.loads(arguments_of(address, HALF)) == {"a": "\ufffd"}
    assert json.loads(arguments_of(address, HALF.replace("\\ud83d", "\\ud83d\\ude00"))) == {"a": "😀"}
    assert json.loads(arguments_of(address, HALF.replace("\\ud83d", "\\\\ud83d"))) == {"a": "\\ud83d"}


def test_half_a_surrogate_pair_leaves_streams_whole(address: str) -> None:
    chunks = streamed(address, "chat/completions", saying(HALF))
    (call,) = [
        call
        for chunk in chunks
        for choice in chunk["choices"]
        for call in choice["delta"].get("tool_calls") or ()
    ]
    assert json.loads(call["function"]["arguments"]) == {"a": "\ufffd"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    events = streamed(address, "responses", responding(HALF))
    assert events[-1]["type"] == "response.completed"
    assert json.loads(events[-1]["response"]["output"][0]["arguments"]) == {"a": "\ufffd"}


def test_half_a_surrogate_pair_can_be_read_again_and_again(address: str) -> None:
    begun = post(address, "responses", responding(HALF, store=True, background=True))
    ended = wait_for_end(address, begun["id"])
    assert ended["status"] == "completed"
    assert json.loads(ended["output"][0]["arguments"]) == {"a": "\ufffd"}


def wait_for_end(address: str, id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        answer = httpx.get(f"{address}/v1/responses/{id}", timeout=30)
        assert answer.status_code == 200, answer.text
        read: dict[str, Any] = orjson.loads(answer.content)
        if read["status"] not in ("in_progress", "queued"):
            return read
        assert time.monotonic() < deadline, "the response never ended"
        time.sleep(0.05)


# --- numbers that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1.10", "12345678901234567890123"])
def test_numbers_in_arguments_are_as_written(address: str, number: str) -> None:
    text = '{"name":"f","arguments":{"a": ' + number + "}}"
    assert arguments_of(address, text) == '{"a": ' + number + "}"


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_is_content_and_no_arguments(address: str, constant: str) -> None:
    text = '{"name":"f","arguments":{"a": ' + constant + "}}"
    message = message_of(address, text)
    assert "tool_calls" not in message
    assert message["content"] == text


def test_untyped_parameters_of_a_forced_call_have_finite_numbers(address: str, chat: Chat) -> None:
    free = {"name": "f", "parameters": {**EMPTY, "properties": {"a": {}}, "required": ["a"]}}
    names = [chat.token_name(id) for id in range(chat.tokenizer.vocab_size)]
    digits = {str(id): 50 for id, name in enumerate(names) if name in "1e9."}
    digits |= {str(id): -100 for id, name in enumerate(names) if set(name) & set('"[{')}
    body = saying("", tools=[{"type": "function", "function": free}], max_tokens=200, n=4, temperature=1)
    del body["structured_outputs"]
    body |= {"tool_choice": "required", "logit_bias": digits, "seed": 1}
    for choice in post(address, "chat/completions", body)["choices"]:
        assert choice["finish_reason"] == "tool_calls"
        (call,) = choice["message"]["tool_calls"]
        value = orjson.loads(call["function"]["arguments"])["a"]
        assert abs(value) <= 10**15


# --- what is no call --------------------------------------------------------------------------------------------------

NO_CALLS = [
    "hello",
    '{"nome":"f","arguments":{}}',
    '{"name":"f","parameters":{"a":"b"}}',
    '{"name":"f","arguments":[1]}',
    '{"name":"f","arguments":{}} and more',
    '["f"]',
]


@pytest.mark.parametrize("text", NO_CALLS)
def test_what_cannot_be_read_as_a_call_is_content(address: str, text: str) -> None:
    choice = post(address, "chat/completions", saying(text))["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": text, "refusal": None}
    assert choice["finish_reason"] == "stop"
    chunks = streamed(address, "chat/completions", saying(text))
    deltas = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in deltas) == text
    assert deltas[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize("text", NO_CALLS)
def test_what_cannot_be_read_as_a_call_is_a_message_of_a_response(address: str, text: str) -> None:
    (item,) = post(address, "responses", responding(text))["output"]
    assert item["content"][0]["text"] == text
    events = streamed(address, "responses", responding(text))
    said = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(said) == text
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == text


def test_calls_beside_what_is_no_call_are_kept(address: str) -> None:
    good = '{"name":"f","arguments":{"a":"b"}}'
    message = message_of(address, good, "hello")
    assert message["content"] == "hello"
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"a":"b"}']


def test_a_call_that_a_limit_cut_off_keeps_its_beginning(address: str) -> None:
    text = '{"name":"f","arguments":{"a":"' + "good morning " * 20 + '"}}'
    choice = post(address, "chat/completions", saying(text, max_tokens=40))["choices"][0]
    assert choice["finish_reason"] == "length"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "f"
    assert '{"a":"good'.startswith(call["function"]["arguments"][:10])


# --- depth ------------------------------------------------------------------------------------------------------------


def test_deep_arguments_end_every_kind_of_answer(address: str) -> None:
    """The context cuts the brackets off; tests/dialogue/test_calls.py has them whole."""
    body = saying(DEEP, max_tokens=480)
    assert "choices" in post(address, "chat/completions", body)
    assert streamed(address, "chat/completions", body)
    begun = post(address, "responses", responding(DEEP, store=True, background=True))
    assert wait_for_end(address, begun["id"])["status"] in ("completed", "incomplete")
    assert httpx.delete(f"{address}/v1/responses/{begun['id']}").status_code == 200


def test_calls_within_the_depth_are_calls(address: str) -> None:
    nested = '{"a":' + "[" * 50 + "]" * 50 + "}"
    assert arguments_of(address, '{"name":"f","arguments":' + nested + "}") == nested
    deep = '{"name":"f","arguments":{"a":' + "[" * 110 + "]" * 110 + "}}"
    assert message_of(address, deep)["content"] == deep


# --- at most one ------------------------------------------------------------------------------------------------------


def eager(chat: Chat) -> dict[str, Any]:
    """A model that begins with the tool's token, and writes another call rather than end."""
    tool = chat.tokenizer.id_of("<|tool|>")
    return {"temperature": 1, "seed": 5, "logit_bias": {str(tool): 100}, "max_tokens": 150}


@pytest.mark.parametrize("strict", [True, False])
def test_without_parallel_tool_calls_there_is_at_most_one(address: str, chat: Chat, strict: bool) -> None:
    tools = [{"type": "function", "function": {"name": "f", "strict": strict, "parameters": EMPTY}}]
    body = {"model": MODEL, "messages": MESSAGES, "tools": tools, **eager(chat)}
    single = post(address, "chat/completions", {**body, "parallel_tool_calls": False})["choices"][0]
    assert len(single["message"]["tool_calls"]) == 1
    if strict:
        assert single["finish_reason"] == "tool_calls"
        several = post(address, "chat/completions", {**body, "parallel_tool_calls": True})["choices"][0]
        assert len(several["message"]["tool_calls"]) > 1


EMPTY = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def test_responses_hold_parallel_tool_calls_too(address: str, chat: Chat) -> None:
    body = {"model": MODEL, "input": "Hi", "tools": [{"type": "function", "name": "f", "parameters": EMPTY}]}
    sampled = eager(chat)
    sampled["max_output_tokens"] = sampled.pop("max_tokens")
    read = post(address, "responses", {**body, **sampled, "parallel_tool_calls": False})
    assert [item["type"] for item in read["output"]] == ["function_call"]
    assert read["parallel_tool_calls"] is False


# --- history ----------------------------------------------------------------------------------------------------------


def history(arguments: Any) -> list[dict[str, Any]]:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    ]


def tokens_of(client: openai.OpenAI, arguments: Any) -> int:
    asked: Any = {"model": MODEL, "messages": history(arguments), "max_tokens": 1}
    usage = client.chat.completions.create(**asked).usage
    assert usage is not None
    return usage.prompt_tokens


def test_empty_arguments_in_the_history_are_an_empty_object(client: openai.OpenAI) -> None:
    assert tokens_of(client, "") == tokens_of(client, "{}")


@pytest.mark.parametrize("arguments", ["not json", "[1]", "7", '"text"', "{", '{"a": NaN}', "[" * 5_000])
def test_arguments_in_the_history_that_are_no_object_are_refused(address: str, arguments: str) -> None:
    asked = {"model": MODEL, "messages": history(arguments)}
    refused = httpx.post(f"{address}/v1/chat/completions", json=asked)
    assert refused.status_code == 400
    assert "arguments of a tool call" in refused.json()["error"]["message"]
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": arguments}
    output = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
    refused = httpx.post(f"{address}/v1/responses", json={"model": MODEL, "input": [call, output]})
    assert refused.status_code == 400
    assert "arguments of a tool call" in refused.json()["error"]["message"]
