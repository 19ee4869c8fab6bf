"""People, their preferences and roles, and the one person of local mode."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from ziggurat.product.common import (
    clean_json,
    clean_name,
    cursor_of,
    known,
    page_size,
    read_cursor,
    record,
    row_of,
    whole,
)
from ziggurat.product.consents import given_now
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.objects import Me, Page, Person, Workspace
from ziggurat.product.principal import Principal
from ziggurat.product.rights import ROLES, require
from ziggurat.product.workspaces import settings_of
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.people import memberships, people, sessions
from ziggurat.store.tables.workspace import workspaces

MAX_PREFERENCES = 20_000
"""Characters of a person's preferences as JSON."""


def local_principal(store: Store, *, ip_prefix: str = "", request_id: str = "") -> Principal:
    """The owner of local mode, made at the first call. A store that has an owner with an account keeps that one: local
    mode is then that person."""
    with store.read() as conn:
        found = _owner(conn)
    if found is None:
        with store.write() as conn:
            found = _owner(conn)
            if found is None:
                workspace_id = the_workspace(conn, store)
                person_id = insert_person(
                    conn, store, workspace_id, role="owner", name="", email=None, locale=""
                )
                found = (workspace_id, person_id)
    workspace_id, person_id = found
    return Principal(
        workspace_id=workspace_id,
        person_id=person_id,
        role="owner",
        via="local",
        ip_prefix=ip_prefix,
        request_id=request_id,
    )


def _owner(conn: Connection) -> tuple[str, str] | None:
    row = conn.execute(
        select(memberships.c.workspace_id, memberships.c.person_id)
        .join(people, people.c.id == memberships.c.person_id)
        .where(memberships.c.role == "owner", people.c.status == "active")
        .order_by(memberships.c.created_at, memberships.c.person_id)
        .limit(1)
    ).first()
    return None if row is None else (row.workspace_id, row.person_id)


def the_workspace(conn: Connection, store: Store) -> str:
    """The workspace of this installation, made where there is none."""
    found = conn.execute(select(workspaces.c.id).order_by(workspaces.c.id).limit(1)).scalar()
    if found is not None:
        return str(found)
    workspace_id = new_id("ws")
    row = {
        "id": workspace_id,
        "name": "Ziggurat",
        "settings": {},
        "rules_version": 0,
        "created_at": store.now(),
    }
    conn.execute(insert(workspaces).values(row))
    return workspace_id


def insert_person(
    conn: Connection,
    store: Store,
    workspace_id: str,
    *,
    role: str,
    name: str,
    email: str | None,
    locale: str,
    plan: str | None = None,
    budget: int | None = None,
) -> str:
    """A person and the membership. `plan`, `budget`: as for `change_person`.

    Raises:
        Conflict: somebody has this address.
        Invalid: there is no such plan, or the budget is no number of tokens.
    """
    norm = None if email is None else normal_email(email)
    if norm is not None and conn.execute(select(people.c.id).where(people.c.email_norm == norm)).first():
        raise Conflict("there is an account with this address; log in.", code="email_taken", param="email")
    person_id = new_id("person")
    person: dict[str, Any] = {
        "id": person_id,
        "email_norm": norm,
        "email": email,
        "name": name,
        "locale": locale,
        "status": "active",
        "preferences": {},
        "created_at": store.now(),
    }
    conn.execute(insert(people).values(person))
    member = {"person_id": person_id, "workspace_id": workspace_id, "role": role, "created_at": store.now()}
    member |= _allowance(conn, workspace_id, {"plan": plan, "budget": budget})
    conn.execute(insert(memberships).values(member))
    return person_id


def normal_email(email: Any) -> str:
    """An address as it is compared.

    Raises:
        Invalid: this is no address.
    """
    text = unicodedata.normalize("NFKC", email).strip().casefold() if isinstance(email, str) else ""
    name, at, domain = text.rpartition("@")
    fine = name and at and "." in domain.strip(".") and len(text) <= 320
    if not fine or any(c.isspace() or not c.isprintable() for c in text) or "@" in name:
        raise Invalid("this is not an e-mail address; write name@example.org.", param="email", code="email")
    return text


def me(store: Store, principal: Principal) -> Me:
    """The person, the workspace, preferences and consents."""
    require(principal, "me")
    with store.read() as conn:
        row = row_of(conn, people, principal.person_id)
        settings = settings_of(conn, principal.workspace_id)
        return Me(
            person=person_of(conn, principal.workspace_id, principal.person_id),
            workspace=Workspace(id=principal.workspace_id, name=settings["name"]),
            preferences=row.preferences,
            consents=given_now(conn, principal.person_id),
        )


def change_me(store: Store, principal: Principal, changes: Mapping[str, Any]) -> Me:
    """Any of name, locale, preferences (a JSON object, replaced as a whole)."""
    require(principal, "me")
    values = known(changes, ("name", "locale", "preferences"))
    if "name" in values:
        values["name"] = clean_name(values["name"], empty=True)
    if "locale" in values:
        values["locale"] = clean_locale(values["locale"])
    if "preferences" in values:
        values["preferences"] = clean_json(values["preferences"])
        if (
            not isinstance(values["preferences"], dict)
            or len(json.dumps(values["preferences"])) > MAX_PREFERENCES
        ):
            raise Invalid(
                f"preferences must be a JSON object of at most {MAX_PREFERENCES:,} characters.",
                param="preferences",
            )
    if values:
        with store.write() as conn:
            conn.execute(update(people).where(people.c.id == principal.person_id).values(values))
    return me(store, principal)


def clean_locale(locale: Any) -> str:
    text = clean_name(locale, "locale", empty=True)
    if len(text) > 16 or not all(c.isalnum() or c in "-_" for c in text):
        raise Invalid("locale must be a language tag such as en or zh.", param="locale")
    return text


def list_people(
    store: Store, principal: Principal, *, cursor: str | None = None, limit: int = 50
) -> Page[Person]:
    """All of the workspace (admin), in the order of their coming."""
    require(principal, "person.read")
    limit = page_size(limit)
    wanted = _people_of(principal.workspace_id)
    if cursor:
        wanted = wanted.where(people.c.id > read_cursor(cursor, (str,))[0])
    with store.read() as conn:
        rows = conn.execute(wanted.order_by(people.c.id).limit(limit + 1)).all()
    return Page(
        data=[_view(row) for row in rows[:limit]],
        next=cursor_of(rows[limit - 1].id) if len(rows) > limit else None,
    )


def change_person(store: Store, principal: Principal, person_id: str, changes: Mapping[str, Any]) -> Person:
    """Any of role, status, name, plan (a name; None: the workspace's default plan) and budget (tokens a day; None: the
    plan's) (admin). A change of role or status
    ends the person's sessions. Only an owner makes or changes an owner, and the last one stays.

    Raises:
        Conflict: the last owner would go.
    """
    require(principal, "person.write")
    values = known(changes, ("role", "status", "name", "plan", "budget"))
    with store.write() as conn:
        row = conn.execute(_people_of(principal.workspace_id).where(people.c.id == person_id)).first()
        if row is None:
            raise NotFound("there is no such person.")
        if row.role == "owner" or values.get("role") == "owner":
            require(principal, "owner.write")
        personal, member = _person_values(conn, principal, values)
        loses = values.get("role", "owner") != "owner" or values.get("status", "active") != "active"
        if row.role == "owner" and loses and _owners(conn, principal.workspace_id) < 2:
            raise Conflict("this is the last owner; make another one first.", code="last_owner")
        if personal:
            conn.execute(update(people).where(people.c.id == person_id).values(personal))
        if member:
            mine = (memberships.c.person_id == person_id) & (
                memberships.c.workspace_id == principal.workspace_id
            )
            conn.execute(update(memberships).where(mine).values(member))
        if "role" in values or "status" in values:
            conn.execute(delete(sessions).where(sessions.c.person_id == person_id))
        detail = {name: value for name, value in values.items() if name != "name"}
        record(conn, store, principal, "person.change", kind="person", object_id=person_id, detail=detail)
        return person_of(conn, principal.workspace_id, person_id)


def _person_values(
    conn: Connection, principal: Principal, values: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    personal: dict[str, Any] = {}
    member: dict[str, Any] = {}
    if "name" in values:
        personal["name"] = clean_name(values["name"], empty=True)
    if "status" in values:
        if values["status"] not in ("active", "disabled"):
            raise Invalid(f"status is {values['status']!r}; it must be active or disabled.", param="status")
        personal["status"] = values["status"]
    if "role" in values:
        if values["role"] not in ROLES:
            raise Invalid(f"role is {values['role']!r}; it must be one of {', '.join(ROLES)}.", param="role")
        member["role"] = values["role"]
    return personal, member | _allowance(conn, principal.workspace_id, values)


def _allowance(conn: Connection, workspace_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Plan and budget, those that are named, as the membership keeps them."""
    kept: dict[str, Any] = {}
    if "plan" in values:
        plan, plans = values["plan"], settings_of(conn, workspace_id)["plans"]
        if plan is not None and plan not in list(plans):
            raise Invalid(f"plan is {plan!r}; it must be one of {', '.join(plans)}.", param="plan")
        kept["plan"] = plan
    if "budget" in values:
        budget = values["budget"]
        kept["tokens_per_day"] = None if budget is None else whole(budget, "budget", 0, 10**15)
    return kept


def person_of(conn: Connection, workspace_id: str, person_id: str) -> Person:
    """One person of the workspace, by id."""
    return _view(conn.execute(_people_of(workspace_id).where(people.c.id == person_id)).one())


def _people_of(workspace_id: str) -> Any:
    return (
        select(people, memberships.c.role, memberships.c.plan, memberships.c.tokens_per_day)
        .join(memberships, memberships.c.person_id == people.c.id)
        .where(memberships.c.workspace_id == workspace_id, people.c.status != "deleted")
    )


def _owners(conn: Connection, workspace_id: str) -> int:
    return int(
        conn.execute(
            select(func.count())
            .select_from(memberships.join(people, people.c.id == memberships.c.person_id))
            .where(
                memberships.c.workspace_id == workspace_id,
                memberships.c.role == "owner",
                people.c.status == "active",
            )
        ).scalar_one()
    )


def _view(row: Any) -> Person:
    return Person(
        id=row.id,
        email=row.email,
        name=row.name,
        role=row.role,
        locale=row.locale,
        status=row.status,
        plan=row.plan,
        budget=row.tokens_per_day,
        created_at=iso(row.created_at),
    )
