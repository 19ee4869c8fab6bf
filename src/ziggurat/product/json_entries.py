"""A JSON file read piece by piece: the entries of a list one after the other, any other document as its only entry.

Exports of chats are lists of conversations and may have hundreds of megabytes; what is held at once is one entry and
the piece of text that it stands in. The standard library's decoder reads each entry: where its text ends too early,
more is read, each time as much as there is already, so that the same text is decoded twice on average.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from ziggurat.product.errors import Invalid

PIECE = 256 * 1024
"""Bytes that are read at least."""
MAX_ENTRY_CHARS = 64 * 1024**2
"""Characters of one entry."""
SPACES = re.compile(r"[ \t\n\r]*")
LITERAL = 16
"""Characters of the longest word that may be cut off: -Infinity, an escaped pair of surrogates, an exponent."""


def entries(file: BinaryIO) -> Iterator[tuple[int | None, Any]]:
    """(number from 0, entry) of a list; (None, document) of any other document.

    Raises (while iterating):
        Invalid: it is not JSON, or an entry is too long (code entry_too_large). Entries before that place were given.
    """
    reader = _Reader(file)
    if reader.next_character() != "[":
        yield None, reader.value()
    else:
        reader.at += 1
        number = 0
        while number or reader.next_character() != "]":
            yield number, reader.value()
            number += 1
            if (after := reader.next_character()) == "]":
                break
            if after != ",":
                raise _not_json(f"after entry {number:,} there is no comma")
            reader.at += 1
            reader.next_character()
        reader.at += 1
    if reader.next_character():
        raise _not_json("there is more after its end")


def _not_json(why: str) -> Invalid:
    return Invalid(f"this is not JSON ({why[:200]}).", code="not_chats")


class _Reader:
    """Text of a file as far as it was read; `at` is the place in it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._decoder = json.JSONDecoder()
        self._text, self.at, self._ended = "", 0, False

    def next_character(self) -> str:
        """The one at `at`, after spaces; "" at the end of the file."""
        while True:
            spaces = SPACES.match(self._text, self.at)
            self.at = self.at if spaces is None else spaces.end()
            if self.at < len(self._text):
                return self._text[self.at]
            if self._ended:
                return ""
            self._read_more()

    def value(self) -> Any:
        """The value at `at`."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self.at)
            except json.JSONDecodeError as error:
                if self._ended or not self._is_cut(error):
                    raise _not_json(error.msg) from None
            except RecursionError as error:
                raise _not_json(str(error)) from None
            except ValueError:  # int() refuses more than 4,300 digits
                raise _not_json("a number in it has too many digits") from None
            else:
                if end <= len(self._text) - LITERAL or self._ended:  # else a number may go on
                    self.at = end
                    return value
            if len(self._text) - self.at > MAX_ENTRY_CHARS:
                raise Invalid(
                    f"one entry has more than {MAX_ENTRY_CHARS:,} characters; leave it out of the file.",
                    code="entry_too_large",
                )
            self._read_more()

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether more text may mend it."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - LITERAL

    def _read_more(self) -> None:
        data = self._file.read(max(PIECE, len(self._text) - self.at))
        self._ended = not data
        try:
            self._text = self._text[self.at :] + self._utf8.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise _not_json(str(error)) from None
        self.at = 0
