"""From a ticket to the wire: Server-Sent Events, and the one promise that no request outlives its client.

Before the first byte of a stream the first delta is awaited (for at most one keep-alive period), so that a prompt that
does not fit is answered with 400 and not with a stream that begins with 200 and ends in tears.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ziggurat.service.http.problems import ApiError, describe
from ziggurat.service.models.protocols import DeltaLike
from ziggurat.service.models.tickets import Ticket

R = TypeVar("R")
KEEPALIVE = b": waiting\n\n"
DONE = b"data: [DONE]\n\n"


def event(data: dict[str, Any]) -> bytes:
    """One SSE event. JSON never holds a bare newline, so one `data:` line is enough."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


@dataclass
class Choice:
    """One of the `n` answers, as far as it has come."""

    text: str = ""
    finish: str = "stop"
    tokens: list[Any] = field(default_factory=list)
    prompt: list[Any] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)  # the text of its tool calls
    spans: list[Span] = field(default_factory=list)  # where content and calls are in what the model wrote
    _sent: int = 0  # tokens that `take` has passed

    def add(self, delta: DeltaLike) -> None:
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
    """What is known of an answer so far: its choices, and the counts once they are whole."""

    choices: dict[int, Choice] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, delta: DeltaLike) -> None:
        self.choices.setdefault(delta.choice, Choice()).add(delta)
        if delta.usage is not None:
            self.prompt_tokens = delta.usage.prompt_tokens
            self.completion_tokens += delta.usage.completion_tokens

    def so_far(self, prompt_tokens: int) -> dict[str, int]:
        """The usage of what was written until now."""
        written = sum(len(choice.tokens) for choice in self.choices.values())
        return Tally(prompt_tokens=prompt_tokens, completion_tokens=written).usage()

    def usage(self) -> dict[str, int]:
        total = self.prompt_tokens + self.completion_tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": total,
        }


def timings(ticket: Ticket, tally: Tally) -> dict[str, float]:
    """Seconds waited and worked. Speed is completion tokens over the model's whole time, prompt included."""
    elapsed_s = max(ticket.t_finished - ticket.t_started, 1e-9)
    return {
        "waited_s": round(ticket.t_started - ticket.t_submitted, 4),
        "first_token_s": round(max(ticket.t_first - ticket.t_started, 0.0), 4),
        "elapsed_s": round(elapsed_s, 4),
        "tokens_per_s": round(tally.completion_tokens / elapsed_s, 1),
    }


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def while_there(request: Request, work: Coroutine[Any, Any, R]) -> R:
    """What `work` returns; it is cancelled, and has ended, when its client went away first."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ApiError(499, "The client went away before its answer began.")
        return working.result()
    finally:
        gone.cancel()
        working.cancel()
        await asyncio.wait({working})


async def _race(ticket: Ticket, gone: asyncio.Task[None], timeout_s: float) -> tuple[bool, DeltaLike | None]:
    """(True, delta or None at the end), or (False, None) if nothing came in time."""
    arrival = asyncio.ensure_future(ticket.next())
    try:
        await asyncio.wait({arrival, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if arrival.done():
            return True, arrival.result()
        if gone.done():
            raise ApiError(499, "The client went away before its answer began.")
        return False, None
    finally:
        if not arrival.done():
            arrival.cancel()


class TicketStream(StreamingResponse):
    """An event stream whose ticket is cancelled on every way out: finished, failed, or the client gone."""

    def __init__(self, content: AsyncIterator[bytes], ticket: Ticket) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self.ticket = ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.ticket.cancel()


async def stream(
    request: Request,
    ticket: Ticket,
    *,
    pieces: Callable[[DeltaLike, Tally], Iterable[bytes]],
    tail: Callable[[Tally], Iterable[bytes]],
    failed: Callable[[dict[str, Any]], Iterable[bytes]] = lambda error: [event(error), DONE],
    keepalive_s: float,
) -> TicketStream:
    """Stream a ticket: what `pieces` makes of each delta, then `tail`; an error ends it early, with `failed`."""
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        arrived, first = await _race(ticket, gone, keepalive_s)
    except BaseException:
        ticket.cancel()
        raise
    finally:
        gone.cancel()  # from here on StreamingResponse itself watches for the disconnect

    async def events() -> AsyncIterator[bytes]:
        tally = Tally()
        have, delta = arrived, first
        try:
            while True:
                if not have:
                    yield KEEPALIVE
                elif delta is None:
                    break
                else:
                    tally.add(delta)
                    for piece in pieces(delta, tally):
                        yield piece
                have, delta = await _next_within(ticket, keepalive_s)
        except Exception as error:
            for last in failed(describe(error)[1]):
                yield last
            return
        for last in tail(tally):
            yield last

    return TicketStream(events(), ticket)


async def _next_within(ticket: Ticket, timeout_s: float) -> tuple[bool, DeltaLike | None]:
    try:
        async with asyncio.timeout(timeout_s):  # makes no task, as `wait_for` would for every token
            return True, await ticket.next()
    except TimeoutError:
        return False, None


async def gather(request: Request, tickets: Sequence[Ticket]) -> list[Tally]:
    """Whole answers at once; cancelled if the client hangs up while they are being written."""
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        return [await _whole(ticket, gone) for ticket in tickets]
    finally:
        gone.cancel()
        for ticket in tickets:
            ticket.cancel()


async def _whole(ticket: Ticket, gone: asyncio.Task[None]) -> Tally:
    tally = Tally()
    while True:
        have, delta = await _race(ticket, gone, 3600.0)
        if not have:
            continue
        if delta is None:
            return tally
        tally.add(delta)
