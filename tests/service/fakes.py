"""Models without weights: they speak the same interface as `dialogue.chat.Chat` and say what a test wants to hear."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ziggurat.engine.params import SamplingParams
from ziggurat.records import Message


@dataclass(frozen=True)
class FakeUsage:
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class FakeDelta:
    text: str
    finish: str | None = None
    usage: FakeUsage | None = None


Answer = Callable[[Sequence[Message], SamplingParams], list[str]]


class FakeChat:
    """Streams the pieces that `answer` returns, `delay_s` apart; remembers requests; `gate` holds each piece back."""

    def __init__(self, answer: Answer, *, is_base: bool = False, delay_s: float = 0.0) -> None:
        self.answer, self.is_base, self.delay_s = answer, is_base, delay_s
        self.requests: list[tuple[list[Message], SamplingParams]] = []
        self.gate: threading.Semaphore | None = None
        self.closed = 0
        self.context_messages = 1_000
        self.stops: list[str] = []
        self.told = 0

    def fit(self, messages: Sequence[Message], reserve: int) -> tuple[list[Message], int]:
        """Keeps the last `context_messages` messages."""
        kept = list(messages)[-self.context_messages :]
        return kept, len(messages) - len(kept)

    def stream(
        self, messages: Sequence[Message], params: SamplingParams, *, stop: Sequence[str] = ()
    ) -> Iterator[FakeDelta]:
        self.stops = list(stop)
        self.requests.append((list(messages), params))
        pieces = self.answer(messages, params)
        kept = pieces[: params.max_tokens]
        prompt = sum(len(message.content.split()) for message in messages)
        try:
            for piece in kept:
                if self.gate is not None:
                    self.gate.acquire(timeout=20)
                time.sleep(self.delay_s)
                self.told += 1
                yield FakeDelta(piece)
            finish = "length" if len(kept) < len(pieces) else "stop"
            yield FakeDelta("", finish, FakeUsage(prompt, len(kept)))
        finally:
            self.closed += 1


def echo(messages: Sequence[Message], _: SamplingParams) -> list[str]:
    """Says how many messages it was given and repeats the last one, word by word."""
    words = messages[-1].content.split(" ")
    return [f"[{len(messages)}] ", *(word + " " for word in words[:-1]), words[-1]]


def saying(*pieces: str) -> Answer:
    return lambda _messages, _params: list(pieces)


def failing(error: Exception, after: int = 0) -> Answer:
    """Raises `error` before anything is said, or after `after` pieces."""

    def answer(_messages: Sequence[Message], _params: SamplingParams) -> list[str]:
        if not after:
            raise error
        return _Breaking([f"piece {i} " for i in range(after)], error)

    return answer


class _Breaking(list[str]):
    """A list that raises when it has been walked through."""

    def __init__(self, pieces: list[str], error: Exception) -> None:
        super().__init__(pieces)
        self.error = error

    def __getitem__(self, key: object) -> _Breaking:  # type: ignore[override]
        return self

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        raise self.error


def wait_until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for a fact, not for a time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"did not come true within {within_s} s"
        time.sleep(0.01)
