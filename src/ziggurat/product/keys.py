"""API keys: shown once, hashes kept, with scopes, limits and, if wanted, models that they are for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggurat.errors import DataError
from ziggurat.files import check_format
from ziggurat.product.common import clean_name, record, row_of, whole
from ziggurat.product.errors import Invalid, NotFound
from ziggurat.product.objects import ApiKey
from ziggurat.product.principal import Principal
from ziggurat.product.rights import can, require, scopes_of
from ziggurat.product.tokens import expiry_of, new_token, row_of_token, token_hash
from ziggurat.store.clock import SECOND, iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.people import api_keys, memberships, people

SCOPES = ("chat", "embeddings", "files", "fine_tune", "label", "review", "admin:read", "admin")
LIMITS = {"requests_per_minute": 60, "tokens_per_minute": 100_000, "concurrent": 4}
"""Defaults; `tokens_per_day` may be set too."""
PREFIX = 8
"""Characters of the secret that lists show."""
USED_US = 60 * SECOND
KEY_FILE_FORMAT = 1
"""The newest key file that `import_key_file` reads."""


def create_key(
    store: Store,
    principal: Principal,
    *,
    name: str,
    scopes: Sequence[str] = ("chat", "embeddings"),
    expires_at: str | None = None,
    limits: Mapping[str, int] | None = None,
    model_allow: Sequence[str] | None = None,
) -> tuple[ApiKey, str]:
    """A key of mine and its secret, which is shown only now."""
    require(principal, "key.own")
    secret = f"zig-{new_token()}"
    row = {
        "name": clean_name(name),
        "prefix": secret[:PREFIX],
        "hash": token_hash(secret),
        "scopes": _scopes(scopes),
        "model_allow": None if model_allow is None else [clean_name(m, "model_allow") for m in model_allow],
        "limits": _limits(limits or {}),
        "expires_at": expiry_of(store, expires_at),
    }
    with store.write() as conn:
        key_id = _insert(conn, store, principal, row)
        detail = {"scopes": row["scopes"]}
        record(conn, store, principal, "key.create", kind="key", object_id=key_id, detail=detail)
        return _view(row_of(conn, api_keys, key_id)), secret


def _insert(conn: Connection, store: Store, principal: Principal, row: Mapping[str, Any]) -> str:
    key_id = new_id("key")
    owner = {"workspace_id": principal.workspace_id, "person_id": principal.person_id}
    conn.execute(insert(api_keys).values(id=key_id, created_at=store.now(), **owner, **row))
    return key_id


def _scopes(scopes: Sequence[str]) -> list[str]:
    if isinstance(scopes, str) or not scopes:
        raise Invalid(f"scopes must be a list of some of {', '.join(SCOPES)}.", param="scopes")
    for scope in scopes:
        if scope not in SCOPES:
            raise Invalid(f"there is no scope {scope!r}; there are {', '.join(SCOPES)}.", param="scopes")
    return sorted(set(scopes))


def _limits(limits: Mapping[str, int]) -> dict[str, int]:
    for name, value in limits.items():
        if name not in (*LIMITS, "tokens_per_day"):
            raise Invalid(f'there is no limit "{name}".', param="limits")
        whole(value, f"limits.{name}", 1, 10**12)
    return LIMITS | dict(limits)


def list_keys(store: Store, principal: Principal, *, everyone: bool = False) -> list[ApiKey]:
    """Mine, or all of the workspace (admin); none with its secret."""
    require(principal, "key.read" if everyone else "key.own")
    wanted = select(api_keys).where(api_keys.c.workspace_id == principal.workspace_id)
    if not everyone:
        wanted = wanted.where(api_keys.c.person_id == principal.person_id)
    with store.read() as conn:
        return [_view(row) for row in conn.execute(wanted.order_by(api_keys.c.id))]


def revoke_key(store: Store, principal: Principal, key_id: str) -> None:
    """Mine, or any of the workspace (admin). It is refused from the next request on."""
    with store.write() as conn:
        row = row_of(conn, api_keys, key_id)
        any_key = can(principal, "key.write")
        if not any_key:
            require(principal, "key.own")
        mine = row is not None and row.person_id == principal.person_id
        if row is None or row.workspace_id != principal.workspace_id or not (any_key or mine):
            raise NotFound("there is no such key.")
        if row.revoked_at is None:
            conn.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=store.now()))
            record(conn, store, principal, "key.revoke", kind="key", object_id=key_id)


def principal_of_key(
    store: Store, secret: str, *, ip_prefix: str = "", request_id: str = ""
) -> tuple[Principal, ApiKey] | None:
    """Who a secret is; None where it is unknown, expired or revoked, or its person may not log in.

    The principal's scopes are those of the key with which the person's present role can do something.
    """
    now = store.now()
    of_people = (
        select(api_keys, memberships.c.role)
        .join(people, people.c.id == api_keys.c.person_id)
        .join(
            memberships,
            (memberships.c.person_id == api_keys.c.person_id)
            & (memberships.c.workspace_id == api_keys.c.workspace_id),
        )
        .where(people.c.status == "active")
    )
    with store.read() as conn:
        row = row_of_token(conn, store, of_people, api_keys.c.hash, secret)
    if row is None:
        return None
    if row.last_used_at is None or now - row.last_used_at > USED_US:
        with store.write(durable=False) as conn:
            conn.execute(update(api_keys).where(api_keys.c.id == row.id).values(last_used_at=now))
    principal = Principal(
        workspace_id=row.workspace_id,
        person_id=row.person_id,
        role=row.role,
        via="key",
        scopes=scopes_of(row.role, row.scopes),
        key_id=row.id,
        ip_prefix=ip_prefix,
        request_id=request_id,
    )
    return principal, _view(row)


def import_key_file(store: Store, principal: Principal, path: Path) -> list[ApiKey]:
    """Take over the keys of a file of `ziggurat key new` (one JSON object a line, with a SHA-256): their holders go on
    with the secrets that they have. Keys that are there already are left alone; returns the new ones.

    Raises:
        DataError: the file cannot be read, or a line is not a key.
    """
    require(principal, "key.write")
    read = [_line(path, number, line) for number, line in _lines(path) if line.strip()]
    rows = {row["hash"]: row for row in read}  # a key that stands there twice is one
    with store.write() as conn:
        known = set(conn.execute(select(api_keys.c.hash)).scalars())
        new = [_insert(conn, store, principal, row) for row in rows.values() if row["hash"] not in known]
        if new:
            record(conn, store, principal, "key.import", detail={"keys": new})
        return [_view(row_of(conn, api_keys, key_id)) for key_id in new]


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        return list(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the keys cannot be read ({error}).", path=path) from None


def _line(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        given = check_format(json.loads(line), KEY_FILE_FORMAT, path)
        limits = {name: given[name] for name in LIMITS if name in given}
        scopes = ["chat", "embeddings", *(["admin"] if given.get("admin") else [])]
        digest = given["sha256"]
        if not isinstance(digest, str) or len(digest) != 64 or int(digest, 16) < 0:
            raise ValueError("sha256 is no hash")
        return {
            "name": clean_name(given["name"]),
            "prefix": "zig-…",
            "hash": digest,
            "scopes": scopes,
            "model_allow": None,
            "limits": _limits(limits),
            "expires_at": None,
        }
    except (ValueError, TypeError, KeyError, AttributeError, Invalid) as error:
        raise DataError(f"this line is not a key ({error}).", path=path, line=number) from None


def _view(row: Any) -> ApiKey:
    return ApiKey(
        id=row.id,
        person_id=row.person_id,
        name=row.name,
        prefix=row.prefix,
        scopes=row.scopes,
        model_allow=row.model_allow,
        limits=row.limits,
        created_at=iso(row.created_at),
        expires_at=iso_or_none(row.expires_at),
        last_used_at=iso_or_none(row.last_used_at),
        revoked_at=iso_or_none(row.revoked_at),
    )
