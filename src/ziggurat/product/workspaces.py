"""Settings of the workspace: registration, retention, limits, budgets, masking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection, select, update

from ziggurat.product.common import record
from ziggurat.product.errors import Invalid
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.store import Store
from ziggurat.store.tables.workspace import workspaces


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Part):
    messages_per_minute: int = Field(default=20, ge=1, le=10_000)
    answers_at_once: int = Field(default=2, ge=1, le=1_000)


class Plan(_Part):
    """What members of a plan may use; None is without limit."""

    tokens_per_day: int | None = Field(default=None, ge=0)
    requests_per_day: int | None = Field(default=None, ge=0)


class Masking(_Part):
    """What happens to private data in what is sent to an upstream: off sends it, mask replaces it, refuse sends
    nothing."""

    policy: Literal["off", "mask", "refuse"] = "mask"
    kinds: list[Literal["email", "phone", "id", "card"]] = ["email", "phone", "id", "card"]


class Examples(_Part):
    """Approved answers that stand before a question (`flywheel/examples.py`): how many at most, and where."""

    count: int = Field(default=0, ge=0, le=8)
    form: Literal["turns", "system"] = "turns"


class WorkspaceSettings(_Part):
    name: str = Field(default="Ziggurat", min_length=1, max_length=200)
    registration: Literal["open", "invitation", "closed"] = "invitation"
    retention_days: int | None = Field(default=None, ge=1, le=36_500)
    trash_days: int = Field(default=30, ge=0, le=36_500)
    limits: Limits = Limits()
    plans: dict[str, Plan] = {"free": Plan(tokens_per_day=200_000), "paid": Plan()}
    default_plan: str = "paid"
    masking: Masking = Masking()
    oidc_domains: list[str] = []
    guideline: str | None = Field(default=None, max_length=200)
    examples: Examples = Examples()
    api_answers: Literal["ids", "asked", "all"] = "ids"
    """What is kept of answers of the API, for feedback about them: ids and hashes; also prompt and answer of requests
    with `store: true`; or of all."""


DEFAULTS = WorkspaceSettings().model_dump()


def settings_of(conn: Connection, workspace_id: str) -> dict[str, Any]:
    """All settings, those that were never changed with their defaults."""
    row = conn.execute(select(workspaces.c.settings).where(workspaces.c.id == workspace_id)).first()
    return DEFAULTS | (row.settings if row else {})


def get_settings(store: Store, principal: Principal) -> dict[str, Any]:
    """All, defaults included (admin)."""
    require(principal, "settings.read")
    with store.read() as conn:
        return settings_of(conn, principal.workspace_id)


def change_settings(store: Store, principal: Principal, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change some. `limits`, `masking` and `examples` may name some of their fields only; `plans` some of the
    plans, each of them whole, and null removes one. Whoever had a removed plan is on the default one.

    Raises:
        Invalid: an unknown setting, or a value that is not allowed.
    """
    require(principal, "settings.write")
    with store.write() as conn:
        before = settings_of(conn, principal.workspace_id)
        merged = dict(before)
        for name, value in changes.items():
            nested = name in ("limits", "masking", "plans", "examples") and isinstance(value, Mapping)
            merged[name] = {**before[name], **value} if nested else value
            if nested and name == "plans":
                merged[name] = {plan: held for plan, held in merged[name].items() if held is not None}
        after = _validated(merged)
        if after["default_plan"] not in after["plans"]:
            raise Invalid("default_plan must name one of the plans.", param="default_plan")
        conn.execute(
            update(workspaces)
            .where(workspaces.c.id == principal.workspace_id)
            .values(settings=after, name=after["name"], retention_days=after["retention_days"])
        )
        names = sorted(name for name in after if after[name] != before[name])
        detail = {"settings": names}
        record(conn, store, principal, "settings.change", detail=detail, before=before, after=after)
        return after


def _validated(settings: dict[str, Any]) -> dict[str, Any]:
    try:
        return WorkspaceSettings.model_validate(settings).model_dump()
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise Invalid(f"the setting {name} is not allowed: {problem['msg']}.", param=name) from None


def registration(store: Store) -> str:
    """open, invitation or closed."""
    with store.read() as conn:
        row = conn.execute(select(workspaces.c.id).order_by(workspaces.c.id).limit(1)).first()
        return str(settings_of(conn, row.id if row else "")["registration"])


def main_id(store: Store) -> str | None:
    """The workspace of this server; None before the first person came."""
    with store.read() as conn:
        found = conn.execute(select(workspaces.c.id).order_by(workspaces.c.id).limit(1)).scalar()
    return None if found is None else str(found)
