"""Calls cut out of what a model writes, however it arrives, and read as they are written."""

from __future__ import annotations

import json

import pytest

from ziggurat.dialogue.calls import MAX_NESTING, CallMarks, CallSplitter, nesting, read_call

HERMES = CallMarks("<tool_call>", "</tool_call>")
OURS = CallMarks("<|tool|>", "", 7)


def split(marks: CallMarks | None, *pieces: str | int) -> tuple[str, list[str]]:
    """(content, calls); a number is a special token."""
    splitter, content, calls = CallSplitter(marks), "", dict[int, str]()
    whole, found = "".join(piece for piece in pieces if isinstance(piece, str)), []
    for piece in pieces:
        found += splitter.push(piece, "") if isinstance(piece, int) else splitter.push(-1, piece)
    for part in found + splitter.flush():
        assert whole[part.at : part.at + len(part.text)] == part.text
        if part.call is None:
            content += part.text
        else:
            calls[part.call] = calls.get(part.call, "") + part.text
    return content, [calls[number] for number in sorted(calls)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_marks_are_found_wherever_tokens_begin_and_end(size: int) -> None:
    text = 'Hi <b> <tool_ca\n<tool_call>\n{"a": "</tool"}\n</tool_call>\n<tool_call>{}</tool_call> \n'
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert split(HERMES, *pieces) == ("Hi <b> <tool_ca\n", ['\n{"a": "</tool"}\n', "{}"])


def test_text_after_a_call_is_content_and_an_open_call_ends_with_the_answer() -> None:
    assert split(HERMES, "a<tool_call>x</tool_call> b <tool_call>y") == ("a b ", ["x", "y"])
    assert split(HERMES, "a <tool_c") == ("a <tool_c", [])
    assert split(OURS, "a", 7, "x", 7, "<tool_call>") == ("a", ["x", "<tool_call>"])
    assert split(None, "<tool_call>", 7, "x") == ("<tool_call>x", [])


def test_marks_that_are_special_tokens_are_found_by_their_ids() -> None:
    marks = CallMarks("<tool_call>", "</tool_call>", 7, 8)
    assert split(marks, "a ", 7, "x", 8, "\n", 7, "y", 8) == ("a ", ["x", "y"])


def test_a_call_is_read_as_it_is_written() -> None:
    assert read_call('{"name": "f", "arguments": {"b":1.50,  "a":1e999}}') == ("f", '{"b":1.50,  "a":1e999}')
    assert read_call(' {"arguments":{}, "name":"f"}\n') == ("f", "{}")
    assert read_call('{"name": "f"}') == ("f", "{}")
    assert read_call('{"name": "f", "arguments": "{\\"a\\": 1}"}') == ("f", '{"a": 1}')
    assert read_call('{"name": "f", "arguments": {"a": ' + "1" * 5_000 + "}}") == (
        "f",
        '{"a": ' + "1" * 5_000 + "}",
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "7",
        "[]",
        "{",
        "{}",
        '{"name": ""}',
        '{"name": 7}',
        '{"name": "f", "arguments": [1]}',
        '{"name": "f", "arguments": "no"}',
        '{"name": "f", "arguments": {"a": NaN}}',
        '{"name": "f", "parameters": {}}',
        '{"name": "f", "arguments": {}} {}',
        '{"name": "f" "arguments": {}}',
        '{"name": "f", 1: {}}',
    ],
)
def test_what_is_no_call_is_not_read_as_one(text: str) -> None:
    assert read_call(text) is None


def test_depth_is_bounded_before_anything_is_parsed() -> None:
    def deep(levels: int) -> str:
        return '{"name": "f", "arguments": {"a": ' + "[" * levels + "]" * levels + "}}"

    assert read_call(deep(MAX_NESTING - 2)) is not None
    for levels in (MAX_NESTING - 1, 1_200, 100_000):
        assert read_call(deep(levels)) is None
        assert read_call(deep(levels)[: levels + 40], cut=True) is None
    assert nesting('{"a": "' + "[" * 500 + '"}' + "[]" * 200) == 1
    once_more = '{"name": "f", "arguments": ' + json.dumps('{"a": ' + "[" * 5_000 + "]" * 5_000 + "}") + "}"
    assert read_call(once_more) is None


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"name": "f", "arguments": {"a": "b', ("f", '{"a": "b')),
        ('{"name": "f", "arg', ("f", "")),
        ('{"name": "f"', ("f", "")),
        ('{"name": "f', None),
        ('{"name": "f", "parameters": {"a', None),
    ],
)
def test_a_call_that_was_cut_off_is_read_as_far_as_it_goes(text: str, read: tuple[str, str] | None) -> None:
    assert read_call(text, cut=True) == read
    assert read_call(text) is None


@pytest.mark.parametrize(
    ("written", "value"),
    [("\\ud83d", "\ufffd"), ("\\uDE00x", "\ufffdx"), ("\\ud83d\\ude00", "😀"), ("\\\\ud83d", "\\ud83d")],
)
def test_half_a_surrogate_pair_is_replaced_and_nothing_else(written: str, value: str) -> None:
    read = read_call('{"name": "f", "arguments": {"a": "' + written + '"}}')
    assert read is not None
    assert json.loads(read[1]) == {"a": value}
    json.dumps(json.loads(read[1]), ensure_ascii=False).encode()
