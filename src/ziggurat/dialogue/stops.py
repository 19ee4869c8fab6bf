"""Stop strings: where the text should end, and how the engine hears of it.

A stop string may begin in one token and end in another, and a token may hold text beyond it. `StopStrings` works on
text: it holds back what may be the beginning of a stop string and cuts at the first whole one. `StopAtStrings` is the
same as a rule over ids, which is all that the engine knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ziggurat.dialogue.decode import IncrementalDecoder
from ziggurat.errors import UsageError
from ziggurat.tokenizer.bpe import Tokenizer


class StopStrings:
    """Push text, get what may be shown; `hit` once a stop string was met (it is not shown)."""

    def __init__(self, strings: Sequence[str]) -> None:
        if not all(strings):
            raise UsageError("a stop string is empty; it would stop every answer before its first character.")
        self.strings = tuple(strings)
        self.hit = False
        self._held = ""

    def push(self, text: str) -> str:
        if self.hit:
            return ""
        text = self._held + text
        found = [at for string in self.strings if (at := text.find(string)) >= 0]
        if found:
            self.hit, self._held = True, ""
            return text[: min(found)]
        keep = max((self._overlap(text, string) for string in self.strings), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back for nothing."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _overlap(text: str, string: str) -> int:
        """Length of the longest end of `text` that is a beginning of `string`."""
        for length in range(min(len(text), len(string) - 1), 0, -1):
            if text.endswith(string[:length]):
                return length
        return 0


class StopAtStrings:
    """The engine's `StopRule`: ends a completion with the token that completes a stop string.

    After `tool_id` comes a tool call, which is JSON: no stop string is looked for in it.
    """

    def __init__(self, tokenizer: Tokenizer, strings: Sequence[str], tool_id: int | None = None) -> None:
        self._tokenizer, self._strings, self._tool_id = tokenizer, strings, tool_id
        self._calling = False
        self._decoder = IncrementalDecoder(tokenizer)
        self._stops = StopStrings(strings)

    def __deepcopy__(self, memo: dict[int, Any]) -> StopAtStrings:
        """For the other completions of a prompt, before any token: the tokenizer is shared."""
        return StopAtStrings(self._tokenizer, self._strings, self._tool_id)

    def accept(self, token: int) -> bool:
        self._calling = self._calling or token == self._tool_id
        if not self._calling:
            self._stops.push(self._decoder.push(token))
        return self._stops.hit
