"""What every format shares: the shape of a format, the notes it takes, and the mending of conversations.

A format is a name, a test that recognises its rows, and one function per kind of record it can give. A function gets
a row and a `Context`, and yields records; what it must leave out or mend it tells the context, with a reason that is
counted and shown. A reason is a short sentence, the same for all rows it befalls, so that counts mean something.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ziggurat.corpus.rows import Row
from ziggurat.records import (
    MAX_COMPLETIONS,
    MIN_COMPLETIONS,
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Rating,
    Role,
)

Completion = str | list[Message]

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}


class Unusable(Exception):
    """A row that cannot become a record; the message is the reason that is counted."""


@dataclass
class Context:
    """Where a row stands, and the notes taken about rows."""

    path: Path
    line: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # rows that gave nothing
    mended: Counter[str] = field(default_factory=Counter)  # rows that gave a record after a repair

    @property
    def id(self) -> str:
        return f"{self.path.name.split('.')[0]}-{self.line}"

    @property
    def labeller(self) -> str:
        return f"import:{self.path.name}"

    @property
    def source(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Format:
    name: str
    recognises: Callable[[Row], bool]
    demonstrations: Callable[[Row, Context], Iterator[Demonstration]] | None = None
    comparisons: Callable[[Row, Context], Iterator[Comparison]] | None = None
    ratings: Callable[[Row, Context], Iterator[Rating]] | None = None
    prompts: Callable[[Row, Context], Iterator[Prompt]] | None = None
    gather: Callable[[Iterable[tuple[int, Row]]], Iterator[tuple[int, Row]]] | None = (
        None  # several lines, one row
    )

    def gives(self) -> list[str]:
        kinds = ("demonstrations", "comparisons", "ratings", "prompts")
        return [kind for kind in kinds if getattr(self, kind) is not None]


# ---------------------------------------------------------------------- messages


def role_of(name: Any) -> Role:
    role = ROLES.get(str(name).strip().lower())
    if role is None:
        raise Unusable(f"unknown role {name!r}")
    return role


def text_of(value: Any) -> str:
    """A content: text, nothing, or the text parts of the OpenAI API."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(
        isinstance(part, dict) and part.get("type") == "text" for part in value
    ):
        return "".join(str(part.get("text", "")) for part in value)
    if isinstance(value, list):
        raise Unusable("content with parts that are not text (images, sound)")
    return str(value)


def call_of(value: Any) -> dict[str, Any]:
    """A tool call in our form: arguments as an object, whether the file had an object or JSON in a string."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Unusable("a tool call that is not JSON") from None
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Unusable("a tool call without a name")
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        with contextlib.suppress(
            ValueError
        ):  # some real files hold broken arguments; the text is kept as it is
            arguments = json.loads(arguments)
    call = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": value["id"], **call} if isinstance(value.get("id"), str) else call


def calls_of(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Unusable("a tool call that is not JSON") from None
    return [call_of(item) for item in (value if isinstance(value, list) else [value])]


def tools_of(value: Any) -> list[dict[str, Any]] | None:
    """Tool definitions in OpenAI's form, from a list or from JSON in a string."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except ValueError:
            raise Unusable("tools that are not JSON") from None
    if not value:
        return None
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        raise Unusable("tools that are not objects")
    return [item if "function" in item else {"type": "function", "function": item} for item in items]


def join_turns(messages: Iterable[Message]) -> list[Message]:
    """Neighbouring turns of one speaker become one: texts by an empty line, an announcement with its tool call."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last is None or last.role != message.role or message.role == "tool":
            joined.append(message)
            continue
        texts = [text for text in (last.content, message.content) if text]
        calls = [*(last.tool_calls or []), *(message.tool_calls or [])]
        joined[-1] = last.model_copy(update={"content": "\n\n".join(texts), "tool_calls": calls or None})
    return joined


def is_empty(message: Message) -> bool:
    return not message.content.strip() and not message.tool_calls


def mend(messages: list[Message], context: Context) -> list[Message]:
    """A conversation that can be imitated: joined turns, and nothing after the last real answer."""
    kept = join_turns(messages)
    if len(kept) < len(messages):
        context.mended["neighbouring turns of one speaker joined"] += 1
    while kept and (kept[-1].role != "assistant" or is_empty(kept[-1])):
        was = kept.pop()
        what = "an empty last turn left out" if is_empty(was) else f"a last turn of the {was.role} left out"
        context.mended[what] += 1
    if not kept:
        raise Unusable("no answer by the assistant")
    if kept[0].role == "assistant" and not any(message.role == "user" for message in kept):
        raise Unusable("no turn by the user")
    if any(is_empty(message) and message.role == "user" for message in kept):
        raise Unusable("an empty turn of the user")
    return kept


# ---------------------------------------------------------------------- records


def demonstration(messages: list[Message], context: Context, tools: Any = None) -> Demonstration:
    return Demonstration(messages=mend(messages, context), tools=tools_of(tools), source=context.source)


def comparison(
    prompt: list[Message], completions: list[Completion], ranks: list[int], context: Context, id: str = ""
) -> Comparison:
    """Best first in the file or not: ranks are renumbered from 1, ties kept."""
    pairs = [
        (rank, completion)
        for rank, completion in zip(ranks, completions, strict=True)
        if not _nothing(completion)
    ]
    if len(pairs) < len(completions):
        context.mended["an empty completion left out"] += 1
    if len(pairs) > MAX_COMPLETIONS:
        pairs = sorted(pairs, key=lambda pair: pair[0])[:MAX_COMPLETIONS]
        context.mended[f"more than {MAX_COMPLETIONS} completions: the lowest left out"] += 1
    if len(pairs) < MIN_COMPLETIONS:
        raise Unusable("fewer than two completions to compare")
    if len({_plain(completion) for _, completion in pairs}) == 1:
        raise Unusable("all completions are the same")
    numbers = [rank for rank, _ in pairs]
    renumbered = [1 + sum(other < rank for other in numbers) for rank in numbers]
    if numbers != renumbered:
        context.mended["ranks renumbered from 1"] += 1
    return Comparison(
        id=id or context.id,
        prompt=await_answer(prompt),
        completions=[completion for _, completion in pairs],
        ranks=renumbered,
        labeller=context.labeller,
        source=context.source,
    )


def await_answer(messages: list[Message]) -> list[Message]:
    prompt = join_turns(messages)
    if not prompt or prompt[-1].role not in ("user", "tool"):
        raise Unusable("a prompt that does not end on the user")
    if is_empty(prompt[-1]):
        raise Unusable("an empty turn of the user")
    return prompt


def best_of(comparison: Comparison) -> list[Message]:
    """The conversation with the best completion, for using comparisons as demonstrations."""
    best = comparison.completions[comparison.ranks.index(min(comparison.ranks))]
    return [*comparison.prompt, *as_messages(best)]


def as_messages(completion: Completion) -> list[Message]:
    return [Message(role="assistant", content=completion)] if isinstance(completion, str) else completion


def as_completion(messages: list[Message]) -> Completion:
    """A plain answer as text; one with tool calls or several turns as messages."""
    if len(messages) == 1 and messages[0].role == "assistant" and not messages[0].tool_calls:
        return messages[0].content
    if not messages or messages[-1].role != "assistant":
        raise Unusable("a completion that does not end on the assistant")
    return messages


def _nothing(completion: Completion) -> bool:
    return not completion.strip() if isinstance(completion, str) else is_empty(completion[-1])


def _plain(completion: Completion) -> str:
    if isinstance(completion, str):
        return completion
    return json.dumps([message.to_json() for message in completion], sort_keys=True)
