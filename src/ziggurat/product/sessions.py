"""Log in, cookies, log out.

A cookie is 256 random bits; the store keeps its hash. It ends after 7 days without use and after 30 days at the latest,
and it is exchanged once a day; the one before stays valid for a minute, for requests that were on their way.
"""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ziggurat.product.common import clean_json, record
from ziggurat.product.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from ziggurat.product.objects import LoginSession, Person
from ziggurat.product.passwords import fits, hash_password, outdated
from ziggurat.product.people import normal_email, person_of
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.product.throttle import begin_attempt, succeeded
from ziggurat.product.tokens import new_token, token_hash
from ziggurat.store.clock import DAY, SECOND, iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.people import memberships, passwords, people, sessions

IDLE_US, ABSOLUTE_US = 7 * DAY, 30 * DAY
ROTATE_US, GRACE_US, SEEN_US = DAY, 60 * SECOND, 300 * SECOND
RECENT_US = 1_800 * SECOND
"""How long a login counts as recent, for what cannot be undone."""
WRONG = "this address and this password do not belong together; try again."


def log_in(
    store: Store, *, email: str, password: str, ip_prefix: str = "", user_agent: str = ""
) -> tuple[Person, str, str]:
    """The person, the cookie's secret and the CSRF token of a new session.

    Raises:
        Unauthorized: wrong; the same sentence and time for an unknown address.
        TooMany: too many failures before.
    """
    try:
        norm = normal_email(email)
    except Invalid:
        norm = ""
    with store.write() as conn:
        attempt = begin_attempt(conn, store, account=norm, ip_prefix=ip_prefix)
        found = _account(conn, norm)
    right = fits(found.phc if found else None, password)
    if not right or found is None or found.status != "active":
        with store.write() as conn:
            actor = found.person_id if found else None
            workspace = found.workspace_id if found else None
            record(
                conn, store, None, "login.failed", actor_id=actor, workspace_id=workspace, ip_prefix=ip_prefix
            )
        raise Unauthorized(WRONG, code="wrong_login")
    better = hash_password(password) if outdated(found.phc) else None
    with store.write() as conn:
        succeeded(conn, attempt, norm)
        if better:
            conn.execute(update(passwords).where(passwords.c.person_id == found.person_id).values(phc=better))
        cookie, csrf = begin_session(
            conn, store, found.workspace_id, found.person_id, ip_prefix=ip_prefix, user_agent=user_agent
        )
        return person_of(conn, found.workspace_id, found.person_id), cookie, csrf


def _account(conn: Connection, norm: str) -> Any:
    return conn.execute(
        select(people.c.id.label("person_id"), people.c.status, passwords.c.phc, memberships.c.workspace_id)
        .join(passwords, passwords.c.person_id == people.c.id)
        .join(memberships, memberships.c.person_id == people.c.id)
        .where(people.c.email_norm == norm)
    ).first()


def begin_session(
    conn: Connection, store: Store, workspace_id: str, person_id: str, *, ip_prefix: str, user_agent: str
) -> tuple[str, str]:
    """The cookie's secret and the CSRF token of a new session of somebody whose identity is proven."""
    now, cookie, csrf = store.now(), new_token(), new_token()
    row = {
        "id": new_id("session"),
        "workspace_id": workspace_id,
        "person_id": person_id,
        "token_hash": token_hash(cookie),
        "rotated_at": now,
        "csrf": csrf,
        "last_seen_at": now,
        "expires_at": now + ABSOLUTE_US,
        "logged_in_at": now,
        "ip_prefix": ip_prefix,
        "user_agent": clean_json(user_agent[:300]),
        "created_at": now,
    }
    conn.execute(insert(sessions).values(row))
    record(conn, store, None, "login", actor_id=person_id, workspace_id=workspace_id, ip_prefix=ip_prefix)
    return cookie, csrf


def principal_of(
    store: Store, cookie: str, *, ip_prefix: str = "", request_id: str = ""
) -> tuple[Principal, str | None] | None:
    """Who a cookie is, and a new secret for it when it was exchanged just now; None: not logged in."""
    given, now = token_hash(cookie), store.now()
    with store.read() as conn:
        row = _session(conn, given, now)
    if row is None:
        return None
    fresh = None
    if row.token_hash == given and now - row.rotated_at > ROTATE_US:
        fresh = _rotate(store, row, given)
    elif now - row.last_seen_at > SEEN_US:
        with store.write(durable=False) as conn:
            conn.execute(update(sessions).where(sessions.c.id == row.id).values(last_seen_at=now))
    principal = Principal(
        workspace_id=row.workspace_id,
        person_id=row.person_id,
        role=row.role,
        via="session",
        session_id=row.id,
        ip_prefix=ip_prefix,
        request_id=request_id,
        csrf=row.csrf,
    )
    return principal, fresh


def _session(conn: Connection, given: str, now: int) -> Any:
    live = select(sessions, memberships.c.role).where(
        sessions.c.last_seen_at > now - IDLE_US,
        sessions.c.expires_at > now,
        people.c.id == sessions.c.person_id,
        people.c.status == "active",
        memberships.c.person_id == sessions.c.person_id,
        memberships.c.workspace_id == sessions.c.workspace_id,
    )
    row = conn.execute(live.where(sessions.c.token_hash == given)).first()
    if row is not None:
        return row
    return conn.execute(
        live.where(sessions.c.previous_hash == given, sessions.c.rotated_at > now - GRACE_US)
    ).first()


def _rotate(store: Store, row: Any, given: str) -> str | None:
    """A new secret; None when another request was quicker."""
    fresh, now = new_token(), store.now()
    with store.write() as conn:
        changed = conn.execute(
            update(sessions)
            .where(sessions.c.id == row.id, sessions.c.token_hash == given)
            .values(token_hash=token_hash(fresh), previous_hash=given, rotated_at=now, last_seen_at=now)
        )
        return fresh if changed.rowcount else None


def check_csrf(principal: Principal, token: str | None) -> None:
    """Raise Forbidden (code csrf) unless it is this session's; only a cookie needs one."""
    if principal.via != "session":
        return
    given = (token or "").encode("utf-8", "replace")
    if not principal.csrf or not secrets.compare_digest(principal.csrf.encode(), given):
        raise Forbidden("the header x-csrf-token is missing or old; load the page again.", code="csrf")


def require_recent_login(store: Store, principal: Principal) -> None:
    """Raise Forbidden (code login_again) where the login of this session is older than half an hour."""
    if principal.via != "session":
        return
    with store.read() as conn:
        at = conn.execute(
            select(sessions.c.logged_in_at).where(sessions.c.id == principal.session_id)
        ).scalar()
    if at is None or store.now() - at > RECENT_US:
        raise Forbidden("log in again to do this; your login is older than half an hour.", code="login_again")


def log_out(store: Store, principal: Principal) -> None:
    """End this session."""
    if principal.session_id is not None:
        with store.write() as conn:
            conn.execute(delete(sessions).where(sessions.c.id == principal.session_id))
            record(conn, store, principal, "logout")


def list_sessions(store: Store, principal: Principal) -> list[LoginSession]:
    """Mine that are still valid, the last used first."""
    require(principal, "me")
    now = store.now()
    with store.read() as conn:
        rows = conn.execute(
            select(sessions)
            .where(
                sessions.c.person_id == principal.person_id,
                sessions.c.last_seen_at > now - IDLE_US,
                sessions.c.expires_at > now,
            )
            .order_by(sessions.c.last_seen_at.desc())
        )
        return [
            LoginSession(
                id=row.id,
                created_at=iso(row.created_at),
                last_seen_at=iso(row.last_seen_at),
                expires_at=iso(row.expires_at),
                ip_prefix=row.ip_prefix,
                user_agent=row.user_agent,
                current=row.id == principal.session_id,
            )
            for row in rows
        ]


def end_session(store: Store, principal: Principal, session_id: str) -> None:
    """End one of mine."""
    require(principal, "me")
    with store.write() as conn:
        mine = (sessions.c.id == session_id) & (sessions.c.person_id == principal.person_id)
        if not conn.execute(delete(sessions).where(mine)).rowcount:
            raise NotFound("there is no such session.")
        record(conn, store, principal, "session.end", kind="session", object_id=session_id)


def change_password(store: Store, principal: Principal, *, old: str, new: str) -> None:
    """Change mine; all my other sessions end.

    Raises:
        Forbidden: the old one is wrong.
        Conflict: this person logs in elsewhere and has no password.
    """
    require(principal, "me")
    with store.write() as conn:
        row = conn.execute(
            select(passwords.c.phc, people.c.email_norm)
            .join(people, people.c.id == passwords.c.person_id)
            .where(passwords.c.person_id == principal.person_id)
        ).first()
        if row is not None:
            attempt = begin_attempt(conn, store, account=row.email_norm, ip_prefix=principal.ip_prefix)
    if row is None:
        raise Conflict("this account has no password.", code="no_password")
    if not fits(row.phc, old):
        raise Forbidden("the old password is wrong.", code="wrong_password", param="old")
    phc = hash_password(new)
    with store.write() as conn:
        succeeded(conn, attempt, str(row.email_norm))
        conn.execute(
            update(passwords)
            .where(passwords.c.person_id == principal.person_id)
            .values(phc=phc, changed_at=store.now())
        )
        others = (sessions.c.person_id == principal.person_id) & (
            sessions.c.id != (principal.session_id or "")
        )
        conn.execute(delete(sessions).where(others))
        record(conn, store, principal, "password.change", kind="person", object_id=principal.person_id)
