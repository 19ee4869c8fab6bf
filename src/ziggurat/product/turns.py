"""What a person does to a chat that a model answers: say, repeat, edit, go on, compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, update

from ziggurat.product.calls import readable
from ziggurat.product.chats import index_message, message_row, own_chat, set_title
from ziggurat.product.common import checked_settings, clean, clean_json, clean_name
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.limits import check_pace
from ziggurat.product.messages import one_view, views_of
from ziggurat.product.objects import Message, Pair, Turn
from ziggurat.product.principal import Principal
from ziggurat.product.titles import short_title
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, generations, messages, persona_versions

HELD = (
    "the answer above waits for a person to look at it; go on when it is released, or ask for another answer."
)


class At(NamedTuple):
    """Where a message stands in its chat."""

    id: str
    position: int


def begin_turn(
    store: Store,
    principal: Principal,
    chat_id: str,
    *,
    text: str,
    parent_id: str | None,
    model: str,
    settings: Mapping[str, Any] | None = None,
    client_id: str | None = None,
) -> Turn:
    """Add the user's message and an empty running answer. The same `client_id` again gives what was begun then, with
    `repeated` set, and begins nothing.

    Raises:
        Conflict: the parent is still being written, or held for a person to release (code answer_held).
        TooMany: too many messages a minute, or too many answers at once.
    """
    text, client_id = clean(text, "text"), clean_name(client_id, "client_id") if client_id else None
    with store.write() as conn:
        chat = own_chat(conn, principal, chat_id)
        if client_id and (begun := _begun_before(conn, principal, chat_id, client_id)):
            return begun
        check_pace(conn, store, principal, answers=1)
        user = _say(conn, store, principal, chat, parent_id, text, client_id=client_id)
        return _turn(conn, store, principal, chat, user, model, settings, said=True)


def regenerate(
    store: Store,
    principal: Principal,
    chat_id: str,
    message_id: str,
    *,
    model: str,
    settings: Mapping[str, Any] | None = None,
) -> Turn:
    """A sibling of an answer, running; of a user's message that has no answer, its answer."""
    with store.write() as conn:
        chat = own_chat(conn, principal, chat_id)
        row = message_row(conn, chat_id, message_id)
        check_pace(conn, store, principal, answers=1)
        if row.role != "user":
            if row.parent_id is None:
                raise Invalid("this answer answers nothing, so it cannot be repeated.", param="message_id")
            row = message_row(conn, chat_id, row.parent_id)
        return _turn(conn, store, principal, chat, At(row.id, row.position), model, settings)


def edit_message(
    store: Store,
    principal: Principal,
    chat_id: str,
    message_id: str,
    *,
    text: str,
    run: bool,
    model: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Turn | Message:
    """A sibling with another text. A user's message with `run` gets a running answer (a Turn); otherwise the saved
    Message is returned. The branch of before stays."""
    text = clean(text, "text")
    with store.write() as conn:
        chat = own_chat(conn, principal, chat_id)
        row = message_row(conn, chat_id, message_id)
        if run and (row.role != "user" or model is None):
            raise Invalid(
                "only a user's message is answered, by a named model; save it without run.", param="run"
            )
        if run:
            check_pace(conn, store, principal, answers=1)
        edited = _say(conn, store, principal, chat, row.parent_id, text, like=row)
        if run:
            assert model is not None
            return _turn(conn, store, principal, chat, edited, model, settings, said=True)
        _activate(conn, store, chat_id, edited.id)
        return one_view(conn, principal.person_id, chat_id, edited.id)


def continue_answer(store: Store, principal: Principal, chat_id: str, message_id: str) -> Turn:
    """Go on with an answer that ended by `length`, was stopped or was interrupted: the same message runs again."""
    with store.write() as conn:
        own_chat(conn, principal, chat_id)
        row = message_row(conn, chat_id, message_id)
        if row.state == "held":
            raise Conflict(HELD, code="answer_held")
        unfinished = row.finish_reason == "length" or row.state in ("stopped", "interrupted", "failed")
        if row.role != "assistant" or row.state == "running" or not unfinished:
            raise Conflict("this answer is complete, so there is nothing to go on with.", code="complete")
        if readable(row.tool_calls):
            raise Conflict(
                "this answer calls tools, so it cannot be continued; ask for another one, or write the next message.",
                code="calls_tools",
            )
        check_pace(conn, store, principal, answers=1)
        conn.execute(
            update(messages).where(messages.c.id == message_id).values(state="running", finish_reason=None)
        )
        generation_id = _generation(conn, store, principal, row._mapping)
        _activate(conn, store, chat_id, message_id)
        answer = one_view(conn, principal.person_id, chat_id, message_id)
        return Turn(user=None, answer=answer, generation_id=generation_id)


def begin_pair(
    store: Store,
    principal: Principal,
    chat_id: str,
    *,
    text: str,
    parent_id: str | None,
    models: tuple[str, str],
    settings: Mapping[str, Any] | None = None,
    chosen_how: Mapping[str, Any] | None = None,
) -> Pair:
    """Two running answers to one new message: `answers[i]` is by `models[i]`. Their models are hidden until the pick,
    so the caller draws the order of `models` at random.

    chosen_how: {method, probability, order} says how the caller came to these two models and to their order; it is kept
    with the pick.
    """
    text = clean(text, "text")
    how = clean_json(chosen_how or {"method": "asked", "probability": 1.0})
    with store.write() as conn:
        chat = own_chat(conn, principal, chat_id)
        check_pace(conn, store, principal, answers=2)
        user = _say(conn, store, principal, chat, parent_id, text)
        pair_id = new_id("pair")
        values = {"pair_id": pair_id, "hidden_model": True, "chosen_how": how}
        begun = [_answer(conn, store, principal, chat, user, model, settings, **values) for model in models]
        _activate(conn, store, chat_id, begun[0][0])
        views = views_of(conn, principal.person_id, chat_id, [user.id, *(answer for answer, _ in begun)])
        return Pair(
            user=views[0],
            answers=views[1:],
            generation_ids=[generation for _, generation in begun],
            pair_id=pair_id,
        )


def _begun_before(conn: Connection, principal: Principal, chat_id: str, client_id: str) -> Turn | None:
    user = conn.execute(
        select(messages.c.id).where(messages.c.chat_id == chat_id, messages.c.client_id == client_id)
    ).scalar()
    if user is None:
        return None
    answer, generation = conn.execute(
        select(messages.c.id, generations.c.id)
        .outerjoin(generations, generations.c.message_id == messages.c.id)
        .where(messages.c.chat_id == chat_id, messages.c.parent_id == user)
        .order_by(messages.c.id, generations.c.id)
        .limit(1)
    ).one()
    user_view, answer_view = views_of(conn, principal.person_id, chat_id, [user, answer])
    return Turn(user=user_view, answer=answer_view, generation_id=generation, repeated=True)


def _say(
    conn: Connection,
    store: Store,
    principal: Principal,
    chat: Any,
    parent_id: str | None,
    text: str,
    *,
    client_id: str | None = None,
    like: Any = None,
) -> At:
    """Add a message of the person: a user's, or an edited one with the role of `like`."""
    parent = message_row(conn, chat.id, parent_id) if parent_id else None
    if parent is not None and parent.state == "held":
        raise Conflict(HELD, code="answer_held")
    if parent is not None and parent.state in ("pending", "running"):
        raise Conflict("the answer above is still being written; stop it or wait.", code="still_running")
    values = (
        {"model": like.model, "settings": like.settings, "edited": True, "role": like.role} if like else {}
    )
    said = _insert(
        conn,
        store,
        principal,
        chat,
        None if parent is None else At(parent.id, parent.position),
        **{"role": "user", "content": text, "client_id": client_id} | values,
    )
    index_message(conn, principal.workspace_id, principal.person_id, chat.id, said["id"], text, fresh=True)
    if parent is None and not chat.title and (title := short_title(text)):
        set_title(conn, principal, chat.id, title, by_person=False)
    return At(said["id"], said["position"])


def _turn(
    conn: Connection,
    store: Store,
    principal: Principal,
    chat: Any,
    parent: At,
    model: str,
    settings: Mapping[str, Any] | None,
    *,
    said: bool = False,
) -> Turn:
    """A running answer below `parent`, which is shown too where it was `said` just now."""
    answer_id, generation_id = _answer(conn, store, principal, chat, parent, model, settings)
    _activate(conn, store, chat.id, answer_id)
    shown = views_of(conn, principal.person_id, chat.id, [parent.id, answer_id] if said else [answer_id])
    return Turn(user=shown[0] if said else None, answer=shown[-1], generation_id=generation_id)


def _answer(
    conn: Connection,
    store: Store,
    principal: Principal,
    chat: Any,
    parent: At,
    model: str,
    settings: Mapping[str, Any] | None,
    **values: Any,
) -> tuple[str, str]:
    """An empty running answer and its generation."""
    merged = _persona_settings(conn, chat) | chat.settings | checked_settings(settings)
    answer = _insert(
        conn,
        store,
        principal,
        chat,
        parent,
        role="assistant",
        content="",
        state="running",
        model=clean_name(model, "model"),
        settings=merged,
        **values,
    )
    return answer["id"], _generation(conn, store, principal, answer)


def _persona_settings(conn: Connection, chat: Any) -> dict[str, Any]:
    if chat.persona_id is None:
        return {}
    found = conn.execute(
        select(persona_versions.c.settings).where(
            persona_versions.c.persona_id == chat.persona_id,
            persona_versions.c.version == chat.persona_version,
        )
    ).scalar()
    return dict(found or {})


def _insert(
    conn: Connection, store: Store, principal: Principal, chat: Any, parent: At | None, **values: Any
) -> dict[str, Any]:
    """A message below `parent`; its row."""
    row = {
        "id": new_id("msg"),
        "workspace_id": principal.workspace_id,
        "chat_id": chat.id,
        "parent_id": parent.id if parent is not None else None,
        "position": parent.position + 1 if parent is not None else 0,
        "state": "complete",
        "settings": {},
        "edited": False,
        "hidden_model": False,
        "created_at": store.now(),
    } | values
    conn.execute(insert(messages).values(row))
    return row


def _generation(conn: Connection, store: Store, principal: Principal, message: Mapping[str, Any]) -> str:
    now = store.now()
    row = {
        "id": new_id("gen"),
        "workspace_id": principal.workspace_id,
        "person_id": principal.person_id,
        "chat_id": message["chat_id"],
        "message_id": message["id"],
        "model": message["model"],
        "status": "running",
        "seq": 0,
        "base_chars": len(message["content"]),
        "heartbeat_at": now,
        "started_at": now,
    }
    conn.execute(insert(generations).values(row))
    return str(row["id"])


def _activate(conn: Connection, store: Store, chat_id: str, leaf_id: str) -> None:
    conn.execute(
        update(chats)
        .where(chats.c.id == chat_id)
        .values(active_leaf_id=leaf_id, updated_at=store.now(), deleted_at=None)
    )
