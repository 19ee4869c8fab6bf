"""What the rules share: clean texts, cursors, settings, and an audit entry for what somebody did."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Table, select

from ziggurat.errors import did_you_mean
from ziggurat.product.errors import Invalid
from ziggurat.product.objects import Settings
from ziggurat.product.principal import Principal
from ziggurat.store import audit as chain
from ziggurat.store.store import Store

MAX_NAME = 200
MAX_TEXT = 200_000
"""Characters of one message."""
MAX_PROMPT = 32_000
"""Characters of a system prompt."""
MAX_PAGE = 200
_BAD = {0: "\ufffd"} | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def clean(text: Any, param: str, *, limit: int = MAX_TEXT, empty: bool = False) -> str:
    """The text as both databases can keep it: NUL and lone surrogates become U+FFFD.

    Raises:
        Invalid: not a text, empty, or longer than `limit` characters.
    """
    if not isinstance(text, str):
        raise Invalid(f"{param} must be a text.", param=param)
    if not empty and not text.strip():
        raise Invalid(f"{param} is empty; write something.", param=param, code="empty")
    if len(text) > limit:
        raise Invalid(
            f"{param} has {len(text):,} characters; at most {limit:,} are kept.", param=param, code="too_long"
        )
    return text.translate(_BAD)


def clean_name(text: Any, param: str = "name", *, empty: bool = False) -> str:
    """A name on one line."""
    return " ".join(clean(text, param, limit=MAX_NAME, empty=empty).split())


def clean_json(value: Any) -> Any:
    """The same for every text in a JSON value."""
    if isinstance(value, str):
        return value.translate(_BAD)
    if isinstance(value, Mapping):
        return {str(k).translate(_BAD): clean_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(v) for v in value]
    return value


def checked_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Sampling settings without the missing ones.

    Raises:
        Invalid: an unknown one, or one out of range.
    """
    try:
        found = Settings.model_validate(dict(settings or {})).model_dump(exclude_none=True)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        hint = did_you_mean(name, Settings.model_fields) if problem["type"] == "extra_forbidden" else ""
        raise Invalid(f"settings.{name}: {problem['msg']}.{hint}", param=f"settings.{name}") from None
    cleaned: dict[str, Any] = clean_json(found)
    return cleaned


def known(changes: Mapping[str, Any], allowed: Iterable[str]) -> dict[str, Any]:
    """The changes, if every name is allowed.

    Raises:
        Invalid: one is not.
    """
    names = list(allowed)
    for name in changes:
        if name not in names:
            raise Invalid(f'there is no field "{name}" to change.{did_you_mean(name, names)}', param=name)
    return dict(changes)


def whole(value: Any, param: str, low: int, high: int) -> int:
    """A whole number in a range, both ends included."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Invalid(
            f"{param} is {value!r}; it must be a whole number from {low:,} to {high:,}.", param=param
        )
    return value


def truth(value: Any, param: str) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"{param} must be true or false.", param=param)
    return value


def page_size(limit: int) -> int:
    return whole(limit, "limit", 1, MAX_PAGE)


def cursor_of(*values: Any) -> str:
    """A cursor that holds where the next page begins."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def read_cursor(cursor: str, kinds: tuple[type, ...]) -> list[Any]:
    """What `cursor_of` wrote.

    Raises:
        Invalid: this is not a cursor of this list.
    """
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if [type(value) for value in values] == list(kinds):
            return list(values)
    except (ValueError, TypeError):
        pass
    raise Invalid("this cursor is not one that this list gave; begin without a cursor.", param="cursor")


def row_of(conn: Connection, table: Table, object_id: str) -> Any:
    """The row of an id, or None."""
    return conn.execute(select(table).where(table.c.id == object_id)).first()


def record(
    conn: Connection,
    store: Store,
    principal: Principal | None,
    action: str,
    *,
    kind: str | None = None,
    object_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
    before: Any = None,
    after: Any = None,
    actor_id: str | None = None,
    workspace_id: str | None = None,
    ip_prefix: str = "",
) -> None:
    """An audit entry, in the transaction of the act. `detail` holds ids, names of settings and counts, never texts."""
    entry = {
        "at": store.now(),
        "workspace_id": principal.workspace_id if principal else workspace_id,
        "actor_kind": principal.via if principal else "anonymous",
        "actor_id": principal.person_id if principal else actor_id,
        "action": action,
        "object_kind": kind,
        "object_id": object_id,
        "detail": dict(detail or {}),
        "before_hash": None if before is None else chain.value_hash(before),
        "after_hash": None if after is None else chain.value_hash(after),
        "ip_prefix": principal.ip_prefix if principal else ip_prefix,
        "request_id": principal.request_id if principal else "",
    }
    chain.append(conn, entry)
