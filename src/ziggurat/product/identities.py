"""People who log in elsewhere (OpenID Connect): who they are here.

An account is linked by its address only if the provider says that the address is verified; otherwise whoever registers
an address there would own the account here. The account may have been made by somebody who never proved the address, so
linking it deletes its password, ends its sessions and revokes its keys: from then on only the provider's login opens
it. A newcomer comes in where registration is open, or by a domain that the workspace allows.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ziggurat.product.common import clean_name, record
from ziggurat.product.errors import Conflict, Forbidden
from ziggurat.product.objects import Person
from ziggurat.product.people import clean_locale, insert_person, normal_email, person_of, the_workspace
from ziggurat.product.registration import has_owner
from ziggurat.product.sessions import begin_session
from ziggurat.product.workspaces import settings_of
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.people import api_keys, identities, memberships, passwords, people, sessions


def log_in_with(
    store: Store,
    *,
    provider: str,
    subject: str,
    email: str | None,
    email_verified: bool,
    name: str = "",
    locale: str = "",
    ip_prefix: str = "",
    user_agent: str = "",
) -> tuple[Person, str, str]:
    """The person, the cookie's secret and the CSRF token of a new session, for somebody whose identity the provider
    (its issuer's address) has proven.

    Raises:
        Forbidden: not verified, not admitted, or the account is disabled.
        Conflict: nobody owns this server yet.
    """
    with store.write() as conn:
        workspace_id = the_workspace(conn, store)
        person_id = _linked(conn, provider, subject)
        if person_id is None:
            if not has_owner(conn):
                raise Conflict("this server is not set up yet; use the set-up token.", code="needs_setup")
            person_id, known = _admit(conn, store, workspace_id, email, email_verified, name, locale)
            closed = _close_other_ways(conn, store, person_id) if known else {}
            row = {"id": new_id("identity"), "person_id": person_id, "provider": provider, "subject": subject}
            conn.execute(insert(identities).values(row | {"created_at": store.now()}))
            record(
                conn,
                store,
                None,
                "identity.link",
                kind="person",
                object_id=person_id,
                actor_id=person_id,
                workspace_id=workspace_id,
                ip_prefix=ip_prefix,
                detail=closed,
            )
        found = _member(conn, person_id)
        if found is None or found.status != "active":
            raise Forbidden("this account is disabled; ask an administrator.", code="disabled")
        cookie, csrf = begin_session(
            conn, store, found.workspace_id, person_id, ip_prefix=ip_prefix, user_agent=user_agent
        )
        return person_of(conn, found.workspace_id, person_id), cookie, csrf


def _linked(conn: Connection, provider: str, subject: str) -> str | None:
    mine = (identities.c.provider == provider) & (identities.c.subject == subject)
    return conn.execute(select(identities.c.person_id).where(mine)).scalar()


def _member(conn: Connection, person_id: str) -> Any:
    return conn.execute(
        select(people.c.status, memberships.c.workspace_id)
        .join(memberships, memberships.c.person_id == people.c.id)
        .where(people.c.id == person_id)
    ).first()


def _admit(
    conn: Connection,
    store: Store,
    workspace_id: str,
    email: str | None,
    verified: bool,
    name: str,
    locale: str,
) -> tuple[str, bool]:
    """The account with this address, or a new one; and whether it was there before."""
    if not email or not verified:
        raise Forbidden("your provider does not say that your address is verified.", code="unverified_email")
    norm = normal_email(email)
    known = conn.execute(select(people.c.id).where(people.c.email_norm == norm)).scalar()
    if known is not None:
        return str(known), True
    settings = settings_of(conn, workspace_id)
    domains = [domain.casefold() for domain in settings["oidc_domains"]]
    by_domain = norm.rpartition("@")[2] in domains
    if not by_domain and (domains or settings["registration"] != "open"):
        raise Forbidden("your address is not admitted here; ask an administrator.", code="registration")
    person_id = insert_person(
        conn,
        store,
        workspace_id,
        role="member",
        name=clean_name(name[:200], empty=True),
        email=email,
        locale=clean_locale(locale[:16]) if locale.replace("-", "").isalnum() else "en",
    )
    return person_id, False


def _close_other_ways(conn: Connection, store: Store, person_id: str) -> dict[str, int]:
    """Delete the password, end the sessions, revoke the keys; how many of each, for the audit."""
    gone = {
        "passwords": delete(passwords).where(passwords.c.person_id == person_id),
        "sessions": delete(sessions).where(sessions.c.person_id == person_id),
        "keys": update(api_keys)
        .where(api_keys.c.person_id == person_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=store.now()),
    }
    return {name: int(conn.execute(statement).rowcount) for name, statement in gone.items()}
