"""Counts the tokens of a request that another server answers: estimated at first, settled by the answer's `usage`.

A stream is always requested with `usage`; a client that did not ask for it does not see it. Without `usage` (the stream
broke off, the client disconnected, the server does not support it) a prompt counts one token for four bytes, an answer
one token for each piece.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request

from ziggurat.service.access.admission import Reservation
from ziggurat.service.models.tickets import Watcher
from ziggurat.service.observe.visits import visit_of

BYTES_PER_TOKEN = 4
"""An estimate: English prose with a large vocabulary. Other texts have more tokens."""


class Meter:
    """Counts one request.

    Raises:
        ApiError: 429 if the key has too few tokens left.
    """

    def __init__(
        self, request: Request, raw: bytes, body: dict[str, Any], label: str, watcher: Watcher | None
    ) -> None:
        self.prompt, self.written = len(raw) // BYTES_PER_TOKEN, 0
        self._counted = self._begun = self._hides_usage = False
        self._label, self._watcher, self._visit = label, watcher, visit_of(request.scope)
        self._always_has_usage = request.url.path.startswith("/v1/responses")  # in the last event
        names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
        most = next((count for name in names if (count := _count(body.get(name)))), 0)
        self._reserved: Reservation | None = Reservation(
            request, self.prompt + most * max(1, _count(body.get("n")))
        )

    def asking_for_usage(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The body of a stream with `include_usage` set; None if it is set already or does not apply."""
        if self._always_has_usage:
            return None
        options = body.get("stream_options") or {}
        if body.get("stream") is not True or not isinstance(options, dict) or options.get("include_usage"):
            return None
        self._hides_usage = True
        return {**body, "stream_options": {**options, "include_usage": True}}

    def whole(self, answer: Any, size: int) -> None:
        """A complete answer of `size` bytes has arrived."""
        self._begun = True
        if not self._read(answer):
            self.written = size // BYTES_PER_TOKEN

    def event(self, sent: bytes) -> bool:
        """An event of a stream has arrived; returns whether the client gets it."""
        data = b"".join(line[5:] for line in sent.split(b"\n") if line.startswith(b"data:"))
        answer = _parsed(data)
        if not isinstance(answer, dict):
            return True
        self._begun = True
        usage_alone = self._read(answer) and answer.get("choices") == []
        pieces = len(answer.get("choices") or ()) or int(str(answer.get("type")).endswith(".delta"))
        self.written += 0 if self._counted else pieces
        return not (usage_alone and self._hides_usage)

    def _read(self, answer: Any) -> bool:
        """Read `usage`, in the spelling of either of OpenAI's APIs; returns whether there is one."""
        answer = answer if isinstance(answer, dict) else {}
        inner = answer.get("response")
        usage = answer.get("usage") or (inner.get("usage") if isinstance(inner, dict) else None)
        if not isinstance(usage, dict):
            return False
        self.prompt = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
        self.written = _count(usage.get("completion_tokens", usage.get("output_tokens")))
        self._counted = True
        return True

    def close(self, *, left: bool = False) -> None:
        """Settle; the second call does nothing. Without an answer nothing was used, unless the client has `left`: its
        prompt was processed until then."""
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
    """A number of tokens from JSON; 0 for anything else."""
    return min(value, 10**9) if isinstance(value, int) and value > 0 else 0
