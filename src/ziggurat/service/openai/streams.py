"""From a ticket to the answer: Server-Sent Events, or all choices at once.

Three rules hold for both:

- A request ends when its client disconnects, and its ticket is cancelled on every way out.
- A stream waits for its first delta before it sends a byte (for one keep-alive period at most), so that a prompt that
  does not fit is answered with 400. Once it has begun, it always ends with its last event: any exception becomes one.
- A stream never sends nothing for longer than `keepalive_s`, also while a tool call or a stop string is held back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import Request
from starlette.types import Receive, Scope, Send

from ziggurat.service.guarded import Piece
from ziggurat.service.http.client import client_left, disconnected
from ziggurat.service.http.event_stream import EventStream
from ziggurat.service.http.problems import describe
from ziggurat.service.http.wire import DONE, KEEPALIVE, event
from ziggurat.service.models.tickets import Answering

if TYPE_CHECKING:
    from ziggurat.dialogue.desk import Delta


@dataclass
class Choice:
    """One of the `n` completions, as far as it has arrived."""

    text: str = ""
    finish: str = "stop"
    tokens: list[Any] = field(default_factory=list)
    prompt: list[Any] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)  # the text of its tool calls
    spans: list[Span] = field(default_factory=list)  # where content and calls are in what the model wrote
    guard: dict[str, str | None] | None = None  # the layer and the rule that ended it
    _sent: int = 0  # tokens that `take` has passed

    def add(self, delta: Delta) -> None:
        if isinstance(delta, Piece) and delta.guard is not None:
            self.guard, self.calls = delta.guard, []
            if delta.replaces:
                self.text, self.tokens, self.spans, self._sent = "", [], [], 0
        if delta.call is None:
            self.text += delta.text
        else:
            self.calls += [""] * (delta.call + 1 - len(self.calls))
            self.calls[delta.call] += delta.text
        if delta.text:
            self._cover(delta.at, delta.at + len(delta.text), delta.call)
        self.tokens += delta.tokens
        self.prompt += delta.prompt
        if delta.finish is not None:
            self.finish = delta.finish

    def _cover(self, begin: int, end: int, call: int | None) -> None:
        if self.spans and self.spans[-1].call == call and self.spans[-1].end == begin:
            self.spans[-1].end = end
        else:
            self.spans.append(Span(begin, end, call))

    def take(self) -> list[Any]:
        """The tokens whose text has come since the last time, as content or in a call."""
        front, begin = self.spans[-1].end if self.spans else 0, self._sent
        while self._sent < len(self.tokens) and self.tokens[self._sent].start < front:
            self._sent += 1
        return self.tokens[begin : self._sent]

    def rest(self) -> list[Any]:
        """The tokens that `take` has not given; at the end of the answer."""
        begin, self._sent = self._sent, len(self.tokens)
        return self.tokens[begin:]

    def within(self, tokens: Sequence[Any], *calls: int | None) -> list[Any]:
        """Those of `tokens` whose text begins in the content (None) or in one of these calls."""
        wanted = [span for span in self.spans if span.call in calls]
        return [token for token in tokens if any(span.begin <= token.start < span.end for span in wanted)]


@dataclass
class Span:
    """Characters of what the model wrote that are content (`call` is None) or belong to a call."""

    begin: int
    end: int
    call: int | None


@dataclass
class Tally:
    """All choices of a request, and the token counts of those that have ended."""

    choices: dict[int, Choice] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, delta: Delta) -> None:
        self.choices.setdefault(delta.choice, Choice()).add(delta)
        if delta.usage is not None:
            self.prompt_tokens = delta.usage.prompt_tokens
            self.completion_tokens += delta.usage.completion_tokens

    def so_far(self, prompt_tokens: int) -> dict[str, int]:
        """The usage of a request that has not ended."""
        written = sum(len(choice.tokens) for choice in self.choices.values())
        return Tally(prompt_tokens=prompt_tokens, completion_tokens=written).usage()

    def usage(self) -> dict[str, int]:
        total = self.prompt_tokens + self.completion_tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": total,
        }


def timings(ticket: Answering, tally: Tally) -> dict[str, float]:
    """Seconds in the queue and on the model. Speed: completion tokens over the time on the model."""
    elapsed_s = max(ticket.t_finished - ticket.t_started, 1e-9)
    return {
        "waited_s": round(ticket.t_started - ticket.t_submitted, 4),
        "first_token_s": round(max(ticket.t_first - ticket.t_started, 0.0), 4),
        "elapsed_s": round(elapsed_s, 4),
        "tokens_per_s": round(tally.completion_tokens / elapsed_s, 1),
    }


async def _race(ticket: Answering, gone: asyncio.Task[None], timeout_s: float) -> tuple[bool, Delta | None]:
    """(True, the next delta or None at the end), or (False, None) after `timeout_s`."""
    arrival = asyncio.ensure_future(ticket.next())
    try:
        await asyncio.wait({arrival, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if arrival.done():
            return True, arrival.result()
        if gone.done():
            raise client_left()
        return False, None
    finally:
        if not arrival.done():
            arrival.cancel()


class TicketStream(EventStream):
    """An event stream whose ticket is cancelled when it ends: finished, failed, or its client disconnected."""

    def __init__(self, content: AsyncIterator[bytes], ticket: Answering) -> None:
        super().__init__(content)
        self.ticket = ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.ticket.cancel()


async def stream(
    request: Request,
    ticket: Answering,
    *,
    pieces: Callable[[Delta, Tally], Iterable[bytes]],
    tail: Callable[[Tally], Iterable[bytes]],
    failed: Callable[[dict[str, Any]], Iterable[bytes]] = lambda error: [event(error), DONE],
    keepalive_s: float,
) -> TicketStream:
    """Stream a ticket: `pieces` of each delta, then `tail`; `failed` instead of the rest after any exception."""
    gone = asyncio.ensure_future(disconnected(request))
    try:
        arrived, first = await _race(ticket, gone, keepalive_s)
    except BaseException:
        ticket.cancel()
        raise
    finally:
        gone.cancel()  # from here on StreamingResponse watches for the disconnect

    async def events() -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time
        tally, have, delta = Tally(), arrived, first
        silent_since = now() if have else now() - keepalive_s
        try:
            while not (have and delta is None):
                sent = False
                if delta is not None:
                    tally.add(delta)
                    for piece in pieces(delta, tally):
                        sent = True
                        yield piece
                if not sent and now() - silent_since >= keepalive_s:
                    sent = True
                    yield KEEPALIVE
                if sent:
                    silent_since = now()
                have, delta = await _next_within(ticket, silent_since + keepalive_s)
            for piece in tail(tally):
                yield piece
        except Exception as error:
            for piece in failed(describe(error)[1]):
                yield piece

    return TicketStream(events(), ticket)


async def _next_within(ticket: Answering, deadline: float) -> tuple[bool, Delta | None]:
    try:
        async with asyncio.timeout_at(deadline):  # `wait_for` would make a task for every token
            return True, await ticket.next()
    except TimeoutError:
        return False, None


async def gather(request: Request, tickets: Sequence[Answering]) -> list[Tally]:
    """Complete answers. All are cancelled if the client disconnects."""
    gone = asyncio.ensure_future(disconnected(request))
    try:
        return [await _whole(ticket, gone) for ticket in tickets]
    finally:
        gone.cancel()
        for ticket in tickets:
            ticket.cancel()


async def _whole(ticket: Answering, gone: asyncio.Task[None]) -> Tally:
    tally = Tally()
    while True:
        have, delta = await _race(ticket, gone, 3600.0)
        if not have:
            continue
        if delta is None:
            return tally
        tally.add(delta)
