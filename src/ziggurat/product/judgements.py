"""The one store of judgements (the design, section 16): thumbs, rewrites, picks and reports are written here; whoever
builds data sets reads them.

Each keeps what was judged as it was, in which order it was shown, how it was chosen and with which probability, the
sampling settings, the hashes of weights, template and rules, and what the person had agreed to at that moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, insert, select, update

from ziggurat.product.chats import message_row, own_chat
from ziggurat.product.common import clean, clean_name, cursor_of, page_size, read_cursor
from ziggurat.product.consents import open_consents
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.messages import one_view, spoken
from ziggurat.product.objects import Judgement, Message, Page
from ziggurat.product.paths import path_to
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.product.workspaces import settings_of
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, messages
from ziggurat.store.tables.judgements import judged_messages, judgements

SubjectKind = Literal["item", "review", "battle", "inference"]
Basis = Literal["consent", "work"]

MAX_REASONS = 20
MAX_COMMENT = 8_000
REPORTS = ("spam", "offensive", "feedback")
ALONE = {"method": "only_answer", "probability": 1.0}
"""How an answer that nobody chose among others came to be judged."""


def judge(
    store: Store,
    principal: Principal,
    chat_id: str,
    message_id: str,
    *,
    value: int,
    reasons: Sequence[str] = (),
    comment: str | None = None,
    seconds: float | None = None,
) -> Message:
    """A thumb: 1, -1, or 0 to withdraw it. A second one takes the place of the first, which stays as superseded."""
    if value not in (1, -1, 0) or isinstance(value, bool):
        raise Invalid(f"value is {value!r}; it must be 1, -1 or 0.", param="value")
    said = {"value": value, "reasons": _reasons(reasons), "comment": None}
    if comment:
        said["comment"] = clean(comment, "comment", limit=MAX_COMMENT)
    require(principal, "judge")
    with store.write() as conn:
        chat = own_chat(conn, principal, chat_id)
        answer = _answer(conn, chat_id, message_id)
        if value == 0:
            _withdraw(conn, store, principal, message_id, "thumb")
        else:
            _write(conn, store, principal, chat, [answer], "thumb", said, seconds=seconds)
        return one_view(conn, principal.person_id, chat_id, message_id)


def rewrite(
    store: Store,
    principal: Principal,
    chat_id: str,
    message_id: str,
    *,
    text: str,
    seconds: float | None = None,
) -> Judgement:
    """A better answer: the person's text is preferred to the answer."""
    text = clean(text, "text")
    require(principal, "judge")
    with store.write() as conn:
        chat = own_chat(conn, principal, chat_id)
        answer = _answer(conn, chat_id, message_id)
        if text.strip() == answer.content.strip():
            raise Invalid("the text is the answer itself; change it first.", param="text", code="unchanged")
        found = _write(conn, store, principal, chat, [answer], "rewrite", {"text": text}, seconds=seconds)
        return _read(conn, found)


def pick(
    store: Store,
    principal: Principal,
    chat_id: str,
    *,
    shown: Sequence[str],
    winner: str,
    seconds: float | None = None,
) -> tuple[Judgement, list[Message]]:
    """The better of two siblings. `shown`: their ids in the order of the screen; `winner`: one of them, `tie` or
    `both_bad`. Their models are known from now on, and the winner becomes the active branch.

    Raises:
        Conflict: one of them is still being written, or this pair was decided before.
    """
    shown = list(shown)
    if len(shown) != 2 or shown[0] == shown[1]:
        raise Invalid("shown must name two answers.", param="shown")
    if winner not in (*shown, "tie", "both_bad"):
        raise Invalid(f"winner is {winner!r}; it must be one of shown, tie or both_bad.", param="winner")
    require(principal, "judge")
    with store.write() as conn:
        chat = own_chat(conn, principal, chat_id)
        answers = [_answer(conn, chat_id, message_id) for message_id in shown]
        if answers[0].parent_id != answers[1].parent_id:
            raise Invalid("the two must answer the same message.", param="shown")
        hidden = all(answer.hidden_model for answer in answers)
        if not hidden and answers[0].pair_id and answers[0].pair_id == answers[1].pair_id:
            raise Conflict("this pair was decided before.", code="decided")
        said = {"winner": winner, "hidden_models": hidden}
        how = answers[0].chosen_how if hidden else {"method": "person", "probability": None}
        found = _write(conn, store, principal, chat, answers, "pick", said, seconds=seconds, how=how)
        conn.execute(update(messages).where(messages.c.id.in_(shown)).values(hidden_model=False))
        if winner in shown:
            conn.execute(update(chats).where(chats.c.id == chat_id).values(active_leaf_id=winner))
        views = [one_view(conn, principal.person_id, chat_id, message_id) for message_id in shown]
        return _read(conn, found), views


def report(
    store: Store,
    principal: Principal,
    chat_id: str,
    message_id: str,
    *,
    kind: Literal["spam", "offensive", "feedback"],
    reason: str,
) -> Judgement:
    """Report a message to the people who run this."""
    if kind not in REPORTS:
        raise Invalid(f"kind is {kind!r}; it must be one of {', '.join(REPORTS)}.", param="kind")
    reason = clean(reason, "reason", limit=MAX_COMMENT, empty=True)
    require(principal, "judge")
    with store.write() as conn:
        chat = own_chat(conn, principal, chat_id)
        row = message_row(conn, chat_id, message_id)
        found = _write(conn, store, principal, chat, [row], "report", {"kind": kind, "reason": reason})
        return _read(conn, found)


def list_judgements(
    store: Store,
    principal: Principal,
    *,
    kind: str | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Judgement]:
    """Current judgements of the workspace, oldest first, for readers with the right. Of a conversation only what its
    owner lets out: the chat's data-use switch was on, or the judgement is a report."""
    require(principal, "judgement.read")
    limit = page_size(limit)
    readable = judgements.c.data_use | (judgements.c.kind == "report")
    wanted = select(judgements).where(
        judgements.c.workspace_id == principal.workspace_id,
        judgements.c.superseded_by.is_(None),
        judgements.c.withdrawn_at.is_(None),
        readable,
    )
    if kind is not None:
        wanted = wanted.where(judgements.c.kind == kind)
    if cursor:
        wanted = wanted.where(judgements.c.id > read_cursor(cursor, (str,))[0])
    with store.read() as conn:
        rows = conn.execute(wanted.order_by(judgements.c.id).limit(limit + 1)).all()
    return Page(
        data=[judgement_view(row) for row in rows[:limit]],
        next=cursor_of(rows[limit - 1].id) if len(rows) > limit else None,
    )


def _reasons(reasons: Sequence[str]) -> list[str]:
    if isinstance(reasons, str) or len(reasons) > MAX_REASONS:
        raise Invalid(f"reasons must be a list of at most {MAX_REASONS} names.", param="reasons")
    return [clean_name(reason, "reasons") for reason in reasons]


def _answer(conn: Connection, chat_id: str, message_id: str) -> Any:
    row = message_row(conn, chat_id, message_id)
    if row.role != "assistant":
        raise Invalid("only an answer can be judged.", param="message_id")
    if row.state in ("pending", "running"):
        raise Conflict("this answer is still being written; judge it when it is done.", code="still_running")
    return row


def _withdraw(conn: Connection, store: Store, principal: Principal, message_id: str, kind: str) -> None:
    conn.execute(
        update(judgements)
        .where(
            judgements.c.message_id == message_id,
            judgements.c.person_id == principal.person_id,
            judgements.c.kind == kind,
            judgements.c.superseded_by.is_(None),
            judgements.c.withdrawn_at.is_(None),
        )
        .values(withdrawn_at=store.now())
    )


def _write(
    conn: Connection,
    store: Store,
    principal: Principal,
    chat: Any,
    judged: Sequence[Any],
    kind: str,
    value: Mapping[str, Any],
    *,
    seconds: float | None = None,
    how: Mapping[str, Any] | None = None,
) -> str:
    """One row; an earlier current one of this person and kind about the same message is superseded."""
    judgement_id, first = new_id("judgement"), judged[0]
    if kind != "report":
        _supersede(conn, judgements.c.message_id == first.id, principal.person_id, kind, judgement_id)
    given = open_consents(conn, principal.person_id)
    improve = given.get("improve_model")
    before = path_to(conn, chat.id, first.parent_id) if first.parent_id else []
    row = {
        "id": judgement_id,
        "workspace_id": principal.workspace_id,
        "person_id": principal.person_id,
        "kind": kind,
        "chat_id": chat.id,
        "message_id": first.id,
        "message_ids": [message.id for message in judged],
        "value": dict(value),
        "prompt": spoken(conn, chat, before),
        "completions": [_snapshot(message) for message in judged],
        "shown": [message.id for message in judged],
        "chosen_how": dict(how or ALONE),
        "sampling": {message.id: {**message.settings, "seed": message.seed} for message in judged},
        "hashes": {message.id: message.hashes or {} for message in judged},
        "guideline": settings_of(conn, principal.workspace_id)["guideline"],
        "consent_id": improve.id if improve else None,
        "consents": sorted(given),
        "data_use": chat.data_use,
        "seconds": _seconds(seconds),
        "created_at": store.now(),
    }
    conn.execute(insert(judgements).values(row))
    links = [{"judgement_id": judgement_id, "message_id": message.id} for message in judged]
    conn.execute(insert(judged_messages), links)
    return judgement_id


def write_about(
    conn: Connection,
    store: Store,
    principal: Principal,
    kind: str,
    subject: tuple[SubjectKind, str],
    value: Mapping[str, Any],
    *,
    prompt: Sequence[Mapping[str, Any]],
    completions: Sequence[Mapping[str, Any]],
    shown: Sequence[str] = (),
    how: Mapping[str, Any] | None = None,
    guideline: str | None = None,
    seconds: float | None = None,
    basis: Basis = "work",
    data_use: bool = True,
    supersede: bool = True,
) -> str:
    """A judgement of something else than messages of a chat, inside the caller's transaction; returns its id.

    An earlier current one of this person and kind about the same subject is superseded. `completions`: what was judged,
    each `{"id", "content", "model"?, "sampling"?, "hashes"?}`; `shown`: their ids in the order of the screen.
    `supersede` False: the caller decides which earlier one this takes the place of.
    """
    judgement_id = new_id("judgement")
    if supersede:
        about = judgements.c.subject_id == subject[1]
        _supersede(conn, about, principal.person_id, kind, judgement_id)
    given = open_consents(conn, principal.person_id)
    improve = given.get("improve_model")
    ids = [str(one["id"]) for one in completions]
    row = {
        "id": judgement_id,
        "workspace_id": principal.workspace_id,
        "person_id": principal.person_id,
        "kind": kind,
        "subject_kind": subject[0],
        "subject_id": subject[1],
        "basis": basis,
        "message_ids": [],
        "value": dict(value),
        "prompt": [dict(message) for message in prompt],
        "completions": [dict(one) for one in completions],
        "shown": list(shown or ids),
        "chosen_how": dict(how or ALONE),
        "sampling": {str(one["id"]): dict(one.get("sampling") or {}) for one in completions},
        "hashes": {str(one["id"]): dict(one.get("hashes") or {}) for one in completions},
        "guideline": guideline,
        "consent_id": improve.id if improve else None,
        "consents": sorted(given),
        "data_use": data_use,
        "seconds": _seconds(seconds),
        "created_at": store.now(),
    }
    conn.execute(insert(judgements).values(row))
    return judgement_id


def _supersede(conn: Connection, about: ColumnElement[bool], person_id: str, kind: str, by: str) -> None:
    conn.execute(
        update(judgements)
        .where(
            about,
            judgements.c.person_id == person_id,
            judgements.c.kind == kind,
            judgements.c.superseded_by.is_(None),
            judgements.c.withdrawn_at.is_(None),
        )
        .values(superseded_by=by)
    )


def _snapshot(message: Any) -> dict[str, Any]:
    names = ("content", "reasoning", "tool_calls", "model", "finish_reason", "state", "lang")
    return {"message_id": message.id} | {name: getattr(message, name) for name in names}


def _seconds(seconds: float | None) -> float | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 10**7:
        raise Invalid(f"seconds is {seconds!r}; it must be a number from 0 on.", param="seconds")
    return float(seconds)


def _read(conn: Connection, judgement_id: str) -> Judgement:
    return judgement_view(conn.execute(select(judgements).where(judgements.c.id == judgement_id)).one())


def judgement_view(row: Any) -> Judgement:
    values = dict(row._mapping) | {
        "created_at": iso(row.created_at),
        "withdrawn_at": iso_or_none(row.withdrawn_at),
    }
    return Judgement(**{name: values[name] for name in Judgement.model_fields})
