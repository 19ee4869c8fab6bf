"""Models from elsewhere: calls are forced for any of them, Hermes' calls are read, no message is silently dropped."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from tests.dialogue.families import CHATML, FIRST_SYSTEM, HERMES, family

from ziggurat.dialogue.chat import Chat
from ziggurat.dialogue.forms import Form, Rendering
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.records import Message

TOOL: dict[str, Any] = {
    "name": "f",
    "parameters": {
        "type": "object",
        "properties": {"a": {"enum": ["x", "y"]}},
        "required": ["a"],
        "additionalProperties": False,
    },
}
TOOLS = [{"type": "function", "function": TOOL}]
USER = [Message(role="user", content="Good morning!")]


def write(chat: Chat, form: Form | None, tools: Any = None, **params: Any) -> tuple[str, dict[int, str], str]:
    """(content, calls, why it ended)."""
    desk, content, calls, finish = chat.desk(), "", dict[int, str](), None
    settings = SamplingParams(**{"seed": 1, "max_tokens": 120, **params})
    desk.begin(chat.prepare(USER, settings, tools=tools, form=form))
    while finish is None:
        for _, delta in desk.step():
            if delta.call is None:
                content += delta.text
            else:
                calls[delta.call] = calls.get(delta.call, "") + delta.text
            finish = delta.finish
    return content, calls, finish


@pytest.mark.parametrize("template", [None, CHATML, HERMES, FIRST_SYSTEM])
@pytest.mark.parametrize("marks", ["text", "added", "special"])
def test_a_call_can_be_forced_for_any_model(template: str | None, marks: str) -> None:
    chat = family(template, marks=marks)
    content, calls, finish = write(chat, Form.call([TOOL]), TOOLS)
    assert (content, finish) == ("", "stop")
    (call,) = calls.values()
    assert json.loads(call)["name"] == "f"
    assert json.loads(call)["arguments"]["a"] in ("x", "y")


@pytest.mark.parametrize("marks", ["text", "added", "special"])
def test_hermes_calls_that_the_model_writes_itself_are_read(marks: str) -> None:
    chat = family(HERMES, marks=marks)
    opened, closed = (
        ("<tool_call>", "</tool_call>") if marks == "special" else ('"<tool_call>"', '"</tool_call>"')
    )
    call = json.dumps('\n{"name": "f", "arguments": {"a": "x"}}\n')
    grammar = Form("grammar", f'start: "Hi. " {opened} {call} {closed} "\\n" {opened} {call} {closed}')
    content, calls, finish = write(chat, grammar, TOOLS)
    assert (content, finish) == ("Hi. ", "stop")
    assert [json.loads(text)["arguments"] for text in calls.values()] == [{"a": "x"}] * 2
    content, calls, _ = write(chat, grammar)
    assert not calls, "without tools nothing is a call"
    assert "Hi. " in content


@pytest.mark.parametrize("marks", ["text", "added", "special"])
@pytest.mark.parametrize("parallel", [True, False])
def test_strict_hermes_calls_are_held_from_where_they_begin(marks: str, parallel: bool) -> None:
    chat = family(HERMES, marks=marks)
    form = Form.calls([{**TOOL, "strict": True}], parallel=parallel)
    mask = chat._forms.mask(form)
    opened = chat.tokenizer.id_of("<tool_call>") if marks == "special" else None

    def follow(text: str) -> bool:
        ids = [opened] if text == "<tool_call>" and opened is not None else chat.tokenizer.encode(text)
        for id in ids:
            allowed = mask.allowed()
            if allowed is not None and not allowed[id]:
                return False
            assert mask.accept(id)
        return True

    def may_end() -> bool:
        allowed = mask.allowed()
        return allowed is None or bool(allowed[list(chat._ends)].any())

    assert follow("Good {} morning ")
    assert may_end()
    assert follow("<tool_call>")
    assert not may_end()
    assert follow('\n{"name": "f", "arguments": {"a": "x"}}\n')
    closing = mask.allowed()
    assert closing is not None
    if marks == "special":
        closed = chat.tokenizer.id_of("</tool_call>")
        assert closing[closed]
        assert mask.accept(closed)
    else:
        assert follow("</tool_call>")
    assert may_end()
    assert follow("\n<tool_call>" if marks != "special" else "\n") is parallel


def test_the_style_of_calls_is_that_of_the_template() -> None:
    assert family(HERMES).marks.close == "</tool_call>"
    assert family(HERMES, marks="special").marks.open_id is not None
    assert family(HERMES, marks="added").marks.open_id is None
    assert family(None).marks.close == "</tool_call>"


def test_tools_that_the_template_does_not_show_are_refused() -> None:
    assert family(HERMES).uses_tools
    for template in (None, CHATML, FIRST_SYSTEM):
        chat = family(template)
        assert not chat.uses_tools
        with pytest.raises(UsageError, match="does not show tools"):
            chat.prepare(USER, SamplingParams(), tools=TOOLS)


CALLED = [
    *USER,
    Message(
        role="assistant",
        content="",
        tool_calls=[{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "x"}'}}],
    ),
    Message(role="tool", content="seven", tool_call_id="c1"),
]


def test_tool_calls_in_the_history_that_a_template_drops_are_refused() -> None:
    for template in (None, CHATML):
        with pytest.raises(UsageError, match=r"messages\.1 has tool_calls"):
            family(template).prompt_ids(CALLED)
    with pytest.raises(UsageError, match=r"messages\.1 has the role tool"):
        family(FIRST_SYSTEM).prompt_ids([*USER, Message(role="tool", content="x", tool_call_id="c")])
    with pytest.raises(UsageError, match=r"messages\.1 has the role system"):
        family(FIRST_SYSTEM).prompt_ids([*USER, Message(role="system", content="Be brief.")])
    family(FIRST_SYSTEM).prompt_ids([Message(role="system", content="Be brief."), *USER])


def test_arguments_in_the_history_are_objects_for_templates_from_elsewhere() -> None:
    """A string would be encoded twice by `tojson`."""
    chat = family(HERMES)
    text = chat.text_of(chat.prompt_ids(CALLED))
    assert '<tool_call>\n{"name": "f", "arguments": {"a": "x"}}\n</tool_call>' in text
    assert "<tool_response>\nseven\n</tool_response>" in text


def test_a_final_message_is_continued_by_every_template() -> None:
    """Its ids are those that a longer answer was trained with, up to the last character, a space as well."""
    for template, said in product((CHATML, HERMES, FIRST_SYSTEM), ("Good mor", "1, 2, ")):
        chat, begun = family(template), [*USER, Message(role="assistant", content=said)]
        ids = chat.prepare(begun, SamplingParams(), rendering=Rendering(continue_final=True)).ids
        assert chat.template.render(begun).ids[: len(ids)] == list(ids)
        assert chat.text_of(ids).endswith(said)
        with pytest.raises(UsageError, match="continue_final_message"):
            chat.prepare(USER, SamplingParams(), rendering=Rendering(continue_final=True))
