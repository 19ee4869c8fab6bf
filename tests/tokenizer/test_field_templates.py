"""Templates of the field over a generated set of conversations: our ids are those of `apply_chat_template`, and what is
trained follows from the template alone."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.needs import needs
from tests.tokenizer.field_styles import FIELD
from tests.tokenizer.styles import STYLES, make

from ziggurat.errors import DataError
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate

ALL = {**{name: style for name, style in STYLES.items() if style.template}, **FIELD}
WORDS = (
    "Yes",
    " Two",
    "\n",
    "  ",
    "é",
    "多远",
    "1984",
    "x.y",
    "<|im_end|>",
    "[INST]",
    "it's",
    "{",
    '"a": 1',
    "</s>",
)
CONVERSATIONS = 60
CALL = "call00001"
CROSSED = ("llama2 prepend", "mistral first")
"""Their small vocabularies have tokens across the border between prompt and answer, which ours are cut at."""
LATE_SYSTEM = ("mistral tools",)
"""Templates that show the system message only while a question waits, so that no whole conversation has it."""
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a day.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def words(draw: random.Random) -> str:
    """No two alike: a template may compare contents, and ours are placeholders while it runs."""
    return "a" + "".join(draw.choices(WORDS, k=draw.randint(1, 5))) + f"b{draw.randrange(10**6)}"


def conversation(draw: random.Random) -> tuple[list[Message], list[dict[str, Any]] | None]:
    """Turns with, at random, a system message, tools, calls with results, reasoning; texts hold names of specials."""
    messages = [Message(role="system", content=words(draw))] if draw.random() < 0.4 else []
    tools = [TOOL] if draw.random() < 0.5 else None
    for _ in range(draw.randint(1, 3)):
        messages.append(Message(role="user", content=words(draw)))
        if tools and draw.random() < 0.5:
            call = {"id": CALL, "type": "function"}
            function = {"name": "weather", "arguments": {"city": draw.choice(["Ur", 'B"ab', "乌尔"])}}
            messages.append(
                Message(role="assistant", content="", tool_calls=[{**call, "function": function}])
            )
            messages.append(Message(role="tool", content=words(draw), tool_call_id=CALL, name="weather"))
        reasoning = words(draw) if draw.random() < 0.3 else None
        messages.append(Message(role="assistant", content=words(draw), reasoning=reasoning))
    return messages, tools


@pytest.fixture(scope="module", name="folders")
def _folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp("field"), style) for name, style in ALL.items()}


def theirs(
    tokenizer: Any, template: ChatTemplate, messages: list[Message], tools: Any, generate: bool
) -> list[int] | None:
    """None where the template refuses the conversation."""
    import jinja2

    rows = []
    for message in messages:
        row = {"role": message.role, "content": message.content}
        if message.tool_calls:
            row["tool_calls"] = message.tool_calls
        if message.tool_call_id:
            row |= {"tool_call_id": message.tool_call_id, "name": message.name}
        if message.reasoning is not None and template._program.shows_reasoning:
            row["reasoning_content"] = message.reasoning
        elif message.reasoning is not None and "</think>" not in template.jinja:
            row["content"] = f"<think>\n{message.reasoning}\n</think>\n\n{message.content}"
        rows.append(row)
    try:
        ids: list[int] = tokenizer.apply_chat_template(
            rows, tools=tools, add_generation_prompt=generate, return_dict=False
        )
    except (jinja2.TemplateError, TypeError):
        return None
    return ids


@pytest.mark.parametrize("name", ALL)
def test_ids_are_those_of_apply_chat_template(name: str, folders: dict[str, Path]) -> None:
    tokenizer = needs("transformers").AutoTokenizer.from_pretrained(folders[name])
    template, draw, compared = ChatTemplate(Tokenizer.load(folders[name])), random.Random(7), 0
    for _ in range(CONVERSATIONS):
        messages, tools = conversation(draw)
        for given, generate in ((messages, False), (messages[:-1], True)):
            plain = without_specials(given, template.tokenizer.guarded)
            expected = theirs(tokenizer, template, plain, tools, generate)
            if expected is None:
                with pytest.raises(DataError):
                    template.render(plain, add_generation_prompt=generate, tools=tools)
                continue
            found = template.render(plain, add_generation_prompt=generate, tools=tools).ids
            compared += 1
            if name in CROSSED:
                joined = [b"".join(map(template.tokenizer.token_bytes, ids)) for ids in (found, expected)]
                assert joined[0] == joined[1]
                continue
            assert found == expected, (tokenizer.decode(found), tokenizer.decode(expected))
    assert compared >= CONVERSATIONS // 4


def without_specials(messages: list[Message], names: Iterable[str]) -> list[Message]:
    """Names of special tokens taken out of texts: theirs parses them there, ours never does."""

    def clean(text: str | None) -> str | None:
        for one in names if text else ():
            text = text.replace(one, "_")  # type: ignore[union-attr]
        return text

    return [
        Message(
            role=m.role, content=clean(m.content) or "", reasoning=clean(m.reasoning), tool_calls=m.tool_calls,
            tool_call_id=m.tool_call_id, name=m.name,
        )
        for m in messages
    ]  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_prompts_begin_what_is_trained_and_only_answers_are_trained(
    name: str, folders: dict[str, Path]
) -> None:
    template, draw, seen = ChatTemplate(Tokenizer.load(folders[name])), random.Random(8), 0
    decode = template.tokenizer.decode
    for _ in range(CONVERSATIONS):
        messages, tools = conversation(draw)
        if name in LATE_SYSTEM and messages[0].role == "system":
            continue
        try:
            prompt = template.render(messages[:-1], add_generation_prompt=True, tools=tools).ids
            whole = template.render(messages, tools=tools)
        except DataError:
            continue
        seen += 1
        assert whole.ids[: len(prompt)] == prompt
        assert whole.starts[-1] == len(prompt)
        last = [i for i in range(len(prompt), len(whole.ids)) if whole.mask[i]]
        assert whole.mask[len(prompt)], "training begins where the prompt ends"
        assert whole.ids[last[-1]] in template.stop_ids
        trained = decode(
            [id for id, flag in zip(whole.ids, whole.mask, strict=True) if flag], skip_special=False
        )
        untrained = decode(
            [id for id, flag in zip(whole.ids, whole.mask, strict=True) if not flag], skip_special=False
        )
        assert messages[-1].content.strip() in trained
        for message in messages:
            if message.role == "user" or (message.role == "tool" and template._program.shows_calls):
                assert message.content.strip() in untrained
    assert seen >= CONVERSATIONS // 4


@pytest.mark.parametrize("name", ALL)
def test_no_text_becomes_a_special_token(name: str, folders: dict[str, Path]) -> None:
    """A conversation whose texts name special tokens has as many of them as one whose texts do not."""
    template, draw = ChatTemplate(Tokenizer.load(folders[name])), random.Random(9)
    guarded = set(template.tokenizer.guarded.values())
    for _ in range(CONVERSATIONS):
        messages, tools = conversation(draw)
        plain = without_specials(messages, template.tokenizer.guarded)
        try:
            dirty, tidy = (template.render(rows, tools=tools).ids for rows in (messages, plain))
        except DataError:
            continue
        assert sum(id in guarded for id in dirty) == sum(id in guarded for id in tidy)
