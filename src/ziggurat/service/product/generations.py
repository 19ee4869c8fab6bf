"""Answers that belong to the server, not to the tab that asked for them.

A generation is a task of the event loop. It writes what the guard lets through into a log in memory, whose entries have
numbers; any number of readers follow the log from any number on, so a page that is loaded again goes on where it was.
The store gets the text every FLUSH_S, and the finished message once. When the process dies, the next start marks the
message `interrupted` with the text of the last flush.

    begin() ── pieces ──> log ──> readers            stop(seen_chars): what was seen is kept, the rest never existed
                 └── every FLUSH_S ──> store
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ziggurat.product.calls import as_text, with_calls
from ziggurat.safety.guard import Decision
from ziggurat.service.http.problems import describe
from ziggurat.service.product.answering import End, Piece

FLUSH_S = 0.5
"""The text of so many seconds is lost when the process is killed. A flush is one transaction."""
KEPT_S = 60.0
"""How long the log of an ended generation can still be followed; later readers get the message from the store."""


class Watch(Protocol):
    """The guard's view of one answer."""

    def feed(self, text: str) -> str:
        """The text that may be shown now."""

    def end(self) -> str:
        """The rest."""

    def judge_calls(self, text: str) -> None:
        """Tool calls after the answer, as text; whatever is decided about them ends the answer."""

    decision: Decision | None
    """What ended or replaced the answer; None if nothing did."""

    @property
    def replacement(self) -> str:
        """What is shown after what has been shown, where the guard acts."""

    def counts(self) -> list[tuple[str, str]]: ...


class Watches:
    """The guard's views of an answer with its tool calls and of the reasoning before it; what one decides ends both."""

    def __init__(self, answer: Watch, reasoning: Watch) -> None:
        self.answer, self.reasoning = answer, reasoning

    def feed(self, text: str, reasoning: str) -> tuple[str, str]:
        """What may be shown now of both."""
        thought = self.reasoning.feed(reasoning) if reasoning else ""
        if text and self.decision is None:
            thought += self.reasoning.end()  # an answer begins: the reasoning is whole
            return (self.answer.feed(text) if self.decision is None else ""), thought
        return "", thought

    def end(self) -> tuple[str, str]:
        """The rest of both."""
        thought = self.reasoning.end()
        return (self.answer.end() if self.decision is None else ""), thought

    def judge_calls(self, calls: Sequence[dict[str, Any]]) -> None:
        """Tool calls are shown when they are complete; until then nothing of them is."""
        if calls and self.decision is None:
            self.answer.judge_calls(as_text(calls))

    @property
    def decision(self) -> Decision | None:
        return self.reasoning.decision or self.answer.decision

    @property
    def replacement(self) -> str:
        return self.reasoning.replacement or self.answer.replacement

    def counts(self) -> list[tuple[str, str]]:
        """(layer, action) of what the guard did about the answer, for the metrics."""
        return [*self.reasoning.counts(), *self.answer.counts()]


class Keeper(Protocol):
    """Where an answer is kept; each call is one transaction, on a worker thread."""

    async def append(self, events: Sequence[dict[str, Any]]) -> bool:
        """Store what was written since the last time; False: an administrator has ended the answer."""

    async def finish(self, outcome: Outcome) -> dict[str, Any]:
        """Store the end; returns the last event's `message` and `chat`."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an answer ended."""

    state: Literal["complete", "stopped", "interrupted", "failed", "held"]
    text: str
    reasoning: str
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    guard: dict[str, Any] | None = None


@dataclass(eq=False)
class Generation:
    """One answer that is being written."""

    id: str
    chat_id: str
    message_id: str
    person_id: str
    model: str
    asked: float = field(default_factory=time.perf_counter)
    """When the request for it arrived."""
    first_text_ms: float | None = None
    """From then to the first text that was shown."""
    text: str = ""
    reasoning: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    ending: asyncio.Task[None] | None = None  # stores the end; nothing cancels it
    seen_chars: int | None = None  # set by stop
    saved: int = 0  # events that the store has

    def log(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.changed.set()
        self.changed = asyncio.Event()

    def unsaved(self) -> list[dict[str, Any]]:
        """The events since the last call, neighbours of one kind joined."""
        fresh, self.saved = self.events[self.saved :], len(self.events)
        joined: list[dict[str, Any]] = []
        for event in fresh:
            if joined and event["type"] == joined[-1]["type"] in ("text", "reasoning"):
                joined[-1] = {**event, "text": joined[-1]["text"] + event["text"]}
            else:
                joined.append(event)
        return joined

    async def follow(
        self, after: int, keepalive_s: float
    ) -> AsyncIterator[tuple[int, dict[str, Any]] | None]:
        """(number, event) for each event after number `after`; None after each silent `keepalive_s`.

        A reader from the beginning gets all text so far in one event. Numbers start at 1.
        """
        if after <= 0 and (so_far := self._so_far()):
            after = len(self.events)
            for event in so_far:
                yield after, event
        while True:
            changed = self.changed
            while after < len(self.events):
                after += 1
                yield after, self.events[after - 1]
            if self.ended:
                return
            try:
                await asyncio.wait_for(changed.wait(), keepalive_s)
            except TimeoutError:
                yield None

    def _so_far(self) -> list[dict[str, Any]]:
        """The events until now in as few as possible: joined text, then what is no text."""
        joined = [
            {"type": kind, "text": text}
            for kind, text in (("reasoning", self.reasoning), ("text", self.text))
            if text
        ]
        return [*joined, *(event for event in self.events if event["type"] not in ("text", "reasoning"))]


class Generations:
    """All generations of this process, by id."""

    def __init__(self) -> None:
        self._all: dict[str, Generation] = {}

    def find(self, generation_id: str) -> Generation | None:
        return self._all.get(generation_id)

    def running(self, person_id: str | None = None) -> list[Generation]:
        return [g for g in self._all.values() if not g.ended and person_id in (None, g.person_id)]

    def begin(
        self,
        generation: Generation,
        pieces: Callable[[], AsyncGenerator[Piece | End]],
        watches: Watches,
        keeper: Keeper,
        *,
        before: str = "",
    ) -> Generation:
        """Start to write. `before`: the text of a message that is being continued."""
        self._all[generation.id] = generation
        generation.text = before
        generation.task = asyncio.create_task(self._write(generation, pieces, watches, keeper))
        return generation

    async def stop(self, generation: Generation, seen_chars: int | None) -> bool:
        """End it, keep what was seen, and wait until that is stored. False: it had come to its end before."""
        came_to_its_end = generation.ending is not None
        if not came_to_its_end and generation.task is not None:
            generation.seen_chars = len(generation.text) if seen_chars is None else max(0, seen_chars)
            generation.task.cancel()
            await asyncio.wait({generation.task})
        if generation.ending is not None:
            await asyncio.wait({generation.ending})
        return not came_to_its_end

    async def close(self) -> None:
        """End all; each is stored as far as it came."""
        for generation in self.running():
            if generation.task is not None:
                generation.task.cancel()
        tasks = {g.task for g in self._all.values() if g.task is not None and not g.task.done()}
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)

    async def _write(
        self,
        generation: Generation,
        pieces: Callable[[], AsyncGenerator[Piece | End]],
        watches: Watches,
        keeper: Keeper,
    ) -> None:
        try:
            outcome = await self._pass_on(generation, pieces(), watches, keeper)
        except asyncio.CancelledError:
            outcome = _stopped(generation)
        except Exception as error:
            body = describe(error)[1]["error"]
            outcome = Outcome(
                state="failed", text=generation.text, reasoning=generation.reasoning, error=body
            )
        generation.ending = asyncio.create_task(self._end(generation, keeper, outcome))
        await asyncio.shield(generation.ending)

    async def _pass_on(
        self,
        generation: Generation,
        pieces: AsyncGenerator[Piece | End],
        watches: Watches,
        keeper: Keeper,
    ) -> Outcome:
        end, flushed, written = End("stop"), time.monotonic(), generation.text
        async with contextlib.aclosing(pieces) as writing:
            async for piece in writing:
                if isinstance(piece, End):
                    end = piece
                    break
                written += piece.text
                _show(generation, *watches.feed(piece.text, piece.reasoning))
                if watches.decision is not None and watches.decision.action != "hold":
                    break
                if time.monotonic() - flushed >= FLUSH_S:
                    if not await keeper.append(generation.unsaved()):
                        return _interrupted(generation)
                    flushed = time.monotonic()
        if watches.decision is None:
            _show(generation, *watches.end())
        watches.judge_calls(end.tool_calls)
        return _finished(generation, end, watches, written)

    async def _end(self, generation: Generation, keeper: Keeper, outcome: Outcome) -> None:
        try:
            kept = await keeper.finish(outcome)
        except Exception as error:
            kept = {}
            outcome = Outcome(state="failed", text="", reasoning="", error=describe(error)[1]["error"])
        if outcome.error is not None:
            generation.log({"type": "error", "error": outcome.error, **kept})
        else:
            generation.log({"type": "done", **kept})
        generation.ended = True
        generation.changed.set()
        asyncio.get_running_loop().call_later(KEPT_S, self._all.pop, generation.id, None)


def _show(generation: Generation, text: str, reasoning: str) -> None:
    if reasoning:
        generation.reasoning += reasoning
        generation.log({"type": "reasoning", "text": reasoning})
    if text:
        if generation.first_text_ms is None:
            generation.first_text_ms = round((time.perf_counter() - generation.asked) * 1000, 1)
        generation.text += text
        generation.log({"type": "text", "text": text})


def _finished(generation: Generation, end: End, watches: Watches, written: str) -> Outcome:
    """`written`: all that the model wrote; a held answer waits for a person as a whole."""
    decision = watches.decision
    if decision is None:
        return Outcome(
            state="complete",
            text=generation.text,
            reasoning=generation.reasoning,
            finish_reason=end.finish_reason,
            usage=end.usage,
            tool_calls=end.tool_calls,
        )
    record, filtered = decision.record(), "content_filter"
    if decision.action == "hold":
        generation.log({"type": "held", "text": decision.text or ""})
        whole = with_calls(written, end.tool_calls)
        return Outcome(
            state="held", text=whole, reasoning="", finish_reason=filtered, usage=end.usage, guard=record
        )
    generation.text += watches.replacement
    generation.log({"type": "replaced", "text": generation.text})
    return Outcome(
        state="complete",
        text=generation.text,
        reasoning="",
        finish_reason=filtered,
        usage=end.usage,
        guard=record,
    )


def _interrupted(generation: Generation) -> Outcome:
    """By an administrator, or by the shutdown of the server: what there is is kept."""
    return Outcome(state="interrupted", text=generation.text, reasoning=generation.reasoning)


def _stopped(generation: Generation) -> Outcome:
    """By its reader: exactly what was seen is kept."""
    if generation.seen_chars is None:
        return _interrupted(generation)
    generation.text = generation.text[: generation.seen_chars]
    return Outcome(state="stopped", text=generation.text, reasoning=generation.reasoning)
