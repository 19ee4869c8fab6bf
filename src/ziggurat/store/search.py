"""Write and ask the search index. Whose an entry is stands in the index as a word, so that a search reads no entry of
another person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, null, select, text, union_all

from ziggurat.store.tables.chats import chats, messages
from ziggurat.store.tables.search import search_entries as entries
from ziggurat.store.words import index_words, query_words

BATCH = 500


class Entry(NamedTuple):
    chat_id: str
    message_id: str | None


def add(
    conn: Connection, *, workspace_id: str, person_id: str, chat_id: str, message_id: str | None, content: str
) -> None:
    """Index a title (`message_id` None) or a message. Whoever changes one removes its entry first."""
    words = [_owner(person_id), *index_words(content)]
    row = {"workspace_id": workspace_id, "person_id": person_id, "chat_id": chat_id, "message_id": message_id}
    entry = conn.execute(insert(entries).values(row)).inserted_primary_key
    assert entry is not None
    if conn.dialect.name == "sqlite":
        conn.execute(_FTS_INSERT, {"id": entry[0], "tokens": " ".join(words)})
    else:
        conn.execute(_TSVECTOR_SET, {"id": entry[0], "tokens": words})


_FTS_INSERT = text("INSERT INTO search_text (rowid, tokens) VALUES (:id, :tokens)")
_TSVECTOR_SET = text(
    "UPDATE search_entry SET tokens = array_to_tsvector(CAST(:tokens AS text[])) WHERE id = :id"
)


def remove(
    conn: Connection,
    *,
    chat_ids: Sequence[str] = (),
    message_ids: Sequence[str] = (),
    title_of: str | None = None,
) -> None:
    """Take entries out: all of chats, of messages, or the title of one chat."""
    conditions: list[ColumnElement[bool]] = [entries.c.chat_id.in_(part) for part in _parts(chat_ids)]
    conditions += [entries.c.message_id.in_(part) for part in _parts(message_ids)]
    if title_of is not None:
        conditions.append((entries.c.chat_id == title_of) & entries.c.message_id.is_(None))
    for condition in conditions:
        if conn.dialect.name == "sqlite":
            ids = conn.execute(select(entries.c.id).where(condition)).scalars().all()
            for part in _parts(ids):
                conn.execute(_FTS_DELETE, {"ids": part})
        conn.execute(delete(entries).where(condition))


_FTS_DELETE = text("DELETE FROM search_text WHERE rowid IN :ids").bindparams(bindparam("ids", expanding=True))


def find(conn: Connection, person_id: str, query: str, *, limit: int) -> list[Entry]:
    """The newest entries of a person that hold every word of the query; nothing for a query without a word."""
    words, prefix = query_words(query)
    if not words and prefix is None:
        return []
    words.append(_owner(person_id))
    if conn.dialect.name == "sqlite":
        asked = " ".join(f'"{word}"' for word in words) + (f' "{prefix}"*' if prefix else "")
        statement = _FTS_FIND
    else:
        asked = " & ".join([f"'{word}'" for word in words] + ([f"'{prefix}':*"] if prefix else []))
        statement = _TSVECTOR_FIND
    found = conn.execute(statement, {"asked": asked, "limit": limit}).all()
    return [Entry(row.chat_id, row.message_id) for row in found]


_FTS_FIND = text(
    "SELECT e.chat_id, e.message_id FROM (SELECT rowid FROM search_text WHERE search_text MATCH :asked "
    "ORDER BY rowid DESC LIMIT :limit) AS hit JOIN search_entry AS e ON e.id = hit.rowid ORDER BY e.id DESC"
)
_TSVECTOR_FIND = text(
    "SELECT chat_id, message_id FROM search_entry WHERE tokens @@ CAST(:asked AS tsquery) "
    "ORDER BY id DESC LIMIT :limit"
)


def rebuild(conn: Connection) -> None:
    """Make the whole index again from titles and messages, in the order of their time."""
    if conn.dialect.name == "sqlite":
        conn.execute(text("DELETE FROM search_text"))
    conn.execute(delete(entries))
    owner = (chats.c.workspace_id, chats.c.person_id, chats.c.id.label("chat_id"))
    titles = select(*owner, null().label("message_id"), chats.c.title.label("content"), chats.c.created_at)
    said = select(
        *owner, messages.c.id.label("message_id"), messages.c.content, messages.c.created_at
    ).join_from(messages, chats, chats.c.id == messages.c.chat_id)
    both = union_all(titles.where(chats.c.title != ""), said.where(messages.c.content != "")).subquery()
    rows = conn.execute(select(both).order_by(both.c.created_at, both.c.message_id))
    for workspace_id, person_id, chat_id, message_id, content, _ in rows.all():
        add(
            conn,
            workspace_id=workspace_id,
            person_id=person_id,
            chat_id=chat_id,
            message_id=message_id,
            content=content,
        )


def _owner(person_id: str) -> str:
    """A word that no text holds, since words have no more than MAX_LETTERS letters and an id is random."""
    return "owner" + person_id.rpartition("_")[2]


def _parts(ids: Iterable[Any]) -> Iterable[list[Any]]:
    whole = list(ids)
    return (whole[i : i + BATCH] for i in range(0, len(whole), BATCH))
