"""Ids to text as they arrive: bytes wait until they are a whole character, and nothing is decoded twice."""

from __future__ import annotations

import codecs

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
