"""What the thing that was judged says about a judgement: whether it is a gold item, from which chat it came, its topic.

A judgement of messages needs none of this: its chat says everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, select

from ziggurat.store.tables.base import metadata

BATCH = 400


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Of one subject of judgements."""

    gold: bool = False
    """A known item: for measuring labellers, never for training."""
    chat_id: str | None = None
    person_id: str | None = None
    """Whose conversation it comes from."""
    from_chat: bool = False
    """Made from a chat, which may be gone since."""
    data_use: bool = True
    topic: str | None = None
    lang: str | None = None
    model: str | None = None
    open_conflict: bool = False
    """Answers disagree, and nobody has decided yet."""


def facts_of(conn: Connection, subjects: Iterable[tuple[str, str]]) -> dict[str, Facts]:
    """The facts of each (kind, id); a subject that is gone is missing."""
    by_kind: dict[str, set[str]] = {}
    for kind, subject_id in subjects:
        by_kind.setdefault(kind, set()).add(subject_id)
    found = _reviews(conn, sorted(by_kind.get("review", ())))
    for kind, (name, read) in READERS.items():
        if (table := metadata.tables.get(name)) is not None:
            found |= {row.id: read(row) for row in rows_of(conn, table, sorted(by_kind.get(kind, ())))}
    return found


def rows_of(conn: Connection, table: Table, ids: Sequence[str], column: str = "id") -> Iterator[Any]:
    """Rows by many values of a column."""
    for at in range(0, len(ids), BATCH):
        yield from conn.execute(select(table).where(table.c[column].in_(ids[at : at + BATCH])))


def _reviews(conn: Connection, version_ids: Sequence[str]) -> dict[str, Facts]:
    """A review is judged by its versions of the text; what is asked stands in its item."""
    versions, items = metadata.tables.get("review_version"), metadata.tables.get("review_item")
    if versions is None or items is None:
        return {}
    of_item = {row.id: row.item_id for row in rows_of(conn, versions, version_ids)}
    known = {row.id: _review(row) for row in rows_of(conn, items, sorted(set(of_item.values())))}
    return {version_id: known[item_id] for version_id, item_id in of_item.items() if item_id in known}


def _item(row: Any) -> Facts:
    return Facts(
        gold=row.kind != "work",
        chat_id=row.chat_id,
        from_chat=(row.source or {}).get("kind") == "chat",
        data_use=row.data_use,
        lang=row.lang,
        topic=(row.meta or {}).get("topic"),
        open_conflict=row.status == "conflicted",
    )


def _review(row: Any) -> Facts:
    return Facts(
        chat_id=row.chat_id,
        person_id=row.person_id,
        from_chat=row.channel == "chat",
        data_use=row.data_use,
        topic=row.topic,
        lang=row.lang,
        model=row.model,
    )


def _inference(row: Any) -> Facts:
    return Facts(person_id=row.person_id, model=row.model)


def _battle(row: Any) -> Facts:
    return Facts(lang=row.lang)


READERS = {
    "item": ("label_item", _item),
    "inference": ("inference", _inference),
    "battle": ("battle", _battle),
}
