"""A reviewed workspace with people in it, for tests."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from tests.product.house import join

from ziggurat.product import chats, generations, turns
from ziggurat.product.objects import Message
from ziggurat.product.principal import Principal
from ziggurat.product.workspaces import DEFAULTS
from ziggurat.store.store import Store
from ziggurat.store.tables.reviews import items
from ziggurat.store.tables.workspace import workspaces
from ziggurat.workbench.review import claims, deciding, intake
from ziggurat.workbench.review.deciding import Choice, Made


def set_mode(store: Store, who: Principal, mode: str, **more: Any) -> None:
    with store.write() as conn:
        quick = {"messages_per_minute": 10_000, "answers_at_once": 1_000}
        settings = {**DEFAULTS, "review": mode, "limits": quick, **more}
        conn.execute(update(workspaces).where(workspaces.c.id == who.workspace_id).values(settings=settings))


def drafted(
    store: Store, who: Principal, question: str = "How much?", draft: str = "It is 3.", **more: Any
) -> tuple[str, str, str]:
    """(item, chat, message): a question of `who` whose draft came in."""
    chat_id = (
        more.pop("chat_id", None) or chats.create_chat(store, who, data_use=more.pop("data_use", False)).id
    )
    turn = turns.begin_turn(
        store, who, chat_id, text=question, parent_id=None, model=more.pop("model", "tiny")
    )
    return came_in(store, who, chat_id, turn, question, draft, **more)


def came_in(
    store: Store, who: Principal, chat_id: str, turn: Any, question: str, draft: str, **more: Any
) -> tuple[str, str, str]:
    found: list[str] = []
    chance = more.pop("chance", lambda: 0.999)

    def also(conn: Any, row: Any) -> None:
        made = intake.Draft(
            text=draft, prompt=[{"role": "user", "content": question}], model=row.model, **more
        )
        item = intake.take_in(
            conn,
            store,
            made,
            workspace_id=who.workspace_id,
            person_id=who.person_id,
            channel="chat",
            chat_id=chat_id,
            message_id=row.message_id,
            chance=chance,
        )
        found.append(item.id)

    generations.finish(
        store, str(turn.generation_id), finish_reason="content_filter", content=draft, held=True, also=also
    )
    return found[0], chat_id, turn.answer.id


def row(store: Store, item_id: str) -> Any:
    with store.read() as conn:
        return conn.execute(select(items).where(items.c.id == item_id)).one()


def seen(store: Store, who: Principal, chat_id: str, message_id: str) -> Message:
    from ziggurat.product import messages

    return messages.get_message(store, who, chat_id, message_id)


def decide(
    store: Store, who: Principal, item_id: str, decision: str, *, claim: bool = True, **more: Any
) -> Made:
    if claim:
        claims.claim(store, who, item_id)
    choice = Choice(decision=decision, version=row(store, item_id).version, **more)
    return deciding.decide(store, who, item_id, choice, chance=lambda: 0.999)


def house(store: Store, mode: str = "all") -> tuple[Principal, Principal, Principal, Principal]:
    """(a lead, two reviewers, a customer) of a reviewed workspace."""
    lead = join(store, "review_lead", name="Lea")
    people = (join(store, "reviewer", name="Ana"), join(store, "reviewer", name="Ben"), join(store, "member"))
    set_mode(store, lead, mode)
    return lead, *people
