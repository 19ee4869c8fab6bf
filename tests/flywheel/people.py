"""People who judge, for tests of data sets."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert
from tests.product.house import answered, join

from ziggurat.product import chats, consents
from ziggurat.product.judgements import write_about
from ziggurat.product.objects import Message, Role
from ziggurat.product.principal import Principal
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import items, projects


def a_member(store: Store, name: str = "", *, agrees: bool = True, role: Role = "member") -> Principal:
    principal = join(store, role, name=name)
    if agrees:
        consents.set_consent(store, principal, "improve_model", True)
    return principal


def a_talk(
    store: Store, principal: Principal, *rounds: tuple[str, str], data_use: bool = True
) -> tuple[str, list[Message]]:
    """A chat that may be used, and its answers."""
    chat = chats.create_chat(store, principal, data_use=data_use)
    return chat.id, [answered(store, principal, chat.id, asked, said)[1] for asked, said in rounds]


def a_subject(store: Store, principal: Principal, **values: Any) -> tuple[str, str]:
    """An item of a labelling project."""
    now, item = store.now(), new_id("item")
    shared = {"workspace_id": principal.workspace_id, "created_at": now, "updated_at": now}
    project = {"id": new_id("project"), "name": "p", "description": "", "status": "open", "task": "ranking"}
    row = {
        "id": item,
        "project_id": project["id"],
        "kind": "work",
        "payload": {},
        "tags": [],
        "meta": {},
        "sensitive": [],
        "priority": 0,
        "status": "completed",
        "min_answers": 1,
        "answers": 1,
        "skips": 0,
        "source": {"kind": "hand"},
        "data_use": True,
        "content_hash": item,
    } | values
    with store.write() as conn:
        conn.execute(insert(projects).values(**project, settings={}, version=1, guideline=0, **shared))
        conn.execute(insert(items).values(**row, **shared))
    return "item", item


def about(
    store: Store,
    principal: Principal,
    kind: str,
    value: dict[str, Any],
    *,
    subject: tuple[Any, str] | None = None,
    question: str = "Which ferry goes to the market?",
    answers: tuple[str, ...] = ("The first one goes there.", "None does."),
    basis: Any = "work",
    data_use: bool = True,
    models: tuple[str, ...] = ("one", "two", "three", "four"),
) -> str:
    """A judgement of something else than messages; completions have the ids c0, c1, ..."""
    completions = [{"id": f"c{i}", "content": text, "model": models[i]} for i, text in enumerate(answers)]
    subject = subject or a_subject(store, principal)
    with store.write() as conn:
        return write_about(
            conn,
            store,
            principal,
            kind,
            subject,
            value,
            prompt=[{"role": "user", "content": question}],
            completions=completions,
            basis=basis,
            data_use=data_use,
        )
