"""The gate: with a keyring every request but a few needs a key, and keeps within that key's limits.

Open to all are the page, health, readiness and the version; what they tell is no secret. The rest answers 401 without a
key and 429 when a minute's requests, tokens or answers at once are used up. Tokens are known only when the prompt is
read, so the endpoints call `admit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ziggurat.service.access.guard import is_loopback
from ziggurat.service.access.keys import Account, Keyring
from ziggurat.service.http.problems import RETRY_AFTER_S, ApiError, error_body, response_for
from ziggurat.service.models.protocols import RequestLike
from ziggurat.service.models.shelf import Served
from ziggurat.service.models.tickets import Ticket
from ziggurat.service.models.worker import ModelWorker
from ziggurat.service.observe.visits import visit_of

OPEN = frozenset({"/", "/health", "/ready", "/version"})


class Gate:
    """ASGI middleware; puts the account of the key into `request.state.account`."""

    def __init__(self, app: ASGIApp, *, keyring: Keyring | None) -> None:
        self.app, self.keyring = app, keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.keyring is None or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        authorization = Headers(scope=scope).get("authorization", "")
        account = self.keyring.account(authorization)
        if account is None:
            visit_of(scope).auth_failure = "unknown_key" if authorization else "no_key"
            message = "This server needs an API key: send Authorization: Bearer <key>."
            await JSONResponse(error_body(401, message, code="invalid_api_key"), 401)(scope, receive, send)
            return
        scope.setdefault("state", {})["account"] = account
        visit_of(scope).key = account.key.name

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in account.headers().items():
                    headers[name] = value
            await send(message)

        if scope["method"] == "POST":
            wait_s = account.requests.seconds_until(1)
            if wait_s > 0:
                visit_of(scope).over_limit = "requests"
                refusal = too_many("requests", account.key.requests_per_minute, wait_s)
                await response_for(refusal)(scope, receive, send_counted)
                return
            account.requests.take(1)
        await self.app(scope, receive, send_counted)


def too_many(what: str, limit: int, wait_s: float) -> ApiError:
    message = f"This key may use {limit:,} {what} a minute; try again in {wait_s:.0f} s."
    return ApiError(429, message, code="rate_limit_exceeded", retry_after_s=max(1, int(wait_s + 0.999)))


def salt_of(request: Request) -> str:
    """Keys share no cached prompts: how soon an answer comes must not tell one what another has asked."""
    account: Account | None = getattr(request.state, "account", None)
    return "" if account is None else account.key.sha256


def admit(request: Request, served: Served, prepared: Sequence[RequestLike]) -> list[Ticket]:
    """Put requests into a model's line, within what the key has left; what is not used is given back at their end."""
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
    """Whose a request is in the line; 429 if with so many answers more its owner would have too much there.

    Without keys that is its address; "" is this machine itself: whoever asks through a proxy comes from here, and they
    are not told apart. By this rule a request of someone who has nothing in the line is always taken.
    """
    account: Account | None = getattr(request.state, "account", None)
    host = "" if request.client is None or is_loopback(request.client.host) else request.client.host
    owner = host if account is None else account.key.sha256
    waiting, most = worker.waiting_of(owner) if owner else 0, worker.max_waiting_each
    if waiting and waiting + answers > most:
        visit_of(request.scope).over_limit = "waiting"
        message = (
            f"This {'address' if account is None else 'key'} has {waiting} of at most {most} answers waiting for "
            f"{worker.name}, and this request asks for {answers}; send it again when some have begun."
        )
        raise ApiError(429, message, code="rate_limit_exceeded", retry_after_s=RETRY_AFTER_S)
    return owner


class Reservation:
    """So many tokens of a key's minute and one of its requests at once, until it is settled what was used.

    Refused with 429 if the key has them not; nothing at all without keys.
    """

    def __init__(self, request: Request, tokens: int) -> None:
        self._account: Account | None = getattr(request.state, "account", None)
        self._tokens = tokens
        if self._account is not None:
            _reserve(request, self._account, tokens)

    def settle(self, used: int) -> None:
        """Give back what was not used, or take what was used beyond; the second time nothing happens."""
        account, self._account = self._account, None
        if account is not None:
            account.tokens.take(used - self._tokens)
            account.running -= 1


def must_be_admin(request: Request) -> None:
    """403 unless the key is an admin's; on a server without keys, unless the request comes from this machine."""
    account: Account | None = getattr(request.state, "account", None)
    if account is not None:
        allowed = account.key.admin
    else:
        allowed = request.client is not None and is_loopback(request.client.host)
    if not allowed:
        visit_of(request.scope).auth_failure = "not_admin"
        message = (
            "This is for admins: use a key made with `ziggurat key new NAME --admin`, "
            "or, where there are no keys, ask from the machine itself."
        )
        raise ApiError(403, message, code="admin_only")


def _reserve(request: Request, account: Account, tokens: int) -> None:
    """429 if the key has not so many tokens left, or too many of its requests are being answered."""
    if account.running >= account.key.concurrent:
        visit_of(request.scope).over_limit = "concurrent"
        raise ApiError(
            429,
            f"This key may have {account.key.concurrent} requests answered at once; wait for one to end.",
            code="rate_limit_exceeded",
            retry_after_s=1,
        )
    wait_s = account.tokens.seconds_until(tokens)
    if wait_s > 0:
        visit_of(request.scope).over_limit = "tokens"
        raise too_many("tokens", account.key.tokens_per_minute, wait_s)
    account.tokens.take(tokens)
    account.running += 1
