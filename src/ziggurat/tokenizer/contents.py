"""Contents hidden behind placeholders while a chat template runs, and found again in the rendered text.

Every text that people or models wrote goes into the template as two private-use characters around a number, so that
its words stay apart from the words of the template. White space at its ends stays outside the placeholder: templates
may trim it. `tojson` reveals what it writes, so that JSON is escaped rightly, and hides the result in turn.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

import jinja2

from ziggurat.errors import DataError
from ziggurat.messages import parse_arguments
from ziggurat.records import Message

_OPEN, _CLOSE = "\ue000", "\ue001"  # private-use characters: around the number of a placeholder
CONTENTS = "_contents"  # the template variable that holds the Contents of this rendering
_PLACEHOLDER = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
TOOLS = -1  # in place of a message's number: text from the tools or the template's variables

Arguments = Literal["object", "text", "any"]
"""The form of tool arguments that a template can write."""
Kind = Literal["content", "reasoning", "call", "other"]


@dataclass(slots=True)
class Content:
    text: str
    message: int
    """The number of the message that it came from, or TOOLS."""
    kind: Kind = "content"


@dataclass(slots=True)
class Placed:
    """A part of the rendered text, from `start` to `end`: text of the template, or the placeholder of a content."""

    start: int
    end: int
    part: str | Content


class Contents:
    """Hides contents behind placeholders and finds them again in the rendered text."""

    def __init__(self, special: re.Pattern[str]):
        self.special = special
        self.contents: list[Content] = []
        self._dumped: dict[tuple[str, int, Kind], str] = {}

    def hide(
        self,
        number: int,
        message: Message,
        text: str,
        reasoning: str | None,
        inside: bool,
        arguments: Arguments = "any",
    ) -> dict[str, Any]:
        """The message as the template sees it; `text` and `reasoning` take the place of its own.

        `inside`: the reasoning goes into the content, between <think> tags. `arguments`: the form of tool arguments.
        """
        row: dict[str, Any] = {"role": message.role}
        row["content"] = "" if message.tool_calls and not text else self._new(text, number)
        if reasoning is not None and inside:
            block = self._placeholder(f"<think>\n{reasoning}\n</think>", number, "reasoning")
            row["content"] = f"{block}\n\n{row['content']}"
        elif reasoning is not None:
            thought = self._new(reasoning, number, "reasoning")
            row |= dict.fromkeys(("reasoning_content", "reasoning", "thinking"), thought)
        if message.tool_calls:
            row["tool_calls"] = self._deep([with_arguments(c, arguments) for c in message.tool_calls], number)
        if message.name:
            row["name"] = self._new(message.name, number, "other")
        if message.tool_call_id is not None:
            row["tool_call_id"] = self._key(message.tool_call_id, number)
        return row

    def hide_unsafe(self, value: Any) -> Any:
        """Tools stay readable for the template, except strings that hold the name of a special token."""
        if isinstance(value, str):
            return self._new(value, TOOLS, "other") if self._is_unsafe(value) else value
        if isinstance(value, dict):
            return {self._key(key, TOOLS): self.hide_unsafe(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_unsafe(item) for item in value]
        return value

    def parse(self, rendered: str) -> list[Placed]:
        """`"<|user|>"`, content 0, `"<|end|>"`, each with its place.

        DataError where the template cut a content apart.
        """
        parts, at = list[Placed](), 0
        for match in _PLACEHOLDER.finditer(rendered):
            if match.start() > at:
                parts.append(Placed(at, match.start(), rendered[at : match.start()]))
            parts.append(Placed(*match.span(), self.contents[int(match[1])]))
            at = match.end()
        if at < len(rendered):
            parts.append(Placed(at, len(rendered), rendered[at:]))
        if any(isinstance(one.part, str) and (_OPEN in one.part or _CLOSE in one.part) for one in parts):
            raise DataError(
                "the chat template cuts a message's text apart, so its words cannot be kept apart from it."
            )
        return parts

    def reveal(self, value: Any) -> Any:
        if isinstance(value, str):
            return _PLACEHOLDER.sub(lambda match: self.contents[int(match[1])].text, value)
        if isinstance(value, dict):
            return {self.reveal(key): self.reveal(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.reveal(item) for item in value]
        return value

    def dump(self, value: Any, options: dict[str, Any]) -> str:
        """JSON of a value with its contents revealed; hidden in turn, as words of their message.

        The first and the last character stay in sight: Mistral's template cuts the closing brace off (`out[:-1]`).
        """
        written = json.dumps(value, **options | {"ensure_ascii": False})
        first = _PLACEHOLDER.search(written)
        revealed = json.dumps(self.reveal(value), **options)
        if first is None:
            return revealed
        source = self.contents[int(first[1])]
        inner = (revealed[1:-1], source.message, source.kind)
        if (
            inner not in self._dumped
        ):  # the same number in every rendering: a prompt is compared with the whole
            self._dumped[inner] = self._placeholder(*inner)
        return revealed[0] + self._dumped[inner] + revealed[-1]

    def _key(self, key: Any, number: int) -> Any:
        """Keys are the template's to look up; only one that holds the name of a special token is hidden."""
        return self._new(key, number, "other") if isinstance(key, str) and self._is_unsafe(key) else key

    def _is_unsafe(self, text: str) -> bool:
        return _OPEN in text or self.special.search(text) is not None

    def _deep(self, value: Any, number: int, key: str = "") -> Any:
        if isinstance(value, str):
            # templates compare types and measure ids
            readable = key in ("type", "id") and not self._is_unsafe(value)
            return value if readable else self._placeholder(value, number, "call")
        if isinstance(value, dict):
            return {self._key(k, number): self._deep(item, number, k) for k, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._deep(item, number) for item in value]
        return value

    def _new(self, text: str, number: int, kind: Kind = "content") -> str:
        core = text.strip()
        before = text[: len(text) - len(text.lstrip())]
        after = text[len(before) + len(core) :]
        return before + self._placeholder(core, number, kind) + after

    def _placeholder(self, text: str, number: int, kind: Kind) -> str:
        self.contents.append(Content(text, number, kind))
        return f"{_OPEN}{len(self.contents) - 1}{_CLOSE}"


def with_arguments(call: dict[str, Any], form: Arguments) -> dict[str, Any]:
    """A tool call with its arguments as an object or as JSON text; text that is no JSON object stays text."""
    function = call.get("function", call)
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if form == "object" and isinstance(arguments, str):
        arguments = parse_arguments(arguments)
    elif form == "text" and isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    else:
        return call
    changed = {**function, "arguments": arguments}
    return {**call, "function": changed} if "function" in call else changed


@jinja2.pass_context
def to_json(
    context: jinja2.runtime.Context,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """transformers' `tojson` (no HTML escapes); what it writes of hidden contents stays hidden."""
    options: dict[str, Any] = {
        "ensure_ascii": ensure_ascii,
        "indent": indent,
        "separators": separators,
        "sort_keys": sort_keys,
    }
    contents = context.get(CONTENTS)
    return contents.dump(value, options) if isinstance(contents, Contents) else json.dumps(value, **options)
