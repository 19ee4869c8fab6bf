"""Contents hidden behind placeholders while a chat template runs, and found again in what it rendered.

Every text that people or models wrote goes in as two private-use characters around a number, so whatever the template
does around it, its words are known apart from the template's own. `tojson` reveals what it writes, so that JSON is
escaped rightly, and hides the result in turn.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import jinja2

from ziggurat.records import Message

_OPEN, _CLOSE = "\ue000", "\ue001"  # private-use characters: around the number of a placeholder
CONTENTS = "_contents"  # the template variable that holds the Contents of this rendering
_PLACEHOLDER = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


@dataclass(slots=True)
class Content:
    text: str
    message: int  # which message it came from; -1: the tools


class Contents:
    """Hides contents behind placeholders and finds them again in the rendered text."""

    def __init__(self, special: re.Pattern[str], *, trim: bool):
        self.special = special
        self.trim = trim
        self.contents: list[Content] = []

    def hide(self, number: int, message: Message) -> dict[str, Any]:
        row = message.model_dump(exclude_none=True, exclude={"weight"})
        content = row.get("content")
        if isinstance(content, list):  # parts, as the OpenAI API has them
            content = "".join(part.get("text", "") for part in content)
        if content:
            row["content"] = self._new(content.strip() if self.trim else content, number)
        elif "tool_calls" in row:
            row["content"] = ""
        else:
            row["content"] = self._new("", number)
        if row.get("tool_calls"):
            row["tool_calls"] = self._deep(row["tool_calls"], number)
        if row.get("name"):
            row["name"] = self._new(row["name"], number)
        if "tool_call_id" in row:
            row["tool_call_id"] = self._key(row["tool_call_id"], number)
        return row

    def hide_unsafe(self, value: Any) -> Any:
        """Tools stay readable for the template, save strings that hold the name of a special token."""
        if isinstance(value, str):
            return self._new(value, -1) if self._is_unsafe(value) else value
        if isinstance(value, dict):
            return {self._key(key, -1): self.hide_unsafe(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_unsafe(item) for item in value]
        return value

    def parse(self, rendered: str) -> list[str | Content]:
        """`["<|user|>", content 0, "<|end|>"]`"""
        pieces = _PLACEHOLDER.split(rendered)
        parts: list[str | Content] = []
        for at, piece in enumerate(pieces):
            if at % 2:
                parts.append(self.contents[int(piece)])
            elif piece:
                parts.append(piece)
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
        """JSON of a value with its contents revealed; hidden in turn, as words of their message."""
        written = json.dumps(value, **options | {"ensure_ascii": False})
        first = _PLACEHOLDER.search(written)
        revealed = json.dumps(self.reveal(value), **options)
        return revealed if first is None else self._new(revealed, self.contents[int(first[1])].message)

    def _key(self, key: Any, number: int) -> Any:
        """Keys are the template's to look up; only one that holds the name of a special token is hidden."""
        return self._new(key, number) if isinstance(key, str) and self._is_unsafe(key) else key

    def _is_unsafe(self, text: str) -> bool:
        return _OPEN in text or self.special.search(text) is not None

    def _deep(self, value: Any, number: int, key: str = "") -> Any:
        if isinstance(value, str):
            readable = key in ("type", "id") and not self._is_unsafe(
                value
            )  # templates compare and measure these
            return value if readable else self._new(value, number)
        if isinstance(value, dict):
            return {self._key(k, number): self._deep(item, number, k) for k, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._deep(item, number) for item in value]
        return value

    def _new(self, text: str, number: int) -> str:
        self.contents.append(Content(text, number))
        return f"{_OPEN}{len(self.contents) - 1}{_CLOSE}"


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
