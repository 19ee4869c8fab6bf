"""The tokens of a request that is answered elsewhere: reserved by guess, settled by what the answer says of itself.

A stream is asked for its usage even where the client did not ask (and then does not see it). Where nothing is told -
the stream broke off, the client went away, the server does not know how - a prompt counts a token for every four bytes,
an answer one for every piece.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request

from ziggurat.service.access.gate import Reservation
from ziggurat.service.models.protocols import Watcher
from ziggurat.service.observe.visits import visit_of

BYTES_PER_TOKEN = 4
"""Of English prose with a large vocabulary; other texts have more tokens. A guess is all it is."""


class Meter:
    """Counts one request. Raises ApiError 429 when it is made and the key has not so many tokens left."""

    def __init__(
        self, request: Request, raw: bytes, body: dict[str, Any], label: str, watcher: Watcher | None
    ) -> None:
        self.prompt, self.written = len(raw) // BYTES_PER_TOKEN, 0
        self._told = self._begun = self._hides_usage = False
        self._label, self._watcher, self._visit = label, watcher, visit_of(request.scope)
        self._tells_by_itself = request.url.path.startswith("/v1/responses")  # in its last event
        names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
        most = next((count for name in names if (count := _count(body.get(name)))), 0)
        self._reserved: Reservation | None = Reservation(
            request, self.prompt + most * max(1, _count(body.get("n")))
        )

    def asking_for_usage(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The body of a stream with the wish for its usage; None where that is there already or has no place."""
        if self._tells_by_itself:
            return None
        options = body.get("stream_options") or {}
        if body.get("stream") is not True or not isinstance(options, dict) or options.get("include_usage"):
            return None
        self._hides_usage = True
        return {**body, "stream_options": {**options, "include_usage": True}}

    def whole(self, told: Any, size: int) -> None:
        """A whole answer of `size` bytes came."""
        self._begun = True
        if not self._read(told):
            self.written = size // BYTES_PER_TOKEN

    def event(self, sent: bytes) -> bool:
        """An event of a stream came; whether the client should see it."""
        data = b"".join(line[5:] for line in sent.split(b"\n") if line.startswith(b"data:"))
        told = _parsed(data)
        if not isinstance(told, dict):
            return True
        self._begun = True
        usage_alone = self._read(told) and told.get("choices") == []
        pieces = len(told.get("choices") or ()) or int(str(told.get("type")).endswith(".delta"))
        self.written += 0 if self._told else pieces
        return not (usage_alone and self._hides_usage)

    def _read(self, told: Any) -> bool:
        """Take over what an answer says of its tokens, under the names of either of OpenAI's APIs; whether it does."""
        told = told if isinstance(told, dict) else {}
        inner = told.get("response")
        usage = told.get("usage") or (inner.get("usage") if isinstance(inner, dict) else None)
        if not isinstance(usage, dict):
            return False
        self.prompt = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
        self.written = _count(usage.get("completion_tokens", usage.get("output_tokens")))
        self._told = True
        return True

    def close(self, *, left: bool = False) -> None:
        """Settle; the second time nothing happens. Nothing was used if no answer began, unless the client has `left`:
        its prompt was worked on until then."""
        self._begun |= left
        reserved, self._reserved = self._reserved, None
        if reserved is None:
            return
        prompt, written = (self.prompt, self.written) if self._begun else (0, 0)
        reserved.settle(prompt + written)
        if not self._begun:
            return
        self._visit.count(prompt=prompt, written=written)
        if self._watcher is not None:
            self._watcher.count(self._label, prompt=prompt, written=written)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _count(value: Any) -> int:
    """A number of tokens as somebody wrote it; 0 for what is none."""
    return min(value, 10**9) if isinstance(value, int) and value > 0 else 0
