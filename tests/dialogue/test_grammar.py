"""Answers of a given form: valid whatever the model would say, or cut off by a limit."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.needs import needs

from ziggurat.dialogue.chat import Chat
from ziggurat.dialogue.forms import Form
from ziggurat.dialogue.grammar import MAX_FORM_CHARS
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


def answer(chat: Chat, form: Form, seed: int = 0, max_tokens: int = 60) -> tuple[str, str]:
    desk = chat.desk()
    desk.begin(chat.prepare_raw("a", SamplingParams(seed=seed, max_tokens=max_tokens), form=form))
    text, finish = "", None
    while finish is None:
        for _, delta in desk.step():
            text, finish = text + delta.text, delta.finish
    return text, finish


@pytest.mark.slow
def test_random_schemas_have_valid_answers() -> None:
    needs("jsonschema_rs")
    import forms

    rng = random.Random(1)
    found = forms.judge(forms.random_chat(), [forms.random_schema(rng) for _ in range(80)])
    assert found["invalid"] == found["refused"] == 0, found["examples"]
    assert found["valid"] > 64


@pytest.mark.parametrize("seed", range(3))
def test_expressions_choices_and_grammars(chat: Chat, seed: int) -> None:
    text, finish = answer(chat, Form("regex", "[0-9]{3}-(甲|乙)"), seed)
    assert finish == "stop"
    assert re.fullmatch("[0-9]{3}-(甲|乙)", text)
    assert answer(chat, Form.choice(["yes", "也许", "no\nway"]), seed)[0] in ("yes", "也许", "no\nway")
    text, finish = answer(chat, Form("grammar", 'start: "a" start "b" | "ab"'), seed, 40)
    half = len(text) // 2
    assert finish == "length" or text == "a" * half + "b" * half


def test_an_answer_that_is_cut_off_says_so(chat: Chat) -> None:
    assert answer(chat, Form("regex", "[a-z]{200}"), max_tokens=5)[1] == "length"


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (Form.schema({"type": "strin"}), "Invalid schema for response_format: .*strin"),
        (Form.schema({"unevaluatedProperties": False}), "unevaluatedProperties"),
        (Form("regex", "(["), "the regex cannot be followed"),
        (Form("grammar", "start: nothing"), "nothing"),
        (Form("regex", "a" * (MAX_FORM_CHARS + 1)), "at most 100,000"),
    ],
)
def test_forms_that_cannot_be_are_refused_by_what_is_wrong(chat: Chat, form: Form, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        chat.prepare_raw("a", SamplingParams(), form=form)


def test_two_requests_of_one_form_do_not_share_where_they_are(chat: Chat) -> None:
    form = Form("regex", "(ab){8}")
    desk = chat.desk()
    handles = [
        desk.begin(chat.prepare_raw("a", SamplingParams(seed=s, max_tokens=40, n=2), form=form))
        for s in (1, 2)
    ]
    texts: dict[Any, str] = {}
    open_ = 4
    while open_:
        for handle, delta in desk.step():
            texts[handle, delta.choice] = texts.get((handle, delta.choice), "") + delta.text
            open_ -= delta.finish is not None
    assert {handle for handle, _ in texts} == set(handles)
    assert set(texts.values()) == {"ab" * 8}


def test_json_is_written_with_one_space_and_no_other(chat: Chat) -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"const": 1},
            "b": {"type": "array", "items": {"const": 2}, "minItems": 2, "maxItems": 2},
        },
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    assert answer(chat, Form.schema(schema))[0] == json.dumps({"a": 1, "b": [2, 2]})


def test_calls_are_held_from_where_they_begin_and_words_before_them_are_free(chat: Chat) -> None:
    number = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tools = [{"name": "add", "parameters": number, "strict": True}, {"name": "any", "parameters": number}]
    mask, encode, tool = chat._forms.mask(Form.calls(tools)), chat.tokenizer.encode, chat.marks.open_id
    assert tool is not None

    def follow(text: str) -> None:
        for token in encode(text):
            allowed = mask.allowed()
            assert allowed is None or allowed[token], (text, token)
            assert mask.accept(token)

    def may_come() -> set[int]:
        allowed = mask.allowed()
        assert allowed is not None
        return set(allowed.nonzero().flatten().tolist())

    follow('Good morning {"name": 7')
    assert mask.allowed() is None
    assert mask.accept(tool)
    follow('{"name": "a')
    assert {encode("d")[0], encode("n")[0]} <= may_come()
    follow('dd", "arguments": {"n": ')
    assert encode('"')[0] not in may_come(), "n is an integer"
    follow("7}}")
    assert may_come() == {tool, *chat._ends}, "another call, or the end"
    assert mask.accept(tool)
    follow('{"name": "any", "arguments": {"n": "any object"}}')
    assert may_come() == {tool, *chat._ends}
