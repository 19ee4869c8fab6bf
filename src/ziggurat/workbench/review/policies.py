"""Policies: by topic, who reviews what and by when; where no policy says otherwise, everything is reviewed.

A policy is written by an administrator or a lead of the review, or taken from a template (`templates/*.yaml`: doctor,
lawyer, customer service and others). Each change is an audit entry with the hashes of before and after.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection, insert, select, update

from ziggurat.errors import did_you_mean
from ziggurat.product.common import clean_json, record
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.people import memberships
from ziggurat.store.tables.reviews import policies as table
from ziggurat.workbench.review import hours

GENERAL = "general"
REASONS = ("fact", "tone", "missing", "too_long", "policy", "format", "citation", "other")
"""Reason codes that every topic has."""
Mode = Literal["all", "sampled", "auto"]
Short = Annotated[str, Field(min_length=1, max_length=200)]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Routes(_Part):
    """What sends an answer to a person even where the topic is sampled, and raises its risk by one."""

    words: list[Short] = []
    new_customer_days: float | None = Field(default=None, ge=0, le=3650)
    moderation_over: float | None = Field(default=None, ge=0, le=1)
    logprob_under: float | None = Field(default=None, le=0)
    reward_under: float | None = None
    probation: list[Short] = []
    """Models that are new."""


class Said(_Part):
    """A text in the languages of the page."""

    en: Annotated[str, Field(min_length=1, max_length=4000)]
    zh: Annotated[str, Field(min_length=1, max_length=4000)]


class Decline(_Part):
    name: Code
    text: Said


class Reason(_Part):
    code: Code
    label: Said


class Texts(_Part):
    """What the customer reads while the answer is late, how a question is declined, reason codes, the guideline."""

    holding: Said = Said(
        en="An expert needs a little longer to check this answer. Thank you for waiting.",
        zh="专家还需要一点时间核对这个回答，感谢您的等待。",
    )
    declines: list[Decline] = [
        Decline(
            name="cannot",
            text=Said(
                en="We cannot answer this question here. Please contact us in person.",
                zh="这个问题我们无法在这里回答，请直接与我们联系。",
            ),
        )
    ]
    reasons: list[Reason] = []
    guideline: Said | None = None


class Autonomy(_Part):
    """When a topic may go on with fewer people: the lower bound of the share approved unchanged."""

    threshold: float = Field(default=0.9, gt=0, lt=1)
    min_items: int = Field(default=100, ge=10, le=100_000)
    window_days: int = Field(default=30, ge=1, le=3650)


class Policy(_Part):
    """One topic. `claim_s` and `decide_s` are open hours of the calendar, in seconds."""

    topic: Code = GENERAL
    name: Short = "General"
    words: list[Short] = Field(default=[], max_length=400)
    mode: Mode = "all"
    sample_pct: float = Field(default=20, ge=0, le=100)
    double_pct: float = Field(default=0, ge=0, le=100)
    risk: int = Field(default=1, ge=0, le=3)
    four_eyes: bool = False
    claim_s: int = Field(default=3_600, ge=10, le=90 * 86_400)
    decide_s: int = Field(default=4 * 3_600, ge=10, le=90 * 86_400)
    calendar: dict[str, Any] = {}
    routes: Routes = Routes()
    texts: Texts = Texts()
    autonomy: Autonomy = Autonomy()
    escalates_to: list[Annotated[str, Field(max_length=80)]] = Field(default=[], max_length=100)
    enabled: bool = True


DEFAULT = Policy()
"""What holds where a topic has no policy of its own: everything is reviewed."""
FIELDS = tuple(Policy.model_fields)


class Kept(Policy):
    """A policy of the store."""

    id: str
    version: int
    created_at: str
    updated_at: str


def list_policies(store: Store, principal: Principal) -> list[Kept]:
    require(principal, "review")
    with store.read() as conn:
        return [view(row) for row in rows(conn, principal.workspace_id)]


def rows(conn: Connection, workspace_id: str) -> list[Any]:
    found = select(table).where(table.c.workspace_id == workspace_id).order_by(table.c.topic)
    return list(conn.execute(found).all())


def of_topic(conn: Connection, workspace_id: str, topic: str) -> Kept | None:
    """The policy of a topic that is switched on."""
    found = select(table).where(
        table.c.workspace_id == workspace_id, table.c.topic == topic, table.c.enabled.is_(True)
    )
    row = conn.execute(found).first()
    return None if row is None else view(row)


def view(row: Any) -> Kept:
    values = {name: getattr(row, name) for name in FIELDS}
    values |= {"created_at": iso(row.created_at), "updated_at": iso(row.updated_at)}
    return Kept.model_validate({"id": row.id, "version": row.version, **values})


def create_policy(store: Store, principal: Principal, fields: Mapping[str, Any]) -> Kept:
    """A policy for a topic that has none.

    Raises:
        Conflict: the topic has one.
        Invalid: a field is unknown or not allowed; `mode` other than all is for `autonomy.change_mode`.
    """
    require(principal, "review.lead")
    policy = validated(fields)
    if policy.mode != "all":
        raise Invalid(
            "a topic begins with mode all; change it when the experts' decisions allow it.", param="mode"
        )
    with store.write() as conn:
        if any(row.topic == policy.topic for row in rows(conn, principal.workspace_id)):
            raise Conflict(
                f"the topic {policy.topic} has a policy; change that one.", code="topic_taken", param="topic"
            )
        _check_people(conn, principal, policy)
        now = store.now()
        row = {
            "id": new_id("policy"),
            "workspace_id": principal.workspace_id,
            **clean_json(policy.model_dump()),
            "version": 1,
            "changed_by": principal.person_id,
            "created_at": now,
            "updated_at": now,
        }
        conn.execute(insert(table).values(row))
        _recorded(conn, store, principal, "review.policy.create", str(row["id"]), None, policy)
        return view(_row(conn, principal, str(row["id"])))


def change_policy(store: Store, principal: Principal, policy_id: str, changes: Mapping[str, Any]) -> Kept:
    """Change some fields; `topic` stays, and `mode` changes by `autonomy.change_mode` alone.

    Raises:
        NotFound, Invalid.
    """
    require(principal, "review.lead")
    if fixed := [name for name in ("topic", "mode") if name in changes]:
        raise Invalid(f"{fixed[0]} of a policy is not changed here.", param=fixed[0])
    with store.write() as conn:
        before = view(_row(conn, principal, policy_id))
        plain = {name: value for name, value in before.model_dump().items() if name in FIELDS}
        merged = dict(plain)
        for name, value in changes.items():
            nested = name in ("routes", "texts", "autonomy") and isinstance(value, Mapping)
            merged[name] = {**plain[name], **value} if nested else value
        after = validated(merged)
        _check_people(conn, principal, after)
        write(conn, store, principal, policy_id, clean_json(after.model_dump()))
        _recorded(conn, store, principal, "review.policy.change", policy_id, before, after)
        return view(_row(conn, principal, policy_id))


def write(
    conn: Connection, store: Store, principal: Principal, policy_id: str, values: Mapping[str, Any]
) -> None:
    """The changed columns, as the next version."""
    more = {"version": table.c.version + 1, "changed_by": principal.person_id, "updated_at": store.now()}
    conn.execute(update(table).where(table.c.id == policy_id).values(**values, **more))


def validated(fields: Mapping[str, Any]) -> Policy:
    """
    Raises:
        Invalid: a field is unknown or not allowed.
    """
    try:
        policy = Policy.model_validate(dict(fields))
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        hint = did_you_mean(name, FIELDS) if problem["type"] == "extra_forbidden" else ""
        raise Invalid(f"the policy's {name} is not allowed: {problem['msg']}.{hint}", param=name) from None
    return policy.model_copy(update={"calendar": hours.checked(policy.calendar)})


def _check_people(conn: Connection, principal: Principal, policy: Policy) -> None:
    if not policy.escalates_to:
        return
    found = select(memberships.c.person_id).where(
        memberships.c.workspace_id == principal.workspace_id, memberships.c.person_id.in_(policy.escalates_to)
    )
    if missing := set(policy.escalates_to) - set(conn.execute(found).scalars()):
        raise Invalid(f"escalates_to names {min(missing)}, who is not here.", param="escalates_to")


def _row(conn: Connection, principal: Principal, policy_id: str) -> Any:
    row = conn.execute(
        select(table).where(table.c.id == policy_id, table.c.workspace_id == principal.workspace_id)
    ).first()
    if row is None:
        raise NotFound("there is no such policy.")
    return row


def policy_of(conn: Connection, principal: Principal, policy_id: str) -> Kept:
    return view(_row(conn, principal, policy_id))


def _recorded(
    conn: Connection,
    store: Store,
    principal: Principal,
    action: str,
    policy_id: str,
    before: Policy | None,
    after: Policy,
) -> None:
    old = {} if before is None else {n: v for n, v in before.model_dump().items() if n in FIELDS}
    new = {n: v for n, v in after.model_dump().items() if n in FIELDS}
    record(
        conn,
        store,
        principal,
        action,
        kind="review_policy",
        object_id=policy_id,
        detail={"topic": after.topic, "fields": sorted(name for name in new if old.get(name) != new[name])},
        before=old or None,
        after=new,
    )


# --- templates ------------------------------------------------------------------------------------------------------


@cache
def templates() -> dict[str, dict[str, Any]]:
    """Name -> {label, policies}: starting points for kinds of service (A114, B087, B090)."""
    folder = files("ziggurat.workbench.review") / "templates"
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.iterdir(), key=lambda one: one.name):
        if path.name.endswith(".yaml"):
            found[path.name.removesuffix(".yaml")] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def use_template(store: Store, principal: Principal, name: str) -> list[Kept]:
    """The template's policies for topics that have none yet; returns what was made.

    Raises:
        NotFound: there is no such template.
        Conflict: all of its topics have a policy.
    """
    require(principal, "review.lead")
    if name not in templates():
        raise NotFound(f"there is no template {name!r}; there are {', '.join(templates())}.")
    with store.read() as conn:
        taken = {row.topic for row in rows(conn, principal.workspace_id)}
    wanted = [one for one in templates()[name]["policies"] if one["topic"] not in taken]
    if not wanted:
        raise Conflict("all topics of this template have a policy.", code="topic_taken")
    return [create_policy(store, principal, one) for one in wanted]


def reason_codes(policy: Policy) -> set[str]:
    return {*REASONS, *(one.code for one in policy.texts.reasons)}


def in_language(said: Said, lang: str | None) -> str:
    return said.zh if (lang or "").startswith("zh") else said.en
