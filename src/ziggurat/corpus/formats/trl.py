"""The formats of TRL (huggingface.co/docs/trl/dataset_formats), with text or with messages:

preference           `{"prompt": "Sky?", "chosen": "Blue.", "rejected": "Green."}`; the prompt may be left out when
                     `chosen` and `rejected` are messages that share it
unpaired preference  `{"prompt": "Sky?", "completion": "Blue.", "label": true}` (KTO)
prompt-completion    `{"prompt": "Sky?", "completion": "Blue."}`
prompt only          `{"prompt": "Sky?"}`

`query` may stand for `prompt`, and `response` or `answer` for `completion`. The columns `system`, `tools` and, where
the prompt is text, `context` are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ziggurat.corpus.formats.cells import (
    Unusable,
    label_name,
    thought_and_said,
    tools_of,
    with_context,
    with_system,
)
from ziggurat.corpus.formats.common import (
    Completion,
    Context,
    Format,
    as_completion,
    await_answer,
    comparison,
    demonstration,
    join_turns,
    rating,
)
from ziggurat.corpus.formats.hh import transcript
from ziggurat.corpus.formats.openai import is_messages, messages
from ziggurat.corpus.rows import Row
from ziggurat.corpus.track import Tracked, plain
from ziggurat.records import Comparison, Demonstration, Message, Prompt, Rating, completion_messages

PROMPT, COMPLETION = ("prompt", "query"), ("completion", "response", "answer")


def _prompt(row: Row) -> list[Message]:
    value = row[_name(row, PROMPT) or "prompt"]
    if isinstance(value, str) and value.startswith("\n\nHuman:"):
        turns = transcript(value)
        return turns[:-1] if turns and turns[-1].role == "assistant" and not turns[-1].content else turns
    if isinstance(value, str):
        return [Message(role="user", content=with_context(row, value))]
    return messages(value)


def _completion(value: Any) -> Completion:
    if not isinstance(value, str):
        return as_completion(join_turns(messages(value)))
    reasoning, text = thought_and_said(value)
    return [Message(role="assistant", content=text, reasoning=reasoning)] if reasoning else value


def _comparisons(row: Row, context: Context) -> Iterator[Comparison]:
    chosen, rejected = row["chosen"], row["rejected"]
    if row.get("prompt") is None or (
        is_messages(chosen) and len(chosen) > 1 and chosen[0]["role"] != "assistant"
    ):
        chosen, rejected = messages(chosen), messages(rejected)
        shared = 0
        while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
            shared += 1
        if shared == len(chosen) == len(rejected):
            raise Unusable("all completions are the same")
        answers = [as_completion(chosen[shared:]), as_completion(rejected[shared:])]
        yield comparison(chosen[:shared], answers, [1, 2], context, row)
        return
    yield comparison(_prompt(row), [_completion(chosen), _completion(rejected)], [1, 2], context, row)


def _ratings(row: Row, _: Context) -> Iterator[Rating]:
    yield rating(_prompt(row), _completion(row[_name(row, COMPLETION) or "completion"]), row)


def _demonstrations(row: Row, context: Context) -> Iterator[Demonstration]:
    answer = completion_messages(_completion(row[_name(row, COMPLETION) or "completion"]))
    yield demonstration([*_prompt(row), *answer], context, row)


def _prompts(row: Row, _: Context) -> Iterator[Prompt]:
    """The fields that are not read otherwise go into `meta`, where a reward function finds them."""
    prompt, tools = await_answer(with_system(row, _prompt(row))), tools_of(row)
    read = row.used if isinstance(row, Tracked) else set(row)
    rest = {key: plain(row[key]) for key in list(row) if key not in read}
    yield Prompt(prompt=prompt, tools=tools, meta=rest or None)


def _is_said(value: Any) -> bool:
    return isinstance(value, str) or is_messages(value)


def _name(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of several fields that holds text or messages."""
    return next((name for name in names if _is_said(row.get(name))), None)


def _is_preference(row: Row) -> bool:
    if not (_is_said(row.get("chosen")) and _is_said(row.get("rejected"))):
        return False
    return _name(row, PROMPT) is not None or is_messages(row["chosen"])


def _is_completion(row: Row) -> bool:
    return _name(row, PROMPT) is not None and _name(row, COMPLETION) is not None


TRL_PREFERENCE = Format("trl preference", _is_preference, comparisons=_comparisons)
TRL_RATING = Format(
    "trl unpaired preference (KTO)",
    lambda row: _is_completion(row) and label_name(row) is not None,
    ratings=_ratings,
)
TRL_COMPLETION = Format(
    "trl prompt-completion",
    _is_completion,
    demonstrations=_demonstrations,
)
TRL_PROMPT = Format("trl prompt only", lambda row: _name(row, PROMPT) is not None, prompts=_prompts)
