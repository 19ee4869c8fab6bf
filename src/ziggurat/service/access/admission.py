"""Lets requests into a model's queue, within what their caller may use.

Tokens are reserved when a request begins (its prompt, and the longest answer that it allows) and settled when it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Request

from ziggurat.service.access.caller import Caller, caller
from ziggurat.service.access.keys import Quota
from ziggurat.service.http.problems import RETRY_AFTER_S, ApiError
from ziggurat.service.models.shelf import Served
from ziggurat.service.models.tickets import Ticket
from ziggurat.service.models.worker import ModelWorker
from ziggurat.service.observe.visits import Visit, visit_of

if TYPE_CHECKING:
    from ziggurat.dialogue import desk


def admit(request: Request, served: Served, prepared: Sequence[desk.Request]) -> list[Ticket]:
    """Put requests into a model's queue.

    Raises:
        ApiError: 429 if the caller has too much in the queue, too few tokens left, or too many requests running.
        BusyError: the queue is full, or the model takes no request.
    """
    owner = leave_room(request, served.worker, sum(p.params.n for p in prepared))
    context = served.worker.chat.context
    most = [len(p.ids) + p.params.n * min(p.params.max_tokens, context - len(p.ids)) for p in prepared]
    served.worker.check_room(len(prepared))
    reserved = Reservation(request, sum(most))
    tickets: list[Ticket] = []
    used: list[int] = []

    def ended(tokens: int) -> None:
        used.append(tokens)
        if len(used) == len(prepared):
            reserved.settle(sum(used))
            if begun := [ticket for ticket in tickets if ticket.handle is not None]:
                read = sum(len(ticket.request.ids) for ticket in begun)
                visit_of(request.scope).count(prompt=read, written=sum(ticket.tokens for ticket in begun))

    try:
        for one in prepared:
            tickets.append(served.worker.submit(one, owner, checked=True))
            tickets[-1].on_end = ended
    except BaseException:
        for ticket in tickets:
            ticket.cancel()
        for _ in range(len(prepared) - len(tickets)):
            ended(0)
        raise
    return tickets


def leave_room(request: Request, worker: ModelWorker[Any], answers: int) -> str:
    """The caller's id, after a check of its share of the queue. A caller with nothing in the queue always passes.

    Raises:
        ApiError: 403 if its key is for other models, 429 if so many more completions are too many for it.
    """
    asking = caller(request)
    must_be_allowed(asking, worker.name)
    waiting, most = worker.waiting_of(asking.id) if asking.id else 0, worker.max_waiting_each
    if waiting and waiting + answers > most:
        visit_of(request.scope).over_limit = "waiting"
        message = (
            f"This {'address' if asking.quota is None else 'key'} has {waiting} of at most {most} answers waiting for "
            f"{worker.name}, and this request asks for {answers}; send it again when some have begun."
        )
        raise ApiError(429, message, code="rate_limit_exceeded", retry_after_s=RETRY_AFTER_S)
    return asking.id


def must_be_allowed(asking: Caller, model: str) -> None:
    """
    Raises:
        ApiError: 403 if the caller's key is for other models.
    """
    models = None if asking.quota is None else asking.quota.models
    if models is not None and model not in models:
        message = f"This key may not ask {model}; it is for {', '.join(sorted(models))}."
        raise ApiError(403, message, param="model", code="model_not_allowed")


def too_many(what: str, limit: int, wait_s: float) -> ApiError:
    message = f"This key may use {limit:,} {what} a minute; try again in {wait_s:.0f} s."
    return ApiError(429, message, code="rate_limit_exceeded", retry_after_s=max(1, int(wait_s + 0.999)))


class Reservation:
    """Tokens of a key's minute and one of its running requests, until `settle`. Without keys it does nothing.

    Raises:
        ApiError: 429 if the key has too few tokens left, or too many requests running.
    """

    def __init__(self, request: Request, tokens: int) -> None:
        self._quota, self._tokens = caller(request).quota, tokens
        if self._quota is not None:
            _reserve(visit_of(request.scope), self._quota, tokens)

    def settle(self, used: int) -> None:
        """Return what was not used, or take what was used beyond; the second call does nothing."""
        quota, self._quota = self._quota, None
        if quota is not None:
            quota.tokens.take(used - self._tokens)
            quota.running -= 1


def _reserve(visit: Visit, quota: Quota, tokens: int) -> None:
    if quota.running >= quota.key.concurrent:
        visit.over_limit = "concurrent"
        message = f"This key may have {quota.key.concurrent} requests answered at once; wait for one to end."
        raise ApiError(429, message, code="rate_limit_exceeded", retry_after_s=1)
    wait_s = quota.tokens.seconds_until(tokens)
    if wait_s > 0:
        visit.over_limit = "tokens"
        raise too_many("tokens", quota.key.tokens_per_minute, wait_s)
    quota.tokens.take(tokens)
    quota.running += 1
