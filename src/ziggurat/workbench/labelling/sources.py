"""Items made from chats of this house: only where the chat's data-use switch is on and its owner lets experts see it.

Private data that patterns find (e-mail addresses, phone, identity and card numbers) is masked before it enters a
project; `meta.masked` says how many of each. An item goes with its chat: when that is deleted, or its switch is turned
off, nobody gets the item any more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, exists, func, or_, select

from ziggurat.corpus.near import Asked
from ziggurat.product.common import record, whole
from ziggurat.product.consents import TEXT_VERSION
from ziggurat.product.errors import Conflict, ProductError
from ziggurat.product.mask import masked
from ziggurat.product.messages import spoken
from ziggurat.product.paths import path_to
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, messages
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import item_authors, items
from ziggurat.store.tables.people import consents
from ziggurat.workbench.labelling.items import insert_item
from ziggurat.workbench.labelling.rows import project_row
from ziggurat.workbench.labelling.screening import question_of
from ziggurat.workbench.labelling.values import kinds_of

PERSON_CAP = 200
"""InstructGPT's, section 3.2."""


def from_chats(
    store: Store, principal: Principal, project_id: str, *, limit: int = 100, disliked: bool = False
) -> dict[str, Any]:
    """Add the newest questions of the workspace's chats, with their answers as completions. `disliked`: only those
    with an answer that somebody gave a thumb down; a task about one answer gets that one.

    A comparison needs a question with several answers (regenerated ones); a demonstration needs the question alone.
    At most PERSON_CAP questions of one person are in a project, and of questions that share a long beginning the first
    that came. Returns `{added, duplicates, near_duplicates, refused, capped, chats}`.

    Raises:
        Conflict: prompts are written, not taken from chats.
    """
    whole(limit, "limit", 1, 1_000)
    added: list[str] = []
    duplicates, near, refused, capped, used = 0, 0, 0, 0, set()
    with store.write() as conn:
        project = project_row(conn, principal, project_id, "project.write")
        if project.task == "prompt":
            raise Conflict("a project of prompt writing takes no chats; write briefs.", code="wrong_task")
        down = _thumbs_down(conn, principal) if disliked else set()
        taken, asked = _taken(conn, project_id), _asked(conn, project_id)
        for chat, question, answered in _questions(conn, principal):
            if len(added) >= limit:
                break
            if disliked:
                worse = [one for one in answered if one.id in down]
                if not worse:
                    continue
                answered = worse if kinds_of(project.task)[1] == 1 else answered
            if taken[chat.person_id] >= PERSON_CAP:
                capped += 1
                continue
            entry = _entry(conn, project.task, chat, question, answered)
            if entry is None:
                continue
            if asked.nearly(text := question_of(entry)):
                near += 1
                continue
            ids = [question.id, *(one.id for one in answered)]
            source = {"kind": "chat", "chat_id": chat.id, "message_ids": ids}
            try:
                made = insert_item(conn, store, principal, project, entry, source=source)
            except ProductError:
                refused += 1
                continue
            duplicates += made is None
            if made is not None:
                added.append(made)
                asked.add(text)
                taken[chat.person_id] += 1
                used.add(chat.id)
        detail = {"added": len(added), "duplicates": duplicates, "chats": len(used)}
        record(
            conn, store, principal, "item.chats", kind="label_project", object_id=project_id, detail=detail
        )
    return {
        "added": added,
        "duplicates": duplicates,
        "near_duplicates": near,
        "refused": refused,
        "capped": capped,
        "chats": len(used),
    }


def _taken(conn: Connection, project_id: str) -> Counter[str]:
    """Items of the project that are made from chats, by person."""
    rows = conn.execute(
        select(item_authors.c.person_id, func.count())
        .join(items, items.c.id == item_authors.c.item_id)
        .where(items.c.project_id == project_id, items.c.chat_id.is_not(None))
        .group_by(item_authors.c.person_id)
    )
    return Counter({row[0]: row[1] for row in rows})


def _asked(conn: Connection, project_id: str) -> Asked:
    """The questions of the project's items."""
    payloads = conn.execute(select(items.c.payload).where(items.c.project_id == project_id)).scalars()
    return Asked(question_of(one) for one in payloads)


def _questions(conn: Connection, principal: Principal) -> Iterator[tuple[Any, Any, list[Any]]]:
    """Each question of a chat that may be used, the newest chats first, with its complete answers."""
    shared = exists().where(
        consents.c.person_id == chats.c.person_id,
        consents.c.purpose == "share_with_experts",
        consents.c.withdrawn_at.is_(None),
        consents.c.text_version == TEXT_VERSION,
    )
    wanted = select(chats).where(
        chats.c.workspace_id == principal.workspace_id,
        chats.c.data_use,
        chats.c.deleted_at.is_(None),
        or_(chats.c.person_id == principal.person_id, shared),
    )
    for chat in conn.execute(wanted.order_by(chats.c.updated_at.desc(), chats.c.id)).all():
        rows = conn.execute(
            select(messages).where(messages.c.chat_id == chat.id).order_by(messages.c.id)
        ).all()
        below: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            complete = row.role == "assistant" and row.state == "complete" and row.content.strip()
            if row.parent_id and complete and not row.tool_calls:
                below[row.parent_id].append(row)
        for row in rows:
            if row.role == "user":
                yield chat, row, below[row.id]


def _thumbs_down(conn: Connection, principal: Principal) -> set[str]:
    """Answers that somebody gives a thumb down now."""
    wanted = select(judgements.c.message_id, judgements.c.value).where(
        judgements.c.workspace_id == principal.workspace_id,
        judgements.c.kind == "thumb",
        judgements.c.superseded_by.is_(None),
        judgements.c.withdrawn_at.is_(None),
    )
    return {row.message_id for row in conn.execute(wanted) if row.value.get("value") == -1}


def _entry(
    conn: Connection, task: str, chat: Any, question: Any, answered: list[Any]
) -> dict[str, Any] | None:
    low, high = kinds_of(task)
    different = list({one.content.strip(): one for one in answered}.values())[-high:] if high else []
    if len(different) < low:
        return None
    found: Counter[str] = Counter()

    def hidden(text: str) -> str:
        shown, counts = masked(text)
        found.update(counts)
        return shown

    before = spoken(conn, chat, path_to(conn, chat.id, question.id))
    entry: dict[str, Any] = {
        "messages": [{"role": one["role"], "content": hidden(one["content"] or " ")} for one in before],
        "completions": [
            {
                "content": hidden(one.content),
                "model": one.model,
                "sampling": {**one.settings, "seed": one.seed},
                "hashes": one.hashes or {},
            }
            for one in different
        ],
        "lang": question.lang,
        "authors": [chat.person_id],
        "chat_id": chat.id,
    }
    if task == "demonstration":
        entry["completions"] = []
    return {**entry, "meta": {"masked": dict(found)}} if found else entry
