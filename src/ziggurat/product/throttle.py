"""Guesses of passwords and tokens are slowed down: per account and per network.

Five failures a minute for an account, twenty for an address prefix; after more of them within an hour the wait doubles,
up to a quarter of an hour. An attempt counts from its beginning, so that many at once are no way around. A network has
a counter for each act (login, register, setup): failed registrations lock no logins.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, insert, select

from ziggurat.product.errors import TooMany
from ziggurat.product.tokens import token_hash
from ziggurat.store.clock import DAY, SECOND
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.people import attempts

PER_ACCOUNT, PER_PREFIX = 5, 20
HOUR_S, LONGEST_S = 3_600, 900


def account_key(email: str) -> str:
    return token_hash(f"account {email}")


def prefix_key(ip_prefix: str, act: str) -> str:
    return token_hash(f"prefix {act} {ip_prefix}")


def begin_attempt(
    conn: Connection, store: Store, *, account: str | None, ip_prefix: str, act: str = "login"
) -> list[str]:
    """Count an attempt, or raise TooMany. What it returns goes to `succeeded`."""
    now = store.now()
    who = ([(account_key(account), PER_ACCOUNT)] if account else []) + (
        [(prefix_key(ip_prefix, act), PER_PREFIX)] if ip_prefix else []
    )
    for key, limit in who:
        _check(conn, now, key, limit)
    conn.execute(delete(attempts).where(attempts.c.created_at < now - DAY))
    rows = [{"id": new_id("attempt"), "who": key, "created_at": now} for key, _ in who]
    if rows:
        conn.execute(insert(attempts), rows)
    return [str(row["id"]) for row in rows]


def succeeded(conn: Connection, attempt: list[str], account: str | None = None) -> None:
    """Forget this attempt, and all of the account."""
    conn.execute(delete(attempts).where(attempts.c.id.in_(attempt)))
    if account:
        conn.execute(delete(attempts).where(attempts.c.who == account_key(account)))


def _check(conn: Connection, now: int, key: str, limit: int) -> None:
    recent = (attempts.c.who == key) & (attempts.c.created_at > now - HOUR_S * SECOND)
    count, last = conn.execute(select(func.count(), func.max(attempts.c.created_at)).where(recent)).one()
    if count >= limit:
        wait_s = min(60 * 2 ** ((count - limit) // limit), LONGEST_S)
        within = (attempts.c.who == key) & (attempts.c.created_at > now - wait_s * SECOND)
        if conn.execute(select(func.count()).where(within)).scalar_one() >= (limit if wait_s == 60 else 1):
            left = max(1, wait_s - (now - last) // SECOND)
            raise TooMany(
                f"there were too many failed attempts; wait {left} s.",
                code="too_many_attempts",
                retry_after_s=left,
            )
