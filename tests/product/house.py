"""A workspace with people in it, for tests."""

from __future__ import annotations

from typing import Any

from ziggurat.product import chats, generations, people, turns
from ziggurat.product.objects import Chat, Message, Role
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def join(
    store: Store, role: Role = "member", *, name: str = "", workspace_id: str | None = None
) -> Principal:
    """A new person with that role, as at the page."""
    with store.write() as conn:
        workspace_id = workspace_id or people.the_workspace(conn, store)
        person_id = people.insert_person(
            conn, store, workspace_id, role=role, name=name or role, email=None, locale="en"
        )
    return Principal(workspace_id=workspace_id, person_id=person_id, role=role)


def answered(
    store: Store, principal: Principal, chat_id: str, text: str, answer: str, **given: Any
) -> tuple[Message, Message]:
    """A user's message below the active leaf, and its complete answer."""
    leaf = chats.get_chat(store, principal, chat_id).active_leaf_id
    turn = turns.begin_turn(
        store, principal, chat_id, text=text, parent_id=given.pop("parent_id", leaf), model="tiny", **given
    )
    assert turn.user is not None
    assert turn.generation_id is not None
    done = generations.finish(store, turn.generation_id, finish_reason="stop", content=answer)
    return turn.user, done


def a_chat(store: Store, principal: Principal, *rounds: tuple[str, str]) -> Chat:
    chat = chats.create_chat(store, principal)
    for text, answer in rounds:
        answered(store, principal, chat.id, text, answer)
    return chats.get_chat(store, principal, chat.id)
