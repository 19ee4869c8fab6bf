"""Alpaca: `{"instruction": "Translate.", "input": "chat", "output": "cat", "system"?, "history"?: [[q, a], ...]}`

Source: tatsu-lab/stanford_alpaca; `system` and `history` as LLaMA-Factory has them. `response` may stand for `output`
and `context` for `input` (Dolly). Also the preference form, with `chosen` and `rejected` in place of `output`, the
rating form with `label` or `kto_tag`, and the seed tasks of self-instruct, whose `instances` are inputs and outputs of
one instruction.
"""

from __future__ import annotations

from collections.abc import Iterator

from ziggurat.corpus.formats.cells import Unusable, given, label_name, text_of, thought_and_said
from ziggurat.corpus.formats.common import Context, Format, comparison, demonstration, rating
from ziggurat.corpus.rows import Row
from ziggurat.records import Comparison, Demonstration, Message, Rating


def _prompt(row: Row, material: str) -> list[Message]:
    instruction = text_of(row.get("instruction"))
    messages: list[Message] = []
    for question, answer in row.get("history") or []:
        messages += [Message(role="user", content=question), Message(role="assistant", content=answer)]
    text = f"{instruction}\n{material}" if instruction and material else instruction or material
    return [*messages, Message(role="user", content=text)]


def _material(row: Row) -> str:
    parts = (text_of(row.get("context")), text_of(row.get("input")))
    return "\n".join(part for part in parts if part)


def _answer(row: Row) -> Message:
    reasoning, said = thought_and_said(text_of(row.get("output", row.get("response"))))
    return Message(role="assistant", content=said, reasoning=reasoning)


def _demonstrations(row: Row, context: Context) -> Iterator[Demonstration]:
    yield demonstration([*_prompt(row, _material(row)), _answer(row)], context, row)


def _comparisons(row: Row, context: Context) -> Iterator[Comparison]:
    prompt = _prompt(row, _material(row))
    yield comparison(prompt, [text_of(row["chosen"]), text_of(row["rejected"])], [1, 2], context, row)


def _ratings(row: Row, _: Context) -> Iterator[Rating]:
    yield rating(_prompt(row, _material(row)), [_answer(row)], row)


def _has_answer(row: Row) -> bool:
    return "instruction" in row and bool({"output", "response"} & set(row))


def _instances(row: Row, context: Context) -> Iterator[Demonstration]:
    for instance in row["instances"]:
        answer = Message(role="assistant", content=text_of(instance["output"]))
        try:
            yield demonstration([*_prompt(row, text_of(instance.get("input"))), answer], context, row)
        except Unusable as reason:
            context.dropped[str(reason)] += 1


ALPACA = Format("alpaca", _has_answer, demonstrations=_demonstrations)
ALPACA_RATING = Format(
    "alpaca rating", lambda row: _has_answer(row) and label_name(row) is not None, ratings=_ratings
)
ALPACA_PREFERENCE = Format(
    "alpaca preference",
    lambda row: "instruction" in row and given(row.get("chosen")) and given(row.get("rejected")),
    comparisons=_comparisons,
)
SELF_INSTRUCT = Format(
    "self-instruct tasks",
    lambda row: "instruction" in row and isinstance(row.get("instances"), list),
    demonstrations=_instances,
)
