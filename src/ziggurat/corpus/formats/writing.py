"""Records out, in the shapes that other trainers read: the reverse of the readers beside this file.

A `Shape` takes one kind of record and gives rows; `load` reads those rows back. A record that a shape cannot hold
without changing what it says is refused with a reason (`Unusable`), never bent: a tool call in Alpaca, an answer that
must not be trained where every answer is trained, turns out of order in ShareGPT.

Sources: hiyouga/LLaMA-Factory data/README.md (alpaca*, sharegpt*, dataset_info.json); TRL's dataset formats (trl_*);
OpenAI's fine-tuning guide (openai). `ranked` is our own comparison, the only shape that keeps a prompt's answers in one
row: InstructGPT trains all pairs of a prompt as one batch element, since loose pairs overfit (arXiv:2203.02155, 3.5).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from ziggurat.corpus.formats.cells import Unusable
from ziggurat.records import Comparison, Demonstration, Message, Prompt, Rating, Record, completion_messages

Row = dict[str, Any]
PAIRS = (
    "Each row is one pair of a ranking; ties give none, and pairs of one prompt stand in neighbouring rows."
)


@dataclass(frozen=True)
class Shape:
    name: str
    kind: type[Record]
    rows: Callable[[Any], Iterator[Row]]
    info: Mapping[str, Any] | None = None
    """How LLaMA-Factory's dataset_info.json describes the file, without its name."""
    notes: tuple[str, ...] = field(default=())
    """What a user of the file has to know."""


# --- parts ------------------------------------------------------------------------------------------------------------


def _text(message: Message) -> str:
    """The content, after the reasoning in think tags where there is some."""
    return (
        f"<think>\n{message.reasoning}\n</think>\n\n{message.content}"
        if message.reasoning
        else message.content
    )


def _plain(messages: Sequence[Message], shape: str) -> None:
    """Refuse what a shape of plain texts cannot hold."""
    if any(message.tool_calls or message.role == "tool" for message in messages):
        raise Unusable(f"a tool call, which {shape} cannot hold")


def _split_system(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    rest = list(messages)
    system = rest.pop(0).content if rest and rest[0].role == "system" else ""
    if any(message.role == "system" for message in rest):
        raise Unusable("a system message that is not the first")
    return system, rest


def _all_trained(messages: Sequence[Message], shape: str) -> None:
    if any(message.weight == 0 for message in messages):
        raise Unusable(f"an answer that must not be trained, which {shape} cannot say")


def _answer(completion: str | list[Message], shape: str) -> str:
    said = completion_messages(completion)
    _plain(said, shape)
    if len(said) != 1:
        raise Unusable(f"an answer of several turns, which {shape} cannot hold")
    return _text(said[0])


def _untied(comparison: Comparison) -> Iterator[tuple[str | list[Message], str | list[Message]]]:
    """(better, worse) of every pair that is not a tie, in the order of the completions."""
    ranked = list(zip(comparison.completions, comparison.ranks, strict=True))
    for (better, high), (worse, low) in permutations(ranked, 2):
        if high < low:
            yield better, worse


# --- Alpaca -----------------------------------------------------------------------------------------------------------


def _asked(messages: Sequence[Message], *, history: bool) -> Row:
    _plain(messages, "Alpaca")
    system, turns = _split_system(messages)
    _all_trained(turns, "Alpaca")
    roles = [turn.role for turn in turns]
    if roles != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        raise Unusable("turns that do not alternate, which Alpaca cannot hold")
    if len(turns) > 1 and not history:
        raise Unusable("earlier turns, which Alpaca's preferences cannot hold")
    row: Row = {"instruction": turns[-1].content, "input": ""}
    if history:
        past = zip(turns[:-1:2], turns[1::2], strict=True)
        row |= {"system": system, "history": [[q.content, _text(a)] for q, a in past]}
    elif system:
        raise Unusable("a system message, which Alpaca's preferences cannot hold")
    return row


def _alpaca(record: Demonstration) -> Iterator[Row]:
    if record.tools:
        raise Unusable("a tool call, which Alpaca cannot hold")
    *asked, answer = record.messages
    _all_trained([answer], "Alpaca")
    row = _asked(asked, history=True)
    yield {
        **{name: row[name] for name in ("instruction", "input")},
        "output": _answer([answer], "Alpaca"),
        **{name: row[name] for name in ("system", "history")},
    }


def _alpaca_preference(record: Comparison) -> Iterator[Row]:
    row = _asked(record.prompt, history=False)
    for better, worse in _untied(record):
        yield row | {"chosen": _answer(better, "Alpaca"), "rejected": _answer(worse, "Alpaca")}


def _alpaca_kto(record: Rating) -> Iterator[Row]:
    row = _asked(record.prompt, history=False)
    yield row | {"output": _answer(record.completion, "Alpaca"), "kto_tag": record.label}


# --- ShareGPT ---------------------------------------------------------------------------------------------------------

ASKS, ANSWERS = ("human", "observation"), ("gpt", "function_call")


def _turns(messages: Sequence[Message]) -> list[Row]:
    """human or observation at odd places, gpt or function_call at even ones."""
    _all_trained(messages, "ShareGPT")
    turns: list[Row] = []
    for message in messages:
        if message.tool_calls:
            if message.content.strip():
                raise Unusable("a text together with a tool call, which ShareGPT cannot hold")
            called = [call["function"] for call in message.tool_calls]
            value = [{"name": one["name"], "arguments": one.get("arguments", {})} for one in called]
            written = json.dumps(value if len(value) > 1 else value[0], ensure_ascii=False)
            turns.append({"from": "function_call", "value": written})
        else:
            speaker = {"user": "human", "assistant": "gpt", "tool": "observation"}[message.role]
            turns.append({"from": speaker, "value": _text(message)})
    for place, turn in enumerate(turns):
        if turn["from"] not in (ANSWERS if place % 2 else ASKS):
            raise Unusable(
                "turns that break ShareGPT's order (human and observation first, gpt and function second)"
            )
    return turns


def _conversation(messages: Sequence[Message], tools: Any) -> Row:
    system, turns = _split_system(messages)
    row: Row = {"conversations": _turns(turns), "system": system}
    return row | ({"tools": json.dumps(tools, ensure_ascii=False)} if tools else {"tools": ""})


def _sharegpt(record: Demonstration) -> Iterator[Row]:
    yield _conversation(record.messages, record.tools)


def _sharegpt_preference(record: Comparison) -> Iterator[Row]:
    row = _conversation(record.prompt, record.tools)
    for better, worse in _untied(record):
        chosen, rejected = _answer(better, "ShareGPT"), _answer(worse, "ShareGPT")
        yield row | {
            "chosen": {"from": "gpt", "value": chosen},
            "rejected": {"from": "gpt", "value": rejected},
        }


# --- messages ---------------------------------------------------------------------------------------------------------


def _messages(said: Sequence[Message]) -> list[Row]:
    return [message.to_json() for message in said]


def _with_tools(row: Row, tools: Any) -> Row:
    return row | ({"tools": tools} if tools else {})


def _openai(record: Demonstration) -> Iterator[Row]:
    yield _with_tools({"messages": _messages(record.messages)}, record.tools)


def _trl_preference(record: Comparison) -> Iterator[Row]:
    for better, worse in _untied(record):
        pair = (
            ("chosen", _messages(completion_messages(better))),
            ("rejected", _messages(completion_messages(worse))),
        )
        yield _with_tools({"prompt": _messages(record.prompt), **dict(pair)}, record.tools)


def _trl_kto(record: Rating) -> Iterator[Row]:
    completion = _messages(completion_messages(record.completion))
    row = {"prompt": _messages(record.prompt), "completion": completion, "label": record.label}
    yield _with_tools(row, record.tools)


def _trl_prompt(record: Prompt) -> Iterator[Row]:
    yield _with_tools({"prompt": _messages(record.prompt)}, record.tools)


def _whole(record: Record) -> Iterator[Row]:
    yield record.to_json()


_ASK = {"prompt": "instruction", "query": "input"}
_TALK = {"messages": "conversations", "system": "system", "tools": "tools"}
_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}
_PAIR = {"chosen": "chosen", "rejected": "rejected"}
HISTORY = "LLaMA-Factory trains on the answers in `history` too."

SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape(
            "alpaca",
            Demonstration,
            _alpaca,
            {"columns": {**_ASK, "response": "output", "system": "system", "history": "history"}},
            (HISTORY,),
        ),
        Shape("sharegpt", Demonstration, _sharegpt, {"formatting": "sharegpt", "columns": _TALK}),
        Shape(
            "openai",
            Demonstration,
            _openai,
            {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": _TAGS},
        ),
        Shape(
            "alpaca_preference",
            Comparison,
            _alpaca_preference,
            {"ranking": True, "columns": {**_ASK, **_PAIR}},
            (PAIRS,),
        ),
        Shape(
            "sharegpt_preference",
            Comparison,
            _sharegpt_preference,
            {"formatting": "sharegpt", "ranking": True, "columns": {**_TALK, **_PAIR}},
            (PAIRS,),
        ),
        Shape("trl_preference", Comparison, _trl_preference, notes=(PAIRS,)),
        Shape("ranked", Comparison, _whole),
        Shape(
            "alpaca_kto",
            Rating,
            _alpaca_kto,
            {"columns": {**_ASK, "response": "output", "kto_tag": "kto_tag"}},
        ),
        Shape("trl_kto", Rating, _trl_kto),
        Shape("trl_prompt", Prompt, _trl_prompt),
    )
}


def dataset_info(name: str, shape: Shape, file_name: str) -> Row | None:
    """The entry of LLaMA-Factory's dataset_info.json; None where it does not read the shape."""
    return None if shape.info is None else {name: {"file_name": file_name, **shape.info}}
