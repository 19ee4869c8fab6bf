"""True deletion: of a message, a chat, an account. Nothing of it is left in any table, index or page of the file.

SQLite overwrites freed bytes with zeros (`secure_delete`); the search index is merged, so that no removed word stays
in it, and the write-ahead log is emptied. PostgreSQL removes dead rows at VACUUM; its write-ahead log and the file
system's free blocks are the administrator's matter, and so are backups made before. A tombstone keeps the ids, so that
later data sets leave them out; audit entries hold ids only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from ziggurat.product import inferences
from ziggurat.product.burial import BATCH, bury
from ziggurat.product.chats import message_row, own_chat
from ziggurat.product.common import record, row_of
from ziggurat.product.errors import Conflict, Forbidden
from ziggurat.product.labelled import (
    items_of_chats,
    items_of_messages,
    items_written_by,
    projects_of,
    remove_answers_of,
    remove_items,
    remove_projects,
)
from ziggurat.product.objects import Chat
from ziggurat.product.passwords import fits
from ziggurat.product.paths import newest_leaf, subtree
from ziggurat.product.personas import keep_texts
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.product.shares import end_shares
from ziggurat.product.throttle import account_key, begin_attempt, succeeded
from ziggurat.product.views import chat_view
from ziggurat.store import search as index
from ziggurat.store.scrub import scrub
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, generations, messages, personas, shares
from ziggurat.store.tables.judgements import judged_messages, judgements
from ziggurat.store.tables.people import attempts, invitations, memberships, passwords, people


def delete_chat(store: Store, principal: Principal, chat_id: str, *, clean: bool = True) -> None:
    """A chat with everything in it: messages, generations, judgements, shares, held answers, its words in the index.

    clean False leaves freed pages to a later `store.scrub.scrub`, for many deletions in a row.
    """
    with store.write() as conn:
        own_chat(conn, principal, chat_id)
        remove_chats(conn, store, principal.workspace_id, [chat_id])
        record(conn, store, principal, "chat.delete", kind="chat", object_id=chat_id)
    if clean:
        scrub(store)


def empty_trash(store: Store, principal: Principal) -> int:
    """All my chats in the trash; returns how many."""
    require(principal, "chat")
    with store.write() as conn:
        wanted = select(chats.c.id).where(
            chats.c.person_id == principal.person_id,
            chats.c.workspace_id == principal.workspace_id,
            chats.c.deleted_at.is_not(None),
        )
        gone = list(conn.execute(wanted).scalars())
        remove_chats(conn, store, principal.workspace_id, gone)
        if gone:
            record(conn, store, principal, "trash.empty", detail={"chats": gone[:1_000]})
    if gone:
        scrub(store)
    return len(gone)


def remove_chats(conn: Connection, store: Store, workspace_id: str, chat_ids: Sequence[str]) -> None:
    """The rows; foreign keys take along what hangs on them."""
    for at in range(0, len(chat_ids), BATCH):
        part = list(chat_ids[at : at + BATCH])
        remove_items(conn, store, workspace_id, items_of_chats(conn, part))
        judged = conn.execute(select(judgements.c.id).where(judgements.c.chat_id.in_(part))).scalars().all()
        bury(conn, store, workspace_id, "judgement", judged)
        bury(conn, store, workspace_id, "chat", part)
        index.remove(conn, chat_ids=part)
        conn.execute(delete(chats).where(chats.c.id.in_(part)))


def delete_message(store: Store, principal: Principal, chat_id: str, message_id: str) -> Chat:
    """A message with everything below it, every judgement about one of them, and shares that show one of them. The
    active branch moves to the nearest one that is left.

    Raises:
        Conflict: one of them is still being written.
    """
    with store.write() as conn:
        chat = own_chat(conn, principal, chat_id)
        row = message_row(conn, chat_id, message_id)
        gone = subtree(conn, chat_id, message_id)
        busy = generations.c.chat_id == chat_id, generations.c.status == "running"
        if set(conn.execute(select(generations.c.message_id).where(*busy)).scalars()) & set(gone):
            raise Conflict(
                "an answer in this branch is still being written; stop it first.", code="still_running"
            )
        for at in range(0, len(gone), BATCH):
            _remove_messages(conn, store, principal.workspace_id, gone[at : at + BATCH])
        remove_items(conn, store, principal.workspace_id, items_of_messages(conn, chat_id, gone))
        _end_shares_of(conn, store, chat_id, set(gone))
        if chat.active_leaf_id in set(gone):
            conn.execute(
                update(chats).where(chats.c.id == chat_id).values(active_leaf_id=_near(conn, chat_id, row))
            )
        record(conn, store, principal, "message.delete", kind="message", object_id=message_id)
        view = chat_view(row_of(conn, chats, chat_id))
    scrub(store)
    return view


def _remove_messages(conn: Connection, store: Store, workspace_id: str, part: list[str]) -> None:
    about = select(judged_messages.c.judgement_id).where(judged_messages.c.message_id.in_(part))
    judged = list(conn.execute(about.distinct()).scalars())
    bury(conn, store, workspace_id, "judgement", judged)
    bury(conn, store, workspace_id, "message", part)
    for at in range(0, len(judged), BATCH):
        conn.execute(delete(judgements).where(judgements.c.id.in_(judged[at : at + BATCH])))
    index.remove(conn, message_ids=part)
    conn.execute(delete(messages).where(messages.c.id.in_(part)))


def _end_shares_of(conn: Connection, store: Store, chat_id: str, gone: set[str]) -> None:
    rows = conn.execute(select(shares.c.id, shares.c.snapshot).where(shares.c.chat_id == chat_id)).all()
    end_shares(conn, store, [row.id for row in rows if row.snapshot and gone & set(row.snapshot["source"])])


def _near(conn: Connection, chat_id: str, row: Any) -> str | None:
    """The newest leaf below the parent of a deleted message, or of what else the chat begins with."""
    if row.parent_id is not None:
        return newest_leaf(conn, chat_id, row.parent_id)
    roots = (messages.c.chat_id == chat_id) & messages.c.parent_id.is_(None)
    root = conn.execute(select(func.max(messages.c.id)).where(roots)).scalar()
    return None if root is None else newest_leaf(conn, chat_id, root)


def delete_account(store: Store, principal: Principal, *, password: str | None = None) -> None:
    """The person's account with everything in it. In local mode: everything that the person has, and a new, empty
    owner at the next call.

    Raises:
        Forbidden: the password is wrong or missing.
        Conflict: the last owner of a workspace with other people in it.
    """
    require(principal, "me")
    _check_password(store, principal, password)
    with store.write() as conn:
        person = row_of(conn, people, principal.person_id)
        _check_last_owner(conn, principal)
        mine = list(
            conn.execute(select(chats.c.id).where(chats.c.person_id == principal.person_id)).scalars()
        )
        if _is_alone(conn, principal):
            remove_projects(conn, store, principal.workspace_id, projects_of(conn, principal.workspace_id))
        remove_items(conn, store, principal.workspace_id, items_written_by(conn, principal.person_id))
        remove_answers_of(conn, store, principal.person_id)
        judged = conn.execute(select(judgements.c.id).where(judgements.c.person_id == principal.person_id))
        bury(conn, store, principal.workspace_id, "judgement", list(judged.scalars()))
        answers = inferences.of_person(conn, principal.person_id)
        inferences.remove(conn, store, principal.workspace_id, answers)
        remove_chats(conn, store, principal.workspace_id, mine)
        for persona in conn.execute(
            select(personas.c.id).where(personas.c.person_id == principal.person_id)
        ).all():
            keep_texts(conn, persona.id)
        if person.email_norm is not None:
            conn.execute(delete(attempts).where(attempts.c.who == account_key(person.email_norm)))
            conn.execute(delete(invitations).where(invitations.c.email_norm == person.email_norm))
        bury(conn, store, principal.workspace_id, "person", [principal.person_id])
        conn.execute(delete(people).where(people.c.id == principal.person_id))
        record(conn, store, principal, "account.delete", kind="person", object_id=principal.person_id)
    scrub(store, whole=True)


def _check_password(store: Store, principal: Principal, password: str | None) -> None:
    with store.write() as conn:
        row = conn.execute(
            select(passwords.c.phc, people.c.email_norm)
            .join(people, people.c.id == passwords.c.person_id)
            .where(passwords.c.person_id == principal.person_id)
        ).first()
        if row is None or principal.via == "local":
            return
        attempt = begin_attempt(conn, store, account=row.email_norm, ip_prefix=principal.ip_prefix)
    if not fits(row.phc, password):
        raise Forbidden(
            "the password is wrong; nothing was deleted.", code="wrong_password", param="password"
        )
    with store.write() as conn:
        succeeded(conn, attempt, row.email_norm)


def _is_alone(conn: Connection, principal: Principal) -> bool:
    others = select(memberships.c.person_id).where(
        memberships.c.workspace_id == principal.workspace_id, memberships.c.person_id != principal.person_id
    )
    return conn.execute(others.limit(1)).first() is None


def _check_last_owner(conn: Connection, principal: Principal) -> None:
    """Whoever is alone may go."""
    others = conn.execute(
        select(memberships.c.role)
        .join(people, people.c.id == memberships.c.person_id)
        .where(
            memberships.c.workspace_id == principal.workspace_id,
            memberships.c.person_id != principal.person_id,
            people.c.status == "active",
        )
    ).scalars()
    roles = list(others)
    if principal.role == "owner" and roles and "owner" not in roles:
        raise Conflict("you are the last owner; make another one first.", code="last_owner")
