"""The records of one HTTP request and of one answer at the page; each part of the service writes into it what it knows.

The middleware opens a `Visit` and hands it to the metrics and the log when the answer is complete or the client has
disconnected. It holds no text that a client wrote.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from starlette.types import Scope

LimitScope = Literal["requests", "tokens", "concurrent", "waiting"]
"""The limit behind a 429: requests or tokens of a minute, requests at once, or places in a queue."""
AuthFailure = Literal["no_key", "unknown_key", "not_admin"]


@dataclass
class Guarded:
    """What the guard did about one request or one answer."""

    guard: dict[str, str | None] | None = field(default=None, kw_only=True)  # the layer, action and rule

    def guarded(self, counts: Sequence[tuple[str, str]], record: dict[str, str | None] | None) -> None:
        """Note what the guard did: the record of what acted, else the (layer, action) of what matched last."""
        if record is not None:
            self.guard = record
        elif counts and (self.guard is None or self.guard["rule"] is None):
            layer, action = counts[-1]
            self.guard = {"layer": layer, "action": action, "rule": None, "category": None}


@dataclass
class AnswerVisit(Guarded):
    """One answer of a chat at the page. The request that asked for it ends at once; this has a line of its own."""

    answer: str  # the generation's id
    request_id: str | None  # of the request that asked for it
    began: float = field(default_factory=time.perf_counter)
    state: str = "running"
    elapsed_s: float = 0.0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def ended(self, state: str, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """How it ended; tokens are None where its model did not count them."""
        self.state, self.elapsed_s = state, time.perf_counter() - self.began
        self.prompt_tokens, self.completion_tokens = prompt_tokens, completion_tokens


@dataclass
class Visit(Guarded):
    """One request. `route` is the template of its path; `other` stands for an unknown path or method."""

    method: str = "other"
    route: str = "other"
    status: int = 500  # until an answer begins
    began: float = field(default_factory=time.perf_counter)
    elapsed_s: float = 0.0
    streamed: bool = False  # as Server-Sent Events
    whole: bool = False  # the last byte was sent
    over_limit: LimitScope | None = None
    auth_failure: AuthFailure | None = None
    request_id: str | None = None  # from the client, or random
    key: str | None = None  # the key's name
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def left(self) -> bool:
        """Whether the client disconnected before its stream ended."""
        return self.streamed and not self.whole

    def count(self, *, prompt: int, written: int) -> None:
        """Add tokens that were read and written for this request."""
        self.prompt_tokens = (self.prompt_tokens or 0) + prompt
        self.completion_tokens = (self.completion_tokens or 0) + written


def visit_of(scope: Scope) -> Visit:
    """The request's visit. Without the middleware a new one is made, which is not read."""
    found = scope.setdefault("state", {}).setdefault("visit", Visit())
    assert isinstance(found, Visit)
    return found
