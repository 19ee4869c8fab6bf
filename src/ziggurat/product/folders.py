"""Folders of chats, inside one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from ziggurat.product.common import clean_name, known, row_of, whole
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.objects import Folder
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.store.ids import new_id
from ziggurat.store.scrub import scrub
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, folders

MAX_FOLDERS = 1_000
MAX_DEPTH = 8


def list_folders(store: Store, principal: Principal) -> list[Folder]:
    """All of mine, by position and name."""
    require(principal, "chat")
    with store.read() as conn:
        rows = conn.execute(
            select(folders)
            .where(
                folders.c.person_id == principal.person_id, folders.c.workspace_id == principal.workspace_id
            )
            .order_by(folders.c.position, folders.c.name, folders.c.id)
        )
        return [_view(row) for row in rows]


def create_folder(store: Store, principal: Principal, *, name: str, parent_id: str | None = None) -> Folder:
    """A new one, at the end."""
    name = clean_name(name)
    require(principal, "chat")
    with store.write() as conn:
        if parent_id is not None:
            _own(conn, principal, parent_id)
            _check_depth(conn, parent_id)
        mine = folders.c.person_id == principal.person_id
        count, last = conn.execute(select(func.count(), func.max(folders.c.position)).where(mine)).one()
        if count >= MAX_FOLDERS:
            raise Conflict(
                f"you have {count:,} folders; at most {MAX_FOLDERS:,} are kept.", code="too_many_folders"
            )
        folder_id = new_id("folder")
        row = {
            "id": folder_id,
            "workspace_id": principal.workspace_id,
            "person_id": principal.person_id,
            "parent_id": parent_id,
            "name": name,
            "position": 0 if last is None else last + 1,
            "created_at": store.now(),
        }
        conn.execute(insert(folders).values(row))
        return _view(row_of(conn, folders, folder_id))


def change_folder(store: Store, principal: Principal, folder_id: str, changes: Mapping[str, Any]) -> Folder:
    """Any of name, parent_id, position."""
    values = known(changes, ("name", "parent_id", "position"))
    with store.write() as conn:
        _own(conn, principal, folder_id)
        if "name" in values:
            values["name"] = clean_name(values["name"])
        if "position" in values:
            values["position"] = whole(values["position"], "position", 0, 2**31 - 1)
        if (parent_id := values.get("parent_id")) is not None:
            _own(conn, principal, parent_id)
            if folder_id in _check_depth(conn, parent_id):
                raise Invalid(
                    "a folder cannot lie inside itself; choose another parent_id.", param="parent_id"
                )
        if values:
            conn.execute(update(folders).where(folders.c.id == folder_id).values(values))
        return _view(row_of(conn, folders, folder_id))


def delete_folder(store: Store, principal: Principal, folder_id: str) -> None:
    """Its chats and sub-folders move to its parent."""
    with store.write() as conn:
        row = _own(conn, principal, folder_id)
        conn.execute(update(chats).where(chats.c.folder_id == folder_id).values(folder_id=row.parent_id))
        conn.execute(update(folders).where(folders.c.parent_id == folder_id).values(parent_id=row.parent_id))
        conn.execute(delete(folders).where(folders.c.id == folder_id))
    scrub(store, index=False)


def _own(conn: Connection, principal: Principal, folder_id: str) -> Any:
    return require_on(principal, "chat", "folder", row_of(conn, folders, folder_id))


def _check_depth(conn: Connection, folder_id: str) -> list[str]:
    """The folder and those around it; raises Invalid where nothing may lie deeper."""
    around: list[str] = []
    at: str | None = folder_id
    while at is not None:
        around.append(at)
        at = row_of(conn, folders, at).parent_id
    if len(around) >= MAX_DEPTH:
        raise Invalid(f"folders lie at most {MAX_DEPTH} deep.", param="parent_id")
    return around


def _view(row: Any) -> Folder:
    return Folder(id=row.id, parent_id=row.parent_id, name=row.name, position=row.position)
