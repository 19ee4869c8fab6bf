"""Personas: a system prompt, a model and sampling settings under a name. A change is a new version; a chat keeps the
version that it began with until somebody gives it the persona again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from ziggurat.product.chats import usable_persona
from ziggurat.product.common import MAX_PROMPT, checked_settings, clean, clean_name, known, row_of, truth
from ziggurat.product.objects import Persona
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.scrub import scrub
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, personas
from ziggurat.store.tables.chats import persona_versions as versions

FIELDS = ("name", "system_prompt", "model", "settings")


def list_personas(store: Store, principal: Principal) -> list[Persona]:
    """Mine, and the shared ones of the workspace."""
    require(principal, "chat")
    usable = or_(personas.c.person_id == principal.person_id, personas.c.shared)
    with store.read() as conn:
        rows = conn.execute(_newest().where(personas.c.workspace_id == principal.workspace_id, usable))
        return [_view(principal, row) for row in rows]


def get_persona(store: Store, principal: Principal, persona_id: str) -> Persona:
    """One that the principal may use."""
    require(principal, "chat")
    with store.read() as conn:
        usable_persona(conn, principal, persona_id)
        return _one(conn, principal, persona_id)


def create_persona(
    store: Store,
    principal: Principal,
    *,
    name: str,
    system_prompt: str,
    model: str | None = None,
    settings: Mapping[str, Any] | None = None,
    shared: bool = False,
) -> Persona:
    """A new one. `shared`, with everybody in the workspace, needs the right to share."""
    require(principal, "persona.share" if shared else "chat")
    fields = {"name": name, "system_prompt": system_prompt, "model": model, "settings": settings or {}}
    checked = _checked(fields)
    with store.write() as conn:
        persona_id = new_id("persona")
        row = {
            "id": persona_id,
            "workspace_id": principal.workspace_id,
            "person_id": principal.person_id,
            "version": 1,
            "shared": shared,
            "created_at": store.now(),
        }
        conn.execute(insert(personas).values(row))
        conn.execute(
            insert(versions).values(persona_id=persona_id, version=1, created_at=store.now(), **checked)
        )
        return _one(conn, principal, persona_id)


def change_persona(
    store: Store, principal: Principal, persona_id: str, changes: Mapping[str, Any]
) -> Persona:
    """Any of name, system_prompt, model, settings (a new version) and shared."""
    values = known(changes, (*FIELDS, "shared"))
    with store.write() as conn:
        row = _own(conn, principal, persona_id)
        if "shared" in values:
            shared = truth(values.pop("shared"), "shared")
            if shared and not row.shared:
                require(principal, "persona.share")
            conn.execute(update(personas).where(personas.c.id == persona_id).values(shared=shared))
        if values:
            newest = conn.execute(_newest().where(personas.c.id == persona_id)).one()
            fields = {name: getattr(newest, name) for name in FIELDS} | _checked(values)
            number = row.version + 1
            conn.execute(
                insert(versions).values(
                    persona_id=persona_id, version=number, created_at=store.now(), **fields
                )
            )
            conn.execute(update(personas).where(personas.c.id == persona_id).values(version=number))
        return _one(conn, principal, persona_id)


def delete_persona(store: Store, principal: Principal, persona_id: str) -> None:
    """Remove it. Chats that used it keep the text of their version as their own system prompt."""
    with store.write() as conn:
        _own(conn, principal, persona_id)
        keep_texts(conn, persona_id)
        conn.execute(delete(personas).where(personas.c.id == persona_id))
    scrub(store, index=False)


def keep_texts(conn: Connection, persona_id: str) -> None:
    """Give the chats of a persona that is about to go the text of their version."""
    for version in conn.execute(select(versions).where(versions.c.persona_id == persona_id)).all():
        uses = (chats.c.persona_id == persona_id) & (chats.c.persona_version == version.version)
        conn.execute(
            update(chats)
            .where(uses, chats.c.system_prompt.is_(None))
            .values(system_prompt=version.system_prompt)
        )


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(fields)
    if "name" in values:
        values["name"] = clean_name(values["name"])
    if "system_prompt" in values:
        values["system_prompt"] = clean(values["system_prompt"], "system_prompt", limit=MAX_PROMPT)
    if values.get("model") is not None:
        values["model"] = clean_name(values["model"], "model")
    if "settings" in values:
        values["settings"] = checked_settings(values["settings"])
    return values


def _newest() -> Any:
    return (
        select(personas, versions.c.name, versions.c.system_prompt, versions.c.model, versions.c.settings)
        .join(versions, (versions.c.persona_id == personas.c.id) & (versions.c.version == personas.c.version))
        .order_by(versions.c.name, personas.c.id)
    )


def _own(conn: Connection, principal: Principal, persona_id: str) -> Any:
    return require_on(principal, "chat", "persona", row_of(conn, personas, persona_id))


def _one(conn: Connection, principal: Principal, persona_id: str) -> Persona:
    return _view(principal, conn.execute(_newest().where(personas.c.id == persona_id)).one())


def _view(principal: Principal, row: Any) -> Persona:
    return Persona(
        id=row.id,
        name=row.name,
        system_prompt=row.system_prompt,
        model=row.model,
        settings=row.settings,
        version=row.version,
        shared=row.shared,
        mine=row.person_id == principal.person_id,
        created_at=iso(row.created_at),
    )
