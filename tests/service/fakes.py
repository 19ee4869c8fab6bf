"""Models without weights: they speak the same interface as `dialogue.chat.Chat` and say what a test wants to hear."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from ziggurat.engine.params import SamplingParams
from ziggurat.records import Message


@dataclass(frozen=True)
class FakeUsage:
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class FakeToken:
    id: int
    logprob: float = -0.5
    top: tuple[tuple[int, float], ...] = ()
    start: int = 0


@dataclass(frozen=True)
class FakeDelta:
    text: str
    finish: str | None = None
    usage: FakeUsage | None = None
    choice: int = 0
    tokens: tuple[FakeToken, ...] = ()
    prompt: tuple[FakeToken, ...] = ()
    call: int | None = None
    at: int = 0


@dataclass(frozen=True)
class FakeRequest:
    messages: list[Message]
    params: SamplingParams
    stop: Sequence[str]
    dropped: int
    ids: Sequence[int] = ()
    added: int = 0


Answer = Callable[[Sequence[Message], SamplingParams], list[str]]


class FakeChat:
    """Streams the pieces that `answer` returns, `delay_s` apart; remembers requests; `gate` holds each piece back."""

    def __init__(self, answer: Answer, *, is_base: bool = False, delay_s: float = 0.0) -> None:
        self.answer, self.is_base, self.delay_s = answer, is_base, delay_s
        self.requests: list[tuple[list[Message], SamplingParams]] = []
        self.gate: threading.Semaphore | None = None
        self.closed = self.ended = 0
        self.context_messages = 1_000
        self.stops: list[str] = []
        self.told = 0
        self._running: dict[int, Generator[FakeDelta, None, None]] = {}

    def prepare(
        self,
        messages: Sequence[Message],
        params: SamplingParams,
        *,
        stop: Sequence[str] = (),
        fit: bool = False,
        last: int | None = None,
        tools: Sequence[dict[str, Any]] | None = None,
        form: object = None,
        rendering: object = None,
    ) -> FakeRequest:
        """With `fit`, keeps the last `context_messages` messages."""
        kept = list(messages)[-self.context_messages :] if fit else list(messages)
        return FakeRequest(kept, params, stop, len(messages) - len(kept))

    def prepare_raw(
        self,
        prompt: str | Sequence[int],
        params: SamplingParams,
        *,
        stop: Sequence[str] = (),
        last: int | None = None,
        form: object = None,
        add_start: bool = True,
    ) -> FakeRequest:
        text = prompt if isinstance(prompt, str) else self.text_of(prompt)
        ids = self.raw_ids(prompt) if isinstance(prompt, str) else prompt
        return FakeRequest([Message(role="user", content=text)], params, stop, 0, ids)

    uses_tools = False
    context = 1_000

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return [0, *self.raw_ids(messages[-1].content)]

    def text_ids(self, text: str) -> list[int]:
        return self.raw_ids(text)

    def raw_ids(self, text: str, *, add_start: bool = True) -> list[int]:
        return [ord(char) for char in text]

    def text_of(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[int]]:
        return self.text_of(ids), list(range(len(ids)))

    def token_name(self, id: int) -> str:
        return chr(id)

    def token_bytes(self, id: int) -> bytes:
        return chr(id).encode()

    def tokenizer_info(self) -> dict[str, Any]:
        return {"eos_token": "<|endoftext|>"}

    def embed(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        return [[1.0, 0.0] for _ in prompts]

    def desk(self) -> FakeChat:
        return self

    def begin(self, request: FakeRequest) -> int:
        self.stops = list(request.stop)
        self.requests.append((request.messages, request.params))
        self._running[len(self.requests)] = self._answers(request)
        return len(self.requests)

    def step(self) -> list[tuple[int, FakeDelta]]:
        told = []
        for handle, deltas in list(self._running.items()):
            delta = next(deltas)
            told.append((handle, delta))
            if delta.finish is not None:
                self.ended += 1
                self.cancel(handle)
        return told

    def cancel(self, handle: int) -> None:
        if (deltas := self._running.pop(handle, None)) is not None:
            deltas.close()
            self.closed += 1

    def stats(self) -> dict[str, float]:
        return {"cache_usage": 0.0, "prefix_hits": 0.0, "prefix_queries": 0.0, "preempted": 0.0}

    def reset(self) -> None:
        for handle in list(self._running):
            self.cancel(handle)

    def _answers(self, request: FakeRequest) -> Generator[FakeDelta, None, None]:
        pieces = self.answer(request.messages, request.params)
        return self._deltas(request, pieces)

    def _deltas(self, request: FakeRequest, pieces: list[str]) -> Generator[FakeDelta, None, None]:
        kept = pieces[: request.params.max_tokens]
        prompt = sum(len(message.content.split()) for message in request.messages)
        for piece in kept:
            if self.gate is not None:
                self.gate.acquire(timeout=20)
            time.sleep(self.delay_s)
            self.told += 1
            yield FakeDelta(piece)
        finish = "length" if len(kept) < len(pieces) else "stop"
        yield FakeDelta("", finish, FakeUsage(prompt, len(kept)))


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


def wait_until_stopped(chat: FakeChat) -> None:
    """Let a piece through now and then until the model falls silent: that a client left is noticed between two."""
    assert chat.gate is not None
    deadline = time.monotonic() + 10
    while not chat.closed:
        assert time.monotonic() < deadline, "the model goes on talking to nobody"
        chat.gate.release()
        time.sleep(0.05)
    assert (chat.closed, chat.ended) == (1, 0), "it was not stopped: it came to its end"


def told_of(address: str, admin_key: str, model: str = "m") -> dict[str, Any]:
    """What a served model is doing, as its admin hears."""
    headers = {"authorization": f"Bearer {admin_key}"}
    told: dict[str, Any] = httpx.get(f"{address}/admin/health", headers=headers).json()["models"][model]
    return told
