"""Full text over my chats: titles and messages, in English and Chinese.

The index knows words and pairs of Chinese characters. A longer run of Chinese characters is compared with the text
itself afterwards, since its pairs may stand apart there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from ziggurat.product.common import clean
from ziggurat.product.objects import SearchHit
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store import search as index
from ziggurat.store.clock import iso
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, messages
from ziggurat.store.words import folded, is_cjk, runs

MAX_QUERY = 400
CANDIDATES = 4
"""Entries that are read for each hit that is wanted: some do not hold the whole run, or lie in the trash."""
BEFORE, AFTER = 40, 120
"""Characters of a snippet before and after the first place."""


class _Found(NamedTuple):
    chat: Any
    message_id: str | None
    text: str
    created_at: int


def search(store: Store, principal: Principal, query: str, *, limit: int = 20) -> list[SearchHit]:
    """Titles and messages that hold every word of the query, newest first, without what lies in the trash. The last
    word may be the beginning of one. `marks` are ranges of characters in the snippet."""
    require(principal, "chat")
    query = clean(query, "q", limit=MAX_QUERY, empty=True)
    limit = max(1, min(limit, 100))
    asked = runs(query)
    with store.read() as conn:
        entries = index.find(conn, principal.person_id, query, limit=limit * CANDIDATES)
        hits = []
        for found in _texts(conn, principal, entries):
            snippet = _snippet(found.text, asked)
            if snippet is not None:
                hits.append(_hit(found, *snippet))
            if len(hits) == limit:
                break
        return hits


def _texts(conn: Connection, principal: Principal, entries: list[index.Entry]) -> list[_Found]:
    """What the entries point to, in their order, as far as it is the principal's and not in the trash."""
    ids = {entry.chat_id for entry in entries}
    mine = (chats.c.person_id == principal.person_id) & (chats.c.workspace_id == principal.workspace_id)
    found_chats = {
        row.id: row
        for row in conn.execute(
            select(chats.c.id, chats.c.title, chats.c.created_at).where(
                chats.c.id.in_(ids), mine, chats.c.deleted_at.is_(None)
            )
        )
    }
    wanted = [entry.message_id for entry in entries if entry.message_id and entry.chat_id in found_chats]
    found_messages = {
        row.id: row
        for row in conn.execute(
            select(messages.c.id, messages.c.content, messages.c.created_at).where(messages.c.id.in_(wanted))
        )
    }
    found = []
    for entry in entries:
        chat = found_chats.get(entry.chat_id)
        if chat is None:
            continue
        if entry.message_id is None:
            found.append(_Found(chat, None, chat.title, chat.created_at))
        elif (message := found_messages.get(entry.message_id)) is not None:
            found.append(_Found(chat, message.id, message.content, message.created_at))
    return found


def _hit(found: _Found, snippet: str, marks: list[tuple[int, int]]) -> SearchHit:
    return SearchHit(
        chat_id=found.chat.id,
        title=found.chat.title,
        message_id=found.message_id,
        snippet=snippet,
        marks=marks,
        created_at=iso(found.created_at),
    )


def _snippet(text: str, asked: list[str]) -> tuple[str, list[tuple[int, int]]] | None:
    """A piece of the text around the first place, and where the words stand in it; None where a run of Chinese
    characters is nowhere as a whole."""
    plain, places = _with_places(text)
    spans: list[tuple[int, int]] = []
    for run in asked:
        at = _find(plain, run, 0)
        if at < 0 and is_cjk(run):
            return None
        while at >= 0 and len(spans) < 200:
            spans.append((places[at], places[at + len(run) - 1] + 1))
            at = _find(plain, run, at + len(run))
    spans.sort()
    first = spans[0][0] if spans else 0
    start = max(0, first - BEFORE)
    end = min(len(text), first + AFTER)
    left, right = ("…" if start else ""), ("…" if end < len(text) else "")
    shift = len(left) - start
    marks: list[tuple[int, int]] = []
    for a, b in spans:
        if b <= end and (not marks or a + shift >= marks[-1][1]):
            marks.append((a + shift, b + shift))
    piece = text[start:end].replace("\n", " ").replace("\t", " ")
    return left + piece + right, marks


def _find(plain: str, run: str, start: int) -> int:
    """The next place of a run; of a word of letters only at the beginning of one."""
    at = plain.find(run, start)
    while at > 0 and not is_cjk(run) and plain[at - 1].isalnum() and not is_cjk(plain[at - 1]):
        at = plain.find(run, at + 1)
    return at


def _with_places(text: str) -> tuple[str, list[int]]:
    """The folded text, and for each of its characters the one of `text` that it comes from."""
    if text.isascii():
        return text.lower(), list(range(len(text)))
    pieces, places = [], []
    for at, character in enumerate(text):
        piece = folded(character)
        pieces.append(piece)
        places += [at] * len(piece)
    return "".join(pieces), places
