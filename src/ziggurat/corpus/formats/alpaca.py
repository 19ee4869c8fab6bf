"""Alpaca: `{"instruction": "Translate.", "input": "chat", "output": "cat", "system"?, "history"?: [[q, a], ...]}`

Source: tatsu-lab/stanford_alpaca; `system` and `history` as LLaMA-Factory has them. Also its preference form, with
`chosen` and `rejected` in place of `output`, and the seed tasks of self-instruct, whose `instances` are inputs and
outputs of one instruction.
"""

from __future__ import annotations

from collections.abc import Iterator

from ziggurat.corpus.formats.common import Context, Format, Unusable, comparison, demonstration, text_of
from ziggurat.corpus.rows import Row
from ziggurat.records import Comparison, Demonstration, Message


def _prompt(row: Row, given: str) -> list[Message]:
    instruction = text_of(row.get("instruction"))
    messages = [Message(role="system", content=row["system"])] if row.get("system") else []
    for question, answer in row.get("history") or []:
        messages += [Message(role="user", content=question), Message(role="assistant", content=answer)]
    text = f"{instruction}\n{given}" if instruction and given else instruction or given
    return [*messages, Message(role="user", content=text)]


def _demonstrations(row: Row, context: Context) -> Iterator[Demonstration]:
    answer = Message(role="assistant", content=text_of(row["output"]))
    yield demonstration([*_prompt(row, text_of(row.get("input"))), answer], context)


def _comparisons(row: Row, context: Context) -> Iterator[Comparison]:
    prompt = _prompt(row, text_of(row.get("input")))
    yield comparison(prompt, [text_of(row["chosen"]), text_of(row["rejected"])], [1, 2], context)


def _instances(row: Row, context: Context) -> Iterator[Demonstration]:
    for instance in row["instances"]:
        answer = Message(role="assistant", content=text_of(instance["output"]))
        try:
            yield demonstration([*_prompt(row, text_of(instance.get("input"))), answer], context)
        except Unusable as reason:
            context.dropped[str(reason)] += 1


ALPACA = Format("alpaca", lambda row: {"instruction", "output"} <= set(row), demonstrations=_demonstrations)
ALPACA_PREFERENCE = Format(
    "alpaca preference",
    lambda row: {"instruction", "chosen", "rejected"} <= set(row),
    comparisons=_comparisons,
)
SELF_INSTRUCT = Format(
    "self-instruct tasks",
    lambda row: "instruction" in row and isinstance(row.get("instances"), list),
    demonstrations=_instances,
)
