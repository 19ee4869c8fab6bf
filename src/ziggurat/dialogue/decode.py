"""Ids to text as they arrive: bytes wait until they are a whole character, and nothing is decoded twice."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from ziggurat.tokenizer.bpe import Tokenizer


class IncrementalDecoder:
    """Push ids, get text. Special tokens are silent; bytes that never become UTF-8 appear as U+FFFD."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, id: int) -> str:
        """The text that is certain now: "" while a character is incomplete."""
        if (
            id in self.tokenizer.special_ids or id >= self.tokenizer.vocab_size
        ):  # a model may have more rows than ids
            return ""
        return self._bytes.decode(self.tokenizer.token_bytes(id))

    def flush(self) -> str:
        """What is left at the end: a broken character as U+FFFD."""
        return self._bytes.decode(b"", final=True)


def overlap(text: str, string: str) -> int:
    """Length of the longest end of `text` that is a beginning of `string`, but not all of it."""
    for length in range(min(len(text), len(string) - 1), 0, -1):
        if text.endswith(string[:length]):
            return length
    return 0


def spelled(tokenizer: Tokenizer, ids: Sequence[int]) -> tuple[str, list[int]]:
    """The text of ids, special tokens by their names, and for each token the character at which it begins."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text, starts = "", []
    for id in ids:
        starts.append(len(text))
        text += decoder.decode(tokenizer.token_bytes(id))
    return text + decoder.decode(b"", final=True), starts


def token_name(tokenizer: Tokenizer, id: int) -> str:
    """A token's text; by its bytes where they are no whole characters, so that no two tokens have one name.

    Halves of two different Chinese characters would both read U+FFFD, and one would hide the other in a table of
    alternatives.
    """
    if id >= tokenizer.vocab_size:
        return f"<|unused {id}|>"
    raw = tokenizer.token_bytes(id)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
