"""Becoming a member: the owner by a one-time token, others by registration, which is open, by invitation or closed."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ziggurat.product.common import clean_name, record, row_of, whole
from ziggurat.product.errors import Conflict, Forbidden, Invalid, NotFound
from ziggurat.product.objects import Invitation, Person
from ziggurat.product.passwords import checked_password, hash_password
from ziggurat.product.people import clean_locale, insert_person, normal_email, person_of, the_workspace
from ziggurat.product.principal import Principal
from ziggurat.product.rights import ROLES, require
from ziggurat.product.throttle import begin_attempt, succeeded
from ziggurat.product.tokens import new_token, token_hash
from ziggurat.product.workspaces import settings_of
from ziggurat.store.clock import DAY, iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.people import identities, invitations, memberships, passwords, people
from ziggurat.store.tables.workspace import secrets as kept

SETUP = "setup_token"


def needs_setup(store: Store) -> bool:
    """Whether nobody who can log in owns this workspace yet."""
    with store.read() as conn:
        return not has_owner(conn)


def has_owner(conn: Connection) -> bool:
    owner = (
        select(memberships.c.person_id)
        .join(people, people.c.id == memberships.c.person_id)
        .outerjoin(passwords, passwords.c.person_id == people.c.id)
        .outerjoin(identities, identities.c.person_id == people.c.id)
        .where(
            memberships.c.role == "owner",
            people.c.status == "active",
            passwords.c.person_id.is_not(None) | identities.c.person_id.is_not(None),
        )
    )
    return conn.execute(owner.limit(1)).first() is not None


def setup_token(store: Store) -> str | None:
    """A new one-time token (an earlier one ends), or None when there is an owner. Print it, never log it."""
    with store.write() as conn:
        if has_owner(conn):
            return None
        token = new_token()
        conn.execute(delete(kept).where(kept.c.name == SETUP))
        conn.execute(insert(kept).values(name=SETUP, value=token_hash(token), created_at=store.now()))
        return token


def set_up(
    store: Store,
    *,
    token: str,
    email: str,
    name: str,
    password: str,
    locale: str = "en",
    ip_prefix: str = "",
) -> Person:
    """Make the owner. The person of local mode, if there was one, becomes this account with all chats.

    Raises:
        Forbidden: the token is wrong.
        Conflict: there is an owner.
        TooMany: too many failures before.
    """
    normal_email(email)
    name, locale = clean_name(name, empty=True), clean_locale(locale)
    checked_password(password)
    with store.write() as conn:
        attempt = begin_attempt(conn, store, account=None, ip_prefix=ip_prefix, act="setup")
    phc = hash_password(password)
    with store.write() as conn:
        if has_owner(conn):
            raise Conflict("this server has an owner; log in.", code="has_owner")
        expected = conn.execute(select(kept.c.value).where(kept.c.name == SETUP)).scalar() or ""
        if not secrets.compare_digest(expected, token_hash(str(token).strip())):
            raise Forbidden(
                "this is not the set-up token that the server printed when it started.", code="wrong_token"
            )
        conn.execute(delete(kept).where(kept.c.name == SETUP))
        workspace_id = the_workspace(conn, store)
        person_id = _local_person(conn, workspace_id)
        if person_id is None:
            person_id = insert_person(
                conn, store, workspace_id, role="owner", name=name, email=email, locale=locale
            )
        else:
            values = {"email": email, "email_norm": normal_email(email), "name": name, "locale": locale}
            conn.execute(update(people).where(people.c.id == person_id).values(values))
        _set_password(conn, store, person_id, phc)
        succeeded(conn, attempt)
        record(
            conn,
            store,
            None,
            "setup",
            kind="person",
            object_id=person_id,
            actor_id=person_id,
            workspace_id=workspace_id,
            ip_prefix=ip_prefix,
        )
        return person_of(conn, workspace_id, person_id)


def _local_person(conn: Connection, workspace_id: str) -> str | None:
    return conn.execute(
        select(people.c.id)
        .join(memberships, memberships.c.person_id == people.c.id)
        .where(
            memberships.c.workspace_id == workspace_id,
            memberships.c.role == "owner",
            people.c.email_norm.is_(None),
            people.c.status == "active",
        )
        .order_by(people.c.id)
        .limit(1)
    ).scalar()


def _set_password(conn: Connection, store: Store, person_id: str, phc: str) -> None:
    conn.execute(delete(passwords).where(passwords.c.person_id == person_id))
    conn.execute(insert(passwords).values(person_id=person_id, phc=phc, changed_at=store.now()))


def register(
    store: Store,
    *,
    email: str,
    name: str,
    password: str,
    invitation: str | None = None,
    locale: str = "en",
    ip_prefix: str = "",
    plan: str | None = None,
    budget: int | None = None,
) -> Person:
    """Make an account: by an invitation, or where registration is open.

    plan, budget: what the newcomer may use, as for `people.change_person`. The server decides them; a newcomer's
        request must not.

    Raises:
        Forbidden: registration is closed, or the invitation is not valid.
        Conflict: there is an account with this address.
        TooMany: too many failures before.
    """
    norm, name, locale = normal_email(email), clean_name(name, empty=True), clean_locale(locale)
    checked_password(password)
    with store.write() as conn:
        attempt = begin_attempt(conn, store, account=None, ip_prefix=ip_prefix, act="register")
    phc = hash_password(password)
    with store.write() as conn:
        workspace_id = the_workspace(conn, store)
        if not has_owner(conn):
            raise Conflict("this server is not set up yet; use the set-up token.", code="needs_setup")
        role = _admitted(conn, store, workspace_id, norm, invitation)
        allowance: dict[str, Any] = {"plan": plan, "budget": budget}
        person_id = insert_person(
            conn, store, workspace_id, role=role, name=name, email=email, locale=locale, **allowance
        )
        _set_password(conn, store, person_id, phc)
        succeeded(conn, attempt)
        record(
            conn,
            store,
            None,
            "register",
            kind="person",
            object_id=person_id,
            actor_id=person_id,
            workspace_id=workspace_id,
            ip_prefix=ip_prefix,
            detail={"role": role},
        )
        return person_of(conn, workspace_id, person_id)


def _admitted(conn: Connection, store: Store, workspace_id: str, norm: str, invitation: str | None) -> str:
    """The role of a newcomer; an invitation is used up."""
    how = settings_of(conn, workspace_id)["registration"]
    if invitation:
        row = conn.execute(
            select(invitations).where(
                invitations.c.token_hash == token_hash(invitation),
                invitations.c.workspace_id == workspace_id,
                invitations.c.used_at.is_(None),
                invitations.c.expires_at > store.now(),
            )
        ).first()
        if row is None or row.email_norm not in (None, norm) or how == "closed":
            raise Forbidden("this invitation is not valid (any more); ask for another.", code="invitation")
        conn.execute(update(invitations).where(invitations.c.id == row.id).values(used_at=store.now()))
        return str(row.role)
    if how != "open":
        raise Forbidden(
            "registration is not open; ask an administrator for an invitation.", code="registration"
        )
    return "member"


def invite(
    store: Store, principal: Principal, *, email: str | None = None, role: str = "member", days: int = 7
) -> tuple[Invitation, str]:
    """An invitation and its secret, shown once. With an address only that one can use it."""
    require(principal, "person.write")
    if role not in ROLES:
        raise Invalid(f"role is {role!r}; it must be one of {', '.join(ROLES)}.", param="role")
    if role == "owner":
        require(principal, "owner.write")
    token, now = new_token(), store.now()
    row = {
        "id": new_id("invitation"),
        "workspace_id": principal.workspace_id,
        "invited_by": principal.person_id,
        "email_norm": normal_email(email) if email else None,
        "role": role,
        "token_hash": token_hash(token),
        "expires_at": now + whole(days, "days", 1, 365) * DAY,
        "created_at": now,
    }
    with store.write() as conn:
        conn.execute(insert(invitations).values(row))
        record(
            conn,
            store,
            principal,
            "invite",
            kind="invitation",
            object_id=str(row["id"]),
            detail={"role": role},
        )
        return _view(row_of(conn, invitations, str(row["id"]))), token


def list_invitations(store: Store, principal: Principal) -> list[Invitation]:
    """All that can still be used."""
    require(principal, "person.read")
    with store.read() as conn:
        rows = conn.execute(
            select(invitations)
            .where(
                invitations.c.workspace_id == principal.workspace_id,
                invitations.c.used_at.is_(None),
                invitations.c.expires_at > store.now(),
            )
            .order_by(invitations.c.id)
        )
        return [_view(row) for row in rows]


def revoke_invitation(store: Store, principal: Principal, invitation_id: str) -> None:
    """End one."""
    require(principal, "person.write")
    with store.write() as conn:
        there = (invitations.c.id == invitation_id) & (invitations.c.workspace_id == principal.workspace_id)
        if not conn.execute(delete(invitations).where(there)).rowcount:
            raise NotFound("there is no such invitation.")
        record(conn, store, principal, "invitation.revoke", kind="invitation", object_id=invitation_id)


def _view(row: Any) -> Invitation:
    return Invitation(
        id=row.id,
        email=row.email_norm,
        role=row.role,
        created_at=iso(row.created_at),
        expires_at=iso(row.expires_at),
        used_at=iso_or_none(row.used_at),
    )
