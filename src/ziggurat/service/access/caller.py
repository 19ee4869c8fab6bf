"""Who sends a request. `caller` is the only function that reads it: handlers see neither keys nor addresses."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from ziggurat.service.access.guard import is_loopback
from ziggurat.service.access.keys import Quota
from ziggurat.service.http.problems import ApiError
from ziggurat.service.observe.visits import visit_of


@dataclass(frozen=True)
class Caller:
    """Whoever sends a request: a key, a person at the page, or an address on a server without keys."""

    id: str
    """Takes turns with other ids in a model's queue. "" for this machine, where the users of a proxy look alike."""
    salt: str
    """Separates cached prompts and stored responses: response times must not tell one key what another has asked."""
    admin: bool
    """May change what is served. Without keys: requests from this machine."""
    quota: Quota | None
    """What the key has used; None on a server without keys."""


def caller(request: Request) -> Caller:
    """The caller of a request that `KeyCheck` has let pass."""
    quota: Quota | None = getattr(request.state, "quota", None)
    if quota is not None:
        return Caller(quota.key.sha256, quota.key.sha256, quota.key.admin, quota)
    person: str | None = getattr(request.state, "person_id", None)
    if person is not None:
        return Caller(person, person, False, None)
    host = "" if request.client is None else request.client.host
    local = is_loopback(host)
    return Caller("" if local else host, "", local, None)


def must_be_admin(request: Request) -> None:
    """
    Raises:
        ApiError: 403 if the caller is not an admin.
    """
    if not caller(request).admin:
        visit_of(request.scope).auth_failure = "not_admin"
        message = (
            "Only admins may do this: use a key made with `ziggurat key new NAME --admin`, or, on a server without "
            "keys, send the request from the machine itself."
        )
        raise ApiError(403, message, code="admin_only")
