"""Tool calls of answers, in OpenAI's form: which of them can be read, and how they read as text.

What an import brought, or an older version kept, may be anything that JSON can hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def named(call: Any) -> tuple[str, str] | None:
    """Name and arguments of a call; None of what is no call."""
    if not isinstance(call, Mapping):
        return None
    given = call["function"] if isinstance(call.get("function"), Mapping) else call
    name, arguments = given.get("name"), given.get("arguments")
    if isinstance(arguments, Mapping):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return (name, arguments) if isinstance(name, str) and isinstance(arguments, str) else None


def readable(calls: Any) -> list[dict[str, Any]]:
    """The calls of a list that have a name and arguments; none of anything else."""
    return [call for call in calls if named(call) is not None] if isinstance(calls, list) else []


def as_text(calls: Iterable[Any], *, fenced: bool = False) -> str:
    """Calls as a person, the guard and a model without tools read them. `fenced`: the arguments as code in Markdown."""
    return "\n\n".join(
        f"Tool call {name}:\n{_fenced(arguments) if fenced else arguments}"
        for name, arguments in filter(None, map(named, calls))
    )


def _fenced(text: str) -> str:
    fence = "`" * (1 + max([2, *(len(run) for run in re.findall("`+", text))]))  # longer than any inside
    return f"{fence}json\n{text}\n{fence}"


def with_calls(content: str, calls: Any, *, fenced: bool = False) -> str:
    """What a message says, and below it the tools that it calls."""
    return "\n\n".join(part for part in (content, as_text(readable(calls), fenced=fenced)) if part)


def as_texts(said: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A conversation as texts alone: calls, and results of tools, become text of the answer that they belong to.

    A chat keeps no ids that join a result to its call, its models are given no tools, and a call without a result is
    refused by many chat templates and servers.
    """
    texts: list[dict[str, Any]] = []
    above = ""  # the role of the message above
    for message in said:
        role = message["role"]
        text = with_calls(message["content"], message.get("tool_calls"))
        if role == "tool":
            role, text = "assistant", f"Tool result:\n{text}"
        if role == "assistant" and texts and texts[-1]["role"] == role and "tool" in (above, message["role"]):
            texts[-1]["content"] += f"\n\n{text}"
        else:
            texts.append({"role": role, "content": text})
        above = message["role"]
    return texts
