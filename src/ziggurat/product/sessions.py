"""Log in, cookies, log out. The store keeps hashes of cookies only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def log_in(
    store: Store, *, email: str, password: str, ip_prefix: str = "", user_agent: str = ""
) -> tuple[Person, str, str]:
    """The person, the cookie's secret and the CSRF token. Throttled: TooMany."""
    raise NotImplementedError


def principal_of(
    store: Store, cookie: str, *, ip_prefix: str = "", request_id: str = ""
) -> tuple[Principal, str | None] | None:
    """Who a cookie is, and a new secret when it was rotated; None: not logged in."""
    raise NotImplementedError


def csrf_of(store: Store, principal: Principal) -> str:
    """The CSRF token of this session."""
    raise NotImplementedError


def check_csrf(store: Store, principal: Principal, token: str | None) -> None:
    """Raise Forbidden (code csrf) unless it is this session's."""
    raise NotImplementedError


def log_out(store: Store, principal: Principal) -> None:
    """End this session."""
    raise NotImplementedError


def list_sessions(store: Store, principal: Principal) -> list[LoginSession]:
    """Mine."""
    raise NotImplementedError


def end_session(store: Store, principal: Principal, session_id: str) -> None:
    """End one of mine."""
    raise NotImplementedError


def change_password(store: Store, principal: Principal, *, old: str, new: str) -> None:
    """Ends all my other sessions."""
    raise NotImplementedError
