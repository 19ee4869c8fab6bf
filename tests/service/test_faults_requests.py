"""Offsets and log-probabilities that belong to the text, seeds of 64 bits, and conversations that end anywhere."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.service.tiny import MODEL, TOOLS

from ziggurat.dialogue.chat import Chat
from ziggurat.records import Message

USER = {"role": "user", "content": "Good morning, Ana!"}


def post(address: str, path: str, **body: Any) -> Any:
    answer = httpx.post(f"{address}/v1/{path}", json={"model": MODEL, **body}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(address: str, path: str, **body: Any) -> str:
    answer = httpx.post(f"{address}/v1/{path}", json={"model": MODEL, **body}, timeout=60)
    assert answer.status_code == 400, answer.text
    message: str = answer.json()["error"]["message"]
    return message


def events(address: str, path: str, **body: Any) -> list[Any]:
    asked = {"model": MODEL, "stream": True, **body}
    with httpx.stream("POST", f"{address}/v1/{path}", json=asked, timeout=60) as answer:
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


# --- where tokens are in the text -------------------------------------------------------------------------------------


def check_offsets(chat: Chat, text: str, logprobs: dict[str, Any]) -> None:
    """Each token's bytes are at its offset; one that begins inside a character has the offset of that character."""
    offsets = logprobs["text_offset"]
    assert offsets == sorted(offsets)
    by_name = {chat.token_name(id): chat.tokenizer.token_bytes(id) for id in range(chat.tokenizer.vocab_size)}
    written = b""
    for name, offset in zip(logprobs["tokens"], offsets, strict=True):
        assert len(written.decode(errors="ignore")) == offset
        assert text[:offset] == written.decode(errors="ignore")[:offset]
        written += by_name[name]


@pytest.mark.parametrize("prompt", ["囍 Émile", "naïve 🥐 hello", "Good<|end|>morning 你好", "🥐"])
def test_text_offsets_are_characters_of_the_text_in_every_script(
    address: str, chat: Chat, prompt: str
) -> None:
    choice = post(address, "completions", prompt=prompt, echo=True, logprobs=1, max_tokens=0)["choices"][0]
    assert choice["text"] == prompt
    check_offsets(chat, prompt, choice["logprobs"])
    form = {"regex": "囍a🥐é!"}
    choice = post(
        address, "completions", prompt=prompt, echo=True, logprobs=1, structured_outputs=form, max_tokens=40
    )["choices"][0]
    assert choice["text"] == prompt + "囍a🥐é!"
    written = {key: value[:-1] for key, value in choice["logprobs"].items()}  # the last token ends the answer
    check_offsets(chat, choice["text"], written)
    assert choice["logprobs"]["text_offset"][-1] == len(choice["text"])


def test_text_offsets_of_a_stream_are_those_of_the_whole(address: str) -> None:
    body = {
        "prompt": "The baker",
        "logprobs": 2,
        "max_tokens": 30,
        "stop": ["n"],
        "seed": 4,
        "temperature": 1,
    }
    whole = post(address, "completions", **body)["choices"][0]
    pieces = [choice for event in events(address, "completions", **body) for choice in event["choices"]]
    assert "".join(piece["text"] for piece in pieces) == whole["text"]
    for key in whole["logprobs"]:
        assert [value for piece in pieces for value in piece["logprobs"][key]] == whole["logprobs"][key]


# --- one entry for each token of the content --------------------------------------------------------------------------


def spelled(content: list[Any]) -> bytes:
    return b"".join(bytes(entry["bytes"]) for entry in content)


def entries(address: str, **body: Any) -> list[tuple[str, list[Any]]]:
    """(content, its entries) of one request, four times: chat and responses, whole and streamed."""
    body = {"temperature": 0, "seed": 1, **body}
    choice = post(address, "chat/completions", messages=[USER], logprobs=True, top_logprobs=1, **body)[
        "choices"
    ][0]
    found = [(choice["message"]["content"] or "", choice["logprobs"]["content"])]
    chunks = events(address, "chat/completions", messages=[USER], logprobs=True, top_logprobs=1, **body)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    parts = [entry for choice in choices if choice["logprobs"] for entry in choice["logprobs"]["content"]]
    found.append(("".join(choice["delta"].get("content") or "" for choice in choices), parts))
    body["max_output_tokens"] = body.pop("max_tokens")
    body["tools"] = [{"type": "function", **tool["function"]} for tool in body.get("tools", ())]
    stop = body.pop("stop", None)
    common = {
        "input": USER["content"],
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 1,
        **body,
    }
    common |= {"stop": stop} if stop else {}
    whole = post(address, "responses", **common)
    messages = [item for item in whole["output"] if item["type"] == "message"]
    part = messages[0]["content"][0] if messages else {"text": "", "logprobs": []}
    found.append((part["text"], part["logprobs"]))
    said = [event for event in events(address, "responses", **common) if event["type"].endswith("text.delta")]
    parts = [entry for event in said for entry in event["logprobs"]]
    found.append(("".join(event["delta"] for event in said), parts))
    return found


def test_entries_are_those_of_the_content_up_to_the_end_token(address: str) -> None:
    for text, content in entries(address, structured_outputs={"regex": "囍 Good morning é!"}, max_tokens=60):
        assert text == "囍 Good morning é!"
        assert spelled(content).decode() == text


def test_entries_beside_tool_calls_are_those_of_the_content(address: str) -> None:
    call = '{"name":"calendar","arguments":{}}'
    form = {"grammar": f"start: {json.dumps('Good 你 ')} <|tool|> {json.dumps(call)}"}
    for text, content in entries(address, structured_outputs=form, tools=TOOLS, max_tokens=120):
        assert text == "Good 你 "
        assert spelled(content).decode() == text
    form = {"grammar": f"start: {json.dumps('Good ')} <|tool|> {json.dumps('no call 你')}"}
    for text, content in entries(address, structured_outputs=form, tools=TOOLS, max_tokens=120):
        assert text == "Good no call 你"
        assert spelled(content).decode() == text
    form = {"grammar": f"start: <|tool|> {json.dumps(call)}"}
    assert entries(address, structured_outputs=form, tools=TOOLS, max_tokens=120) == [("", [])] * 4


@pytest.mark.parametrize("stop", ["morning", "ood", "g by"])
def test_entries_end_before_a_stop_string(address: str, stop: str) -> None:
    whole = "a good morning by Ana"
    for text, content in entries(
        address, structured_outputs={"regex": whole}, stop=[stop], max_tokens=60, repetition_penalty=1
    ):
        assert text == whole[: whole.index(stop)]
        ends = spelled(content).decode()
        assert ends.startswith(text)
        before = spelled(content[:-1]).decode()
        assert len(before) < len(text), "only the last entry may go on into the stop string"


# --- seeds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [-1, 2**63 - 1, -(2**63), 0])
def test_seeds_are_whole_numbers_of_64_bits(address: str, seed: int) -> None:
    body = {"messages": [USER], "seed": seed, "max_tokens": 12}
    said = [post(address, "chat/completions", **body)["choices"][0]["message"]["content"] for _ in range(2)]
    assert said[0] == said[1]
    other = post(address, "chat/completions", **{**body, "seed": seed ^ 1})["choices"][0]["message"][
        "content"
    ]
    assert other != said[0]
    assert "seed" in refusal(address, "chat/completions", **{**body, "seed": 2**63})


# --- the last message -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "messages",
    [
        [USER, {"role": "system", "content": "Be brief."}],
        [USER, {"role": "developer", "content": "Be brief."}],
        [{"role": "system", "content": "Say something."}],
        [USER, {"role": "assistant", "content": "Hi."}, {"role": "system", "content": "Be brief."}],
    ],
)
def test_a_conversation_may_end_on_system_or_developer(address: str, chat: Chat, messages: Any) -> None:
    usage = post(address, "chat/completions", messages=messages, max_tokens=1)["usage"]
    roles = [{**one, "role": one["role"].replace("developer", "system")} for one in messages]
    ids = chat.prompt_ids([Message.model_validate(one) for one in roles])
    assert usage["prompt_tokens"] == len(ids)
    assert post(address, "responses", input=messages, max_output_tokens=1)["usage"]["input_tokens"] == len(
        ids
    )


def test_a_last_message_of_the_assistant_is_continued_where_that_is_asked(address: str, chat: Chat) -> None:
    begun = [USER, {"role": "assistant", "content": "Good mor"}]
    asked = {"continue_final_message": True, "max_tokens": 8, "temperature": 0}
    for more in ({}, {"add_generation_prompt": False}):
        answer = post(address, "chat/completions", messages=begun, **asked, **more)
        prompt = chat.prompt_ids([Message.model_validate(USER)]) + chat.tokenizer.encode("Good mor")
        same = post(address, "completions", prompt=prompt, max_tokens=8, temperature=0)
        assert answer["usage"]["prompt_tokens"] == len(prompt)
        assert answer["choices"][0]["message"]["content"] == same["choices"][0]["text"]
    assert "continue_final_message" in refusal(address, "chat/completions", messages=begun)
    said = refusal(address, "chat/completions", messages=begun, **asked, add_generation_prompt=True)
    assert "add_generation_prompt" in said
    assert "continue_final_message" in refusal(address, "chat/completions", messages=[USER], **asked)


def test_template_variables_of_a_request_may_not_take_its_own_fields(address: str) -> None:
    for name in ("messages", "tools", "add_generation_prompt"):
        said = refusal(address, "chat/completions", messages=[USER], chat_template_kwargs={name: []})
        assert f"chat_template_kwargs may not set {name}" in said
