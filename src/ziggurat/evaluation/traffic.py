"""Requests over HTTP, and when each token of their answers arrived.

    closed loop     so many clients, each asks again as soon as it is answered: finds the saturation
    open loop       requests come when they come (a Poisson process): finds what a visitor waits

An open loop counts from when a request was due, not from when the generator got round to sending it, so that a slow
server cannot slow down its own examination. A token arrives with the event that brings it: the guard before a stream
may hold some back and send several at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from ziggurat.errors import ZigguratError

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Wish:
    """A prompt, and how many tokens to write: neither more nor less."""

    prompt: Sequence[int]
    tokens: int


@dataclass
class Answer:
    """When a request was due, and when each token of its answer came; seconds on one monotonic clock."""

    due_s: float
    pieces_s: list[float] = field(default_factory=list)
    tokens: int = 0

    @property
    def first_s(self) -> float:
        return self.pieces_s[0] - self.due_s

    @property
    def gaps_s(self) -> list[float]:
        return [float(gap) for gap in np.diff(self.pieces_s)]


def wishes(
    n: int, vocab_size: int, prompt: tuple[int, int], answer: tuple[int, int], seed: int = 0
) -> list[Wish]:
    """`n` requests with uniform lengths from `prompt` and `answer` (both ends included); the same for one seed."""
    rng = np.random.default_rng(seed)
    return [
        Wish(rng.integers(vocab_size, size=rng.integers(prompt[0], prompt[1] + 1)).tolist(), int(tokens))
        for tokens in rng.integers(answer[0], answer[1] + 1, size=n)
    ]


def connection(address: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=address, timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=None), trust_env=False
    )


async def ask(
    client: httpx.AsyncClient,
    model: str,
    wish: Wish,
    *,
    due_s: float | None = None,
    on_piece: Callable[[Answer], None] = lambda _: None,
) -> Answer:
    """Stream one completion of exactly `wish.tokens` tokens; `on_piece` is called for every token."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": list(wish.prompt),
        "max_tokens": wish.tokens,
        "min_tokens": wish.tokens,
        "temperature": 0,
        "logprobs": 0,  # so that an event names its tokens, also one that is half a character
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = Answer(time.perf_counter() if due_s is None else due_s)
    async with client.stream("POST", "/v1/completions", json=body) as response:
        if response.status_code != 200:
            said = (await response.aread()).decode(errors="replace")
            raise ZigguratError(f"the server answered {response.status_code}: {said[:500]}")
        rest = b""
        async for chunk in response.aiter_raw():
            now = time.perf_counter()
            *events, rest = (rest + chunk).split(b"\n\n")
            for event in events:
                if b'"choices":[]' in event:
                    answer.tokens = int(event.split(b'"completion_tokens":')[1].split(b",")[0])
                elif event.startswith(b'data: {"error"'):
                    raise ZigguratError(f"the server broke off: {event.decode(errors='replace')[:500]}")
                elif event.startswith(b"data: {"):
                    scores = json.loads(event[6:])["choices"][0]["logprobs"] or {"tokens": []}
                    for _ in scores["tokens"]:
                        answer.pieces_s.append(now)
                        on_piece(answer)
    if answer.tokens != wish.tokens:
        raise ZigguratError(f"{wish.tokens} tokens were asked for and {answer.tokens} came.")
    return answer


async def closed_loop(address: str, model: str, todo: Sequence[Wish], clients: int) -> list[Answer]:
    """`clients` at once, until all of `todo` is answered."""
    waiting = iter(todo)
    answers: list[Answer] = []

    async def one(client: httpx.AsyncClient) -> None:
        for wish in waiting:  # shared: each takes the next
            answers.append(await ask(client, model, wish))

    async with connection(address) as client:
        await asyncio.gather(*(one(client) for _ in range(clients)))
    return answers


async def open_loop(
    address: str, model: str, todo: Sequence[Wish], per_s: float, seed: int = 0
) -> list[Answer]:
    """Poisson arrivals at `per_s` requests per second."""
    gaps = np.random.default_rng(seed).exponential(1 / per_s, size=len(todo))
    async with connection(address) as client:
        t0 = time.perf_counter()

        async def one(wish: Wish, after_s: float) -> Answer:
            await asyncio.sleep(t0 + after_s - time.perf_counter())
            return await ask(client, model, wish, due_s=t0 + after_s)

        return list(await asyncio.gather(*map(one, todo, np.cumsum(gaps).tolist())))


async def intrusion(
    address: str, model: str, others: Sequence[Wish], long: Wish, settled: int = 8
) -> tuple[list[float], list[float], float]:
    """A long prompt arrives while `others` stream.

    Returns the others' gaps before it came, those while it was read, and its own time to the first token. A gap
    belongs to the time in which it ended, or in which the prompt's reading did.
    """
    answers: list[Answer] = []
    ready = asyncio.Event()

    def on_piece(answer: Answer) -> None:
        if len(answer.pieces_s) == 1:
            answers.append(answer)
        if len(answers) == len(others) and min(len(a.pieces_s) for a in answers) >= settled:
            ready.set()

    async with connection(address) as client:
        streams = [asyncio.ensure_future(ask(client, model, wish, on_piece=on_piece)) for wish in others]
        await ready.wait()
        newcomer = await ask(client, model, long)
        await asyncio.gather(*streams)
    began_s, ended_s = newcomer.due_s, newcomer.pieces_s[0]
    before, during = [], []
    for answer in answers:
        for start_s, end_s in zip(answer.pieces_s[1:], answer.pieces_s[2:], strict=False):
            if end_s <= began_s:
                before.append(end_s - start_s)
            elif start_s < ended_s:
                during.append(end_s - start_s)
    return before, during, newcomer.first_s
