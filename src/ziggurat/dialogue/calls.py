"""Tool calls inside an answer: how a model marks them, where they begin and end in its text, and how one is read.

    ours      text <|tool|>{"name": "f", "arguments": {"a": 1}}<|tool|>{...}
    Hermes    text <tool_call>\\n{"name": "f", "arguments": {"a": 1}}\\n</tool_call>\\n<tool_call>...

<|tool|> is one special token. Qwen, ChatML models and many others write Hermes' marks.

`CallSplitter` cuts an answer into content and calls while it appears; `read_call` reads one call when it is whole.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from json.decoder import WHITESPACE  # type: ignore[attr-defined]
from typing import Any

from ziggurat.dialogue.decode import overlap
from ziggurat.tokenizer.bpe import Tokenizer

OURS = "<|tool|>"
HERMES = ("<tool_call>", "</tool_call>")
MAX_NESTING = 100
"""Arrays and objects inside one another in a call. Deeper ones exhaust the stack of common JSON readers."""


@dataclass(frozen=True)
class CallMarks:
    """How a model marks its calls. A mark with an id is one special token, which has no text of its own."""

    open: str
    close: str = ""  # without one, the next mark or the end of the answer ends a call
    open_id: int | None = None
    close_id: int | None = None

    @classmethod
    def of(cls, tokenizer: Tokenizer, template: str) -> CallMarks:
        """Ours where the template writes our token, else Hermes'."""
        if (own := tokenizer.id_of(OURS)) is not None and OURS in template:
            return cls(OURS, "", own)
        opened, closed = (tokenizer.id_of(mark) for mark in HERMES)
        return cls(
            *HERMES,
            opened if opened in tokenizer.special_ids else None,
            closed if closed in tokenizer.special_ids else None,
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of the content (`call` is None) or of a call; `at`: its first character among all that the model wrote."""

    text: str
    at: int
    call: int | None = None


class CallSplitter:
    """Push what the model writes, get pieces of content and of calls; the marks are left out.

    Text that may be the beginning of a mark is held back. White space between two calls is dropped.
    """

    def __init__(self, marks: CallMarks | None) -> None:
        self._marks = marks
        self._inside = False
        self._call = -1  # the latest call
        self._held, self._at = "", 0  # text not given out yet, and where it begins

    @property
    def inside(self) -> bool:
        """Whether a call has begun and not ended."""
        return self._inside

    def push(self, id: int, text: str) -> list[Piece]:
        marks = self._marks
        if marks is None:
            return self._give(text)
        if id == marks.open_id:
            pieces = self._flush()
            self._inside, self._call = True, self._call + 1
            return pieces
        if id == marks.close_id and self._inside:
            pieces = self._flush()
            self._inside = False
            return pieces
        self._held += text
        return self._cut()

    def flush(self) -> list[Piece]:
        """What was held back, at the end of the answer."""
        return self._flush()

    def _cut(self) -> list[Piece]:
        pieces: list[Piece] = []
        while mark := self._awaited():
            at = self._held.find(mark)
            if at < 0:
                held = overlap(self._held, mark)
                return pieces + self._release(len(self._held) - held)
            pieces += self._release(at)
            self._held, self._at = self._held[len(mark) :], self._at + len(mark)
            self._inside = not self._inside
            self._call += self._inside
        return pieces + self._release(len(self._held))

    def _awaited(self) -> str:
        """The mark that text can spell here; "" where marks are special tokens."""
        assert self._marks is not None
        if self._inside:
            return "" if self._marks.close_id is not None else self._marks.close
        return "" if self._marks.open_id is not None else self._marks.open

    def _release(self, count: int) -> list[Piece]:
        text, self._held = self._held[:count], self._held[count:]
        return self._give(text)

    def _flush(self) -> list[Piece]:
        return self._release(len(self._held))

    def _give(self, text: str) -> list[Piece]:
        at, self._at = self._at, self._at + len(text)
        between = self._call >= 0 and not self._inside
        if not text or (between and text.isspace()):
            return []
        return [Piece(text, at, self._call if self._inside else None)]


# --- reading a call -----------------------------------------------------------------------------------------------

_ESCAPE = re.compile(
    r"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_NAME = re.compile(r'\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)+")', re.DOTALL)
_ARGUMENTS = re.compile(r'\s*,\s*"arguments"\s*:\s*')
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _unread(number: str) -> None:
    """Numbers are checked and kept as text; converting them could fail or round."""


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_unread, parse_int=_unread)


def read_call(text: str, *, cut: bool = False) -> tuple[str, str] | None:
    """(name, arguments) of `{"name": ..., "arguments": {...}}`; None where the text is no call.

    The arguments are the model's own JSON text, but for half a surrogate pair, which becomes U+FFFD. `cut`: a limit
    ended the text early; then a call whose name is whole is returned with its arguments as far as they are written.
    """
    text = _ESCAPE.sub(lambda found: "\\ufffd" if found["half"] else found[0], text.strip())
    if nesting(text) > MAX_NESTING:
        return None
    try:
        return _whole_call(text)
    except ValueError:
        return _begun_call(text) if cut else None


def _begun_call(text: str) -> tuple[str, str] | None:
    """(name, what there is of the arguments) of a call that a limit cut off; None where its name is not whole."""
    named = _NAME.match(text)
    if named is None:
        return None
    try:
        name = str(_DECODER.decode(named[1]))
    except ValueError:
        return None
    if begun := _ARGUMENTS.match(text, named.end()):
        return name, text[begun.end() :]
    rest = "".join(text[named.end() :].split())
    return (name, "") if ',"arguments":'.startswith(rest) else None


def _whole_call(text: str) -> tuple[str, str]:
    """ValueError if the text is not one object with a name and, at most, arguments that are an object."""
    members = _members(text)
    name, _ = members.get("name", (None, ""))
    if not isinstance(name, str) or not name:
        raise ValueError("there is no name")
    if "arguments" not in members:
        if len(members) > 1:
            raise ValueError("the call has fields beside name and arguments")
        return name, "{}"
    value, written = members["arguments"]
    if isinstance(value, str):  # an object, written once more as a string
        written = value.strip() or "{}"
        value = _DECODER.decode(written) if nesting(written) <= MAX_NESTING else None
    if written == "null":
        return name, "{}"
    if not isinstance(value, dict):
        raise ValueError("the arguments are no object")
    return name, written


def _members(text: str) -> dict[str, tuple[Any, str]]:
    """The members of a JSON object: each one's value, and how it is written."""
    members: dict[str, tuple[Any, str]] = {}
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("this is no object")
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        if members:
            at = _skip(text, _expect(text, at, ","))
        key, at = _DECODER.raw_decode(text, at)
        if not isinstance(key, str):
            raise ValueError("a key is no string")
        begin = _skip(text, _expect(text, _skip(text, at), ":"))
        value, end = _DECODER.raw_decode(text, begin)
        members[key] = value, text[begin:end]
        at = _skip(text, end)
    if at + 1 != len(text):
        raise ValueError("text follows the object")
    return members


def _skip(text: str, at: int) -> int:
    return int(WHITESPACE.match(text, at).end())


def _expect(text: str, at: int, sign: str) -> int:
    if text[at : at + 1] != sign:
        raise ValueError(f"{sign} is missing")
    return at + 1


def nesting(text: str) -> int:
    """How deep arrays and objects are inside one another in JSON text."""
    if text.count("[") + text.count("{") <= MAX_NESTING:
        return 0
    depth = deepest = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        if found[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in "]}":
            depth -= 1
    return deepest
