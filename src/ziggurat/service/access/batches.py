"""Embeddings and scores: many texts through one model, in batches of similar length, between two steps of its answers.

Their tokens count like those of prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from fastapi import Request

from ziggurat.service.access.admission import Reservation, leave_room
from ziggurat.service.http.problems import ApiError
from ziggurat.service.models.worker import ModelWorker
from ziggurat.service.observe.visits import visit_of

R = TypeVar("R")
MAX_TOGETHER = 16
"""Texts in one batch."""
TOKENS_TOGETHER = 2_048
"""Tokens in one batch, padding included; a longer text is a batch of its own. The model's streams wait for it."""


async def in_batches(
    request: Request,
    worker: ModelWorker[Any],
    rows: Sequence[Sequence[int]],
    compute: Callable[[Sequence[Sequence[int]]], Sequence[R]],
) -> list[R]:
    """`compute` of every row, in the order of `rows`.

    Raises:
        ApiError: 429 as in `admit`; 499 if the client disconnects between two batches.
        BusyError: the queue is full.
    """
    from ziggurat.model.padding import by_length  # imports torch, which the model has imported by now

    owner = leave_room(request, worker, 1)
    reserved = Reservation(request, sum(map(len, rows)))
    done: dict[int, R] = {}
    try:
        for chosen in by_length([len(row) for row in rows], TOKENS_TOGETHER, rows=MAX_TOGETHER):
            if done and await request.is_disconnected():
                raise ApiError(499, "The client disconnected before all of its texts were computed.")
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
