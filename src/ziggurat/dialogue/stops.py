"""Stop strings: where the text ends, and the rule over ids by which the engine ends it.

A stop string may begin in one token and end in another, and a token may hold text beyond it. `StopStrings` works on
text: it holds back what may be the beginning of a stop string and cuts at the first whole one. `StopAtStrings` is the
same as a rule over ids, which is all that the engine knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ziggurat.dialogue.calls import CallMarks, CallSplitter
from ziggurat.dialogue.decode import IncrementalDecoder, overlap
from ziggurat.errors import UsageError
from ziggurat.tokenizer.bpe import Tokenizer


class StopStrings:
    """Push text, get what may be shown; `hit` once a stop string was met (it is not shown)."""

    def __init__(self, strings: Sequence[str]) -> None:
        if not all(strings):
            raise UsageError("a stop string is empty; it would stop every answer before its first character.")
        self.strings = tuple(strings)
        self.hit = False
        self.held = ""
        """Text that may be the beginning of a stop string."""

    def push(self, text: str) -> str:
        if self.hit:
            return ""
        text = self.held + text
        found = [at for string in self.strings if (at := text.find(string)) >= 0]
        if found:
            self.hit, self.held = True, ""
            return text[: min(found)]
        keep = max((overlap(text, string) for string in self.strings), default=0)
        self.held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back and is no stop string."""
        held, self.held = self.held, ""
        return held


class StopAtStrings:
    """The engine's `StopRule`: ends a completion with the token that completes a stop string.

    Tool calls (`marks`) are JSON: no stop string is searched in them.
    """

    def __init__(self, tokenizer: Tokenizer, strings: Sequence[str], marks: CallMarks | None = None) -> None:
        self._tokenizer, self._strings, self._marks = tokenizer, strings, marks
        self._decoder, self._splitter = IncrementalDecoder(tokenizer), CallSplitter(marks)
        self._stops = StopStrings(strings)

    def __deepcopy__(self, memo: dict[int, Any]) -> StopAtStrings:
        """For the other completions of a prompt, before any token: the tokenizer is shared."""
        return StopAtStrings(self._tokenizer, self._strings, self._marks)

    def accept(self, token: int) -> bool:
        for piece in self._splitter.push(token, self._decoder.push(token)):
            if piece.call is None:
                self._stops.push(piece.text)
        if self._splitter.inside:
            self._stops.flush()
        return self._stops.hit
