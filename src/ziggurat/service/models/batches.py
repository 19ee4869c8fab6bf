"""Many short texts through one model: some of like length at a time, on its thread, between two steps of its answers.

For what is no generation: embeddings and scores. Their tokens are a key's tokens, and are counted as those of prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from fastapi import Request

from ziggurat.service.access.gate import Reservation, leave_room
from ziggurat.service.http.problems import ApiError
from ziggurat.service.models.worker import ModelWorker
from ziggurat.service.observe.visits import visit_of

R = TypeVar("R")
MAX_TOGETHER = 16
"""Texts of one computation."""
TOKENS_TOGETHER = 2_048
"""Tokens of one computation, padding included, or one longer text alone: the model's streams wait for it."""


async def in_batches(
    request: Request,
    worker: ModelWorker[Any],
    rows: Sequence[Sequence[int]],
    compute: Callable[[Sequence[Sequence[int]]], Sequence[R]],
) -> list[R]:
    """`compute` of every row, in the order of `rows`; given up when the client goes away.

    Raises ApiError 429 if the key has not so many tokens left or too much in the line, BusyError if too many wait.
    """
    owner = leave_room(request, worker, 1)
    reserved = Reservation(request, sum(map(len, rows)))
    done: dict[int, R] = {}
    try:
        for chosen in groups([len(row) for row in rows]):
            if done and await request.is_disconnected():
                raise ApiError(499, "The client went away before all of its texts were computed.")
            some = [rows[i] for i in chosen]
            compute_some: Callable[[], Sequence[R]] = partial(compute, some)
            made = await worker.call(compute_some, owner=owner, begun=bool(done))
            done.update(zip(chosen, made, strict=True))
    finally:
        tokens = sum(len(rows[i]) for i in done)
        reserved.settle(tokens)
        visit_of(request.scope).count(prompt=tokens, written=0)
        if worker.watcher is not None:
            worker.watcher.count(worker.name, prompt=tokens, written=0)
    return [done[i] for i in range(len(rows))]


def groups(lengths: Sequence[int]) -> list[list[int]]:
    """Which texts are computed together, longest first."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    made: list[list[int]] = []
    for i in order:
        together = len(made[-1]) + 1 if made else 0
        if 0 < together <= MAX_TOGETHER and lengths[made[-1][0]] * together <= TOKENS_TOGETHER:
            made[-1].append(i)
        else:
            made.append([i])
    return made
