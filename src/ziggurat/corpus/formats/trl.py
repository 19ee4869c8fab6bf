"""The formats of TRL (huggingface.co/docs/trl/dataset_formats), with text or with messages:

preference           `{"prompt": "Sky?", "chosen": "Blue.", "rejected": "Green."}`; the prompt may be left out when
                     `chosen` and `rejected` are messages that share it
unpaired preference  `{"prompt": "Sky?", "completion": "Blue.", "label": true}` (KTO)
prompt-completion    `{"prompt": "Sky?", "completion": "Blue."}`
prompt only          `{"prompt": "Sky?"}`
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ziggurat.corpus.formats.common import (
    Completion,
    Context,
    Format,
    Unusable,
    as_completion,
    as_messages,
    await_answer,
    comparison,
    demonstration,
    join_turns,
)
from ziggurat.corpus.formats.hh import transcript
from ziggurat.corpus.formats.openai import is_messages, messages
from ziggurat.corpus.rows import Row
from ziggurat.records import Comparison, Demonstration, Message, Prompt, Rating


def _prompt(value: Any) -> list[Message]:
    if isinstance(value, str) and value.startswith("\n\nHuman:"):
        turns = transcript(value)
        return turns[:-1] if turns and turns[-1].role == "assistant" and not turns[-1].content else turns
    return [Message(role="user", content=value)] if isinstance(value, str) else messages(value)


def _completion(value: Any) -> Completion:
    return value if isinstance(value, str) else as_completion(join_turns(messages(value)))


def _comparisons(row: Row, context: Context) -> Iterator[Comparison]:
    chosen, rejected = row["chosen"], row["rejected"]
    if "prompt" not in row or (is_messages(chosen) and len(chosen) > 1 and chosen[0]["role"] != "assistant"):
        chosen, rejected = messages(chosen), messages(rejected)
        shared = 0
        while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
            shared += 1
        if shared == len(chosen) == len(rejected):
            raise Unusable("all completions are the same")
        answers = [as_completion(chosen[shared:]), as_completion(rejected[shared:])]
        yield comparison(chosen[:shared], answers, [1, 2], context)
        return
    yield comparison(_prompt(row["prompt"]), [_completion(chosen), _completion(rejected)], [1, 2], context)


def _ratings(row: Row, _: Context) -> Iterator[Rating]:
    prompt = await_answer(_prompt(row["prompt"]))
    yield Rating(prompt=prompt, completion=_completion(row["completion"]), label=bool(row["label"]))


def _demonstrations(row: Row, context: Context) -> Iterator[Demonstration]:
    answer = as_messages(_completion(row["completion"]))
    yield demonstration([*_prompt(row["prompt"]), *answer], context, row.get("tools"))


def _prompts(row: Row, _: Context) -> Iterator[Prompt]:
    yield Prompt(prompt=await_answer(_prompt(row["prompt"])))


def _is_said(value: Any) -> bool:
    return isinstance(value, str) or is_messages(value)


def _is_preference(row: Row) -> bool:
    if not (_is_said(row.get("chosen")) and _is_said(row.get("rejected"))):
        return False
    return _is_said(row["prompt"]) if "prompt" in row else is_messages(row["chosen"])


TRL_PREFERENCE = Format("trl preference", _is_preference, comparisons=_comparisons)
TRL_RATING = Format(
    "trl unpaired preference (KTO)",
    lambda row: _is_said(row.get("prompt")) and _is_said(row.get("completion")) and "label" in row,
    ratings=_ratings,
)
TRL_COMPLETION = Format(
    "trl prompt-completion",
    lambda row: _is_said(row.get("prompt")) and _is_said(row.get("completion")),
    demonstrations=_demonstrations,
)
TRL_PROMPT = Format("trl prompt only", lambda row: _is_said(row.get("prompt")), prompts=_prompts)
