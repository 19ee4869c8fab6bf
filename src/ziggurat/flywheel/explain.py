"""From an answer to the release that wrote it, to the data that it learned from, to the judgements behind the data.

Whoever got an answer sees its release and versions with their counts. The judgements themselves are for those who may
read judgements; a record that was withdrawn since is counted and not shown.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from ziggurat.flywheel.dataset.version_files import prompt_of
from ziggurat.flywheel.dataset.versions import version_row, view
from ziggurat.flywheel.dataset.withdrawal import affected_version, withdrawn_now
from ziggurat.flywheel.nearest import Ranked, by_words
from ziggurat.product.chats import own_chat
from ziggurat.product.errors import NotFound
from ziggurat.product.paths import path_to
from ziggurat.product.principal import Principal
from ziggurat.product.rights import can, require
from ziggurat.store.clock import iso
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import messages
from ziggurat.store.tables.datasets import dataset_items
from ziggurat.store.tables.programs import inferences
from ziggurat.store.tables.releases import releases

SHOWN = 20
LOOKED_AT = 5_000
"""Records of a version, the newest, among which the nearest to a question are looked for."""


def explain(store: Store, principal: Principal, answer_id: str) -> dict[str, Any]:
    """Where one of my answers comes from; `answer_id` is a message's, or the id or request id of an answer of the API.

    Raises:
        NotFound: there is no such answer of mine.
    """
    require(principal, "me")
    with store.read() as conn:
        answer = _message(conn, principal, answer_id) or _inference(conn, principal, answer_id)
        if answer is None:
            raise NotFound("there is no such answer of yours.")
        row = _release(conn, principal.workspace_id, answer.pop("release"))
        chain = [] if row is None else _chain(conn, row)
        learned = [] if row is None else row.datasets
        versions = [_version(conn, principal, one) for one in learned]
    return {
        "answer": answer,
        "release": None if row is None else _release_json(row),
        "lineage": [_release_json(one) for one in chain],
        "versions": versions,
        "examples": answer.pop("examples"),
        "may_read_judgements": can(principal, "judgement.read"),
    }


def judgements_behind(
    store: Store, principal: Principal, ref: str, *, question: str = "", limit: int = SHOWN
) -> dict[str, Any]:
    """Records of a version that were made from judgements: the nearest to a question, else the newest.

    Raises:
        Forbidden: the principal may not read judgements.
        NotFound: there is no such version.
    """
    require(principal, "judgement.read")
    with store.read() as conn:
        row = version_row(conn, principal.workspace_id, ref)
        wanted = select(dataset_items).where(dataset_items.c.version_id == row.id)
        items = conn.execute(wanted.order_by(dataset_items.c.judged_at.desc()).limit(LOOKED_AT)).all()
        gone = withdrawn_now(conn, sorted({item.judgement_id for item in items}))
        name = view(conn, row).ref
    usable = [one for one in items if one.content is not None and one.judgement_id not in gone]
    asked = [_question(one.content) for one in usable]
    order = (
        by_words(question, asked, limit) if question else [Ranked(i, 0.0) for i in range(len(usable))][:limit]
    )
    return {
        "version": name,
        "records": len(items),
        "withdrawn": len(items) - len(usable),
        "data": [_item_json(usable[found.place], found.score) for found in order],
    }


def _message(conn: Connection, principal: Principal, message_id: str) -> dict[str, Any] | None:
    row = conn.execute(select(messages).where(messages.c.id == message_id)).first()
    if row is None or row.role != "assistant":
        return None
    own_chat(conn, principal, row.chat_id)
    before = path_to(conn, row.chat_id, row.parent_id) if row.parent_id else []
    asked = next((one.content for one in reversed(before) if one.role == "user"), "")
    hashes = row.hashes or {}
    return {
        "id": row.id,
        "kind": "message",
        "model": None if row.hidden_model else row.model,
        "question": asked,
        "created_at": iso(row.created_at),
        "weights": None if row.hidden_model else hashes.get("weights"),
        "release": None if row.hidden_model else hashes.get("release"),
        "examples": len(hashes.get("examples") or ()),
    }


def _inference(conn: Connection, principal: Principal, answer_id: str) -> dict[str, Any] | None:
    named = (inferences.c.id == answer_id) | (inferences.c.request_id == answer_id)
    wanted = select(inferences).where(named, inferences.c.person_id == principal.person_id)
    row = conn.execute(wanted.order_by(inferences.c.created_at.desc()).limit(1)).first()
    if row is None:
        return None
    asked = next((one.get("content") for one in reversed(row.prompt or []) if one.get("role") == "user"), "")
    return {
        "id": row.id,
        "kind": "inference",
        "model": row.model,
        "question": asked if isinstance(asked, str) else "",
        "created_at": iso(row.created_at),
        "weights": (row.hashes or {}).get("weights"),
        "release": row.release or (row.hashes or {}).get("release"),
        "examples": 0,
    }


def _release(conn: Connection, workspace_id: str, name: str | None) -> Any:
    if not name:
        return None
    named = (releases.c.name == name) | (releases.c.id == name)
    return conn.execute(select(releases).where(releases.c.workspace_id == workspace_id, named)).first()


def _chain(conn: Connection, row: Any) -> list[Any]:
    """The release and its parents."""
    chain = [row]
    while chain[-1].parent_id is not None:
        chain.append(conn.execute(select(releases).where(releases.c.id == chain[-1].parent_id)).one())
    return chain


def _release_json(row: Any) -> dict[str, Any]:
    scores = {
        name: one["figure"]
        for name, one in (row.scores or {}).items()
        if isinstance(one, dict) and "figure" in one
    }
    return {"name": row.name, "created_at": iso(row.created_at), "weights": row.weights, "scores": scores}


def _version(conn: Connection, principal: Principal, named: dict[str, Any]) -> dict[str, Any]:
    """A version as a release lists it, with what is known of it now."""
    try:
        row = version_row(conn, principal.workspace_id, str(named.get("id")))
    except NotFound:
        return {"id": named.get("id"), "ref": named.get("name"), "known": False}
    found, card = affected_version(conn, row), row.card
    return {
        "id": row.id,
        "ref": found.ref,
        "known": True,
        "created_at": iso(row.created_at),
        "records": card["records"],
        "people": len(card["counts"]["person"]),
        "kinds": card["counts"]["kind"],
        "withdrawn": found.withdrawn,
        "advice": found.advice,
    }


def _question(content: dict[str, Any]) -> str:
    return next(
        (str(one.get("content") or "") for one in reversed(prompt_of(content)) if one["role"] == "user"), ""
    )


def _item_json(item: Any, score: float) -> dict[str, Any]:
    return {
        "judgement_id": item.judgement_id,
        "kind": item.kind,
        "source": item.source,
        "split": item.split,
        "weight": item.weight,
        "person": item.person,
        "judged_at": iso(item.judged_at),
        "score": round(score, 3),
        "record": item.content,
    }
