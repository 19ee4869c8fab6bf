"""Conversations: list, make, open, change, trash, fork."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, tuple_, update

from ziggurat.product.common import (
    MAX_PROMPT,
    checked_settings,
    clean,
    clean_name,
    cursor_of,
    known,
    page_size,
    read_cursor,
    row_of,
    truth,
)
from ziggurat.product.copies import add_tree, nodes_of
from ziggurat.product.errors import NotFound
from ziggurat.product.objects import Chat, OpenChat, Page
from ziggurat.product.paths import newest_leaf, path_to
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.product.views import chat_view, message_views
from ziggurat.store import search as index
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, folders, generations, messages, personas

CHANGEABLE = (
    "title",
    "model",
    "folder_id",
    "persona_id",
    "system_prompt",
    "settings",
    "data_use",
    "pinned",
    "archived",
    "active_leaf_id",
)


def own_chat(conn: Connection, principal: Principal, chat_id: str) -> Any:
    """The row of one of the principal's chats, in the trash too.

    Raises:
        NotFound: there is none, or it is another's.
    """
    return require_on(principal, "chat", "chat", row_of(conn, chats, chat_id))


def list_chats(
    store: Store,
    principal: Principal,
    *,
    folder_id: str | None = None,
    archived: bool = False,
    trash: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Chat]:
    """Pinned ones first, then by `updated_at`, newest first. Without `folder_id`: chats of every folder. `trash`: only
    what lies in the trash, the last thrown away first."""
    require(principal, "chat")
    limit = page_size(limit)
    mine = select(chats).where(
        chats.c.person_id == principal.person_id, chats.c.workspace_id == principal.workspace_id
    )
    order: tuple[Any, ...]
    if trash:
        mine, order = mine.where(chats.c.deleted_at.is_not(None)), (chats.c.deleted_at, chats.c.id)
    else:
        mine = mine.where(chats.c.archived == archived, chats.c.deleted_at.is_(None))
        order = (chats.c.pinned, chats.c.updated_at, chats.c.id)
    if folder_id is not None:
        mine = mine.where(chats.c.folder_id == folder_id)
    if cursor:
        mine = mine.where(
            tuple_(*order) < tuple_(*read_cursor(cursor, (int, str) if trash else (bool, int, str)))
        )
    with store.read() as conn:
        rows = conn.execute(mine.order_by(*(c.desc() for c in order)).limit(limit + 1)).all()
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(
        data=[chat_view(row) for row in rows[:limit]],
        next=None if last is None else cursor_of(*(getattr(last, column.name) for column in order)),
    )


def create_chat(
    store: Store,
    principal: Principal,
    *,
    title: str = "",
    model: str | None = None,
    folder_id: str | None = None,
    persona_id: str | None = None,
    system_prompt: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data_use: bool = False,
) -> Chat:
    """A new, empty chat."""
    require(principal, "chat")
    given = {
        "title": title,
        "model": model,
        "folder_id": folder_id,
        "persona_id": persona_id,
        "system_prompt": system_prompt,
        "settings": settings or {},
        "data_use": data_use,
    }
    with store.write() as conn:
        chat_id = insert_chat(conn, store, principal, **_checked(conn, principal, given))
        return chat_view(row_of(conn, chats, chat_id))


def insert_chat(conn: Connection, store: Store, principal: Principal, **values: Any) -> str:
    """A row with defaults for what is not given; the title is indexed."""
    now = store.now()
    row = {
        "id": new_id("chat"),
        "workspace_id": principal.workspace_id,
        "person_id": principal.person_id,
        "title": "",
        "titled": bool(values.get("title")),
        "settings": {},
        "data_use": False,
        "pinned": False,
        "archived": False,
        "created_at": now,
        "updated_at": now,
    } | values
    conn.execute(insert(chats).values(row))
    _index_title(conn, principal, str(row["id"]), str(row["title"]))
    return str(row["id"])


def get_chat(store: Store, principal: Principal, chat_id: str) -> Chat:
    """One chat."""
    with store.read() as conn:
        return chat_view(own_chat(conn, principal, chat_id))


def open_chat(store: Store, principal: Principal, chat_id: str, *, limit: int = 50) -> OpenChat:
    """The chat, the last messages of its active path and the newest running generation on it."""
    limit = page_size(limit)
    with store.read() as conn:
        chat = own_chat(conn, principal, chat_id)
        rows = path_to(conn, chat_id, chat.active_leaf_id, limit=limit) if chat.active_leaf_id else []
        running = conn.execute(
            select(generations.c.id)
            .where(generations.c.chat_id == chat_id, generations.c.status == "running")
            .order_by((generations.c.message_id == chat.active_leaf_id).desc(), generations.c.id.desc())
            .limit(1)
        ).scalar()
        return OpenChat(
            chat=chat_view(chat),
            messages=message_views(conn, principal.person_id, rows),
            has_earlier=bool(rows) and rows[0].parent_id is not None,
            generation_id=running,
        )


def change_chat(store: Store, principal: Principal, chat_id: str, changes: Mapping[str, Any]) -> Chat:
    """Any of CHANGEABLE. `active_leaf_id` may be any message: the newest leaf below it becomes the active one."""
    changes = known(changes, CHANGEABLE)
    with store.write() as conn:
        own_chat(conn, principal, chat_id)
        values = _checked(conn, principal, changes)
        if (leaf := values.get("active_leaf_id")) is not None:
            message_row(conn, chat_id, leaf)
            values["active_leaf_id"] = newest_leaf(conn, chat_id, leaf)
        if "title" in values:
            set_title(conn, principal, chat_id, values.pop("title"), by_person=True)
        if values:
            conn.execute(update(chats).where(chats.c.id == chat_id).values(values))
        return chat_view(row_of(conn, chats, chat_id))


def _checked(conn: Connection, principal: Principal, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the columns."""
    values = dict(changes)
    if "title" in values:
        values["title"] = clean_name(values["title"], "title", empty=True)
    if values.get("model") is not None:
        values["model"] = clean_name(values["model"], "model")
    if values.get("system_prompt") is not None:
        values["system_prompt"] = clean(
            values["system_prompt"], "system_prompt", limit=MAX_PROMPT, empty=True
        )
    if "settings" in values:
        values["settings"] = checked_settings(values["settings"])
    for name in ("data_use", "pinned", "archived"):
        if name in values:
            values[name] = truth(values[name], name)
    if values.get("folder_id") is not None:
        require_on(principal, "chat", "folder", row_of(conn, folders, values["folder_id"]))
    if "persona_id" in values:
        persona = None
        if values["persona_id"] is not None:
            persona = usable_persona(conn, principal, values["persona_id"])
        values["persona_version"] = persona.version if persona else None
    return values


def usable_persona(conn: Connection, principal: Principal, persona_id: str) -> Any:
    """The row of a persona of one's own, or of a shared one of the workspace."""
    row = row_of(conn, personas, persona_id)
    mine = row is not None and row.person_id == principal.person_id
    if row is None or row.workspace_id != principal.workspace_id or not (mine or row.shared):
        raise NotFound("there is no such persona.")
    return row


def message_row(conn: Connection, chat_id: str, message_id: str) -> Any:
    """A message of this chat, fetched through the chat.

    Raises:
        NotFound: this chat has no such message.
    """
    found = conn.execute(
        select(messages).where(messages.c.id == message_id, messages.c.chat_id == chat_id)
    ).first()
    if found is None:
        raise NotFound("there is no such message in this chat.")
    return found


def set_title(conn: Connection, principal: Principal, chat_id: str, title: str, *, by_person: bool) -> None:
    """Write and index a title."""
    conn.execute(update(chats).where(chats.c.id == chat_id).values(title=title, titled=by_person))
    index.remove(conn, title_of=chat_id)
    _index_title(conn, principal, chat_id, title)


def _index_title(conn: Connection, principal: Principal, chat_id: str, title: str) -> None:
    if title:
        index.add(
            conn,
            workspace_id=principal.workspace_id,
            person_id=principal.person_id,
            chat_id=chat_id,
            message_id=None,
            content=title,
        )


def trash_chat(store: Store, principal: Principal, chat_id: str) -> Chat:
    """Put it into the trash."""
    return _set_deleted(store, principal, chat_id, store.now())


def restore_chat(store: Store, principal: Principal, chat_id: str) -> Chat:
    """Take it out of the trash."""
    return _set_deleted(store, principal, chat_id, None)


def _set_deleted(store: Store, principal: Principal, chat_id: str, when: int | None) -> Chat:
    with store.write() as conn:
        own_chat(conn, principal, chat_id)
        conn.execute(update(chats).where(chats.c.id == chat_id).values(deleted_at=when))
        return chat_view(row_of(conn, chats, chat_id))


def fork_chat(store: Store, principal: Principal, chat_id: str, message_id: str) -> Chat:
    """A new chat with the path up to a message."""
    with store.write() as conn:
        chat = own_chat(conn, principal, chat_id)
        message_row(conn, chat_id, message_id)
        kept = ("folder_id", "persona_id", "persona_version", "title", "titled", "model", "system_prompt")
        values = {name: getattr(chat, name) for name in (*kept, "settings", "data_use")}
        forked = insert_chat(conn, store, principal, **values)
        add_tree(conn, store, principal, forked, nodes_of(path_to(conn, chat_id, message_id)))
        return chat_view(row_of(conn, chats, forked))


def index_message(
    conn: Connection,
    workspace_id: str,
    person_id: str,
    chat_id: str,
    message_id: str,
    content: str,
    *,
    fresh: bool = False,
) -> None:
    """Index a message, in place of what was indexed of it before; of a `fresh` one nothing was."""
    if not fresh:
        index.remove(conn, message_ids=[message_id])
    if content:
        index.add(
            conn,
            workspace_id=workspace_id,
            person_id=person_id,
            chat_id=chat_id,
            message_id=message_id,
            content=content,
        )
