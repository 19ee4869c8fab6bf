"""The customer's side: the status in place of an answer, cancelling, complaining; and the same for programs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggurat.product.chats import own_chat
from ziggurat.product.common import clean, row_of
from ziggurat.product.errors import Conflict, NotFound
from ziggurat.product.principal import Principal
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.reviews import complaints, corrections, decisions, deliveries, items, policies
from ziggurat.workbench.review.claims import deadlines_from
from ziggurat.workbench.review.objects import OPEN, ForCaller, Status, late
from ziggurat.workbench.review.policies import DEFAULT, Policy, in_language, view
from ziggurat.workbench.review.sending import close, move, note_of, shown_version

MAX_COMPLAINT = 4_000
ENDS = {"delivered": "delivered", "cancelled": "cancelled", "superseded": "cancelled"}


def statuses(store: Store, principal: Principal, chat_id: str, *, lang: str = "en") -> list[Status]:
    """Of all reviewed answers of one of the principal's chats."""
    with store.read() as conn:
        own_chat(conn, principal, chat_id)
        found = conn.execute(select(items).where(items.c.chat_id == chat_id).order_by(items.c.id)).all()
        return [_status(conn, row, lang) for row in found]


def _status(conn: Connection, item: Any, lang: str) -> Status:
    delivery = conn.execute(select(deliveries).where(deliveries.c.item_id == item.id)).first()
    last = conn.execute(
        select(corrections)
        .where(corrections.c.item_id == item.id)
        .order_by(corrections.c.created_at.desc(), corrections.c.id.desc())
        .limit(1)
    ).first()
    complained = conn.execute(select(complaints.c.id).where(complaints.c.item_id == item.id)).first()
    corrected = None if last is None else {"kind": last.kind, "note": last.note, "at": iso(last.created_at)}
    return Status(
        message_id=item.message_id,
        state=_state(item, delivery is not None),
        expected_at=iso(item.due_at) if item.state in OPEN and not late(item) else None,
        notice=_notice(conn, item, lang) if item.state in OPEN and not delivery else None,
        by_person=_by_person(conn, item.id),
        corrected=corrected,
        complained=complained is not None,
        reopened=item.reopened,
        delivered_at=iso_or_none(delivery.created_at if delivery else None),
    )


def _state(item: Any, delivered: bool) -> Any:
    if delivered:
        return "delivered"
    if item.state in OPEN:
        return "waiting" if item.state == "queued" else "checking"
    return ENDS.get(item.state, "withheld")


def _notice(conn: Connection, item: Any, lang: str) -> str | None:
    """The holding message, once the deadline has passed."""
    if not late(item):
        return None
    return in_language(_rules(conn, item).texts.holding, lang)


def _rules(conn: Connection, item: Any) -> Policy:
    row = conn.execute(select(policies).where(policies.c.id == item.policy_id)).first()
    return DEFAULT if row is None else view(row)


def _by_person(conn: Connection, item_id: str) -> bool:
    """Whether a person decided what was delivered; False where a policy let it pass."""
    found = (
        select(decisions.c.decided_by)
        .join(deliveries, deliveries.c.decision_id == decisions.c.id)
        .where(deliveries.c.item_id == item_id)
    )
    corrected = select(corrections.c.id).where(corrections.c.item_id == item_id)
    return conn.execute(found).scalar() == "person" or conn.execute(corrected).first() is not None


def _mine(conn: Connection, principal: Principal, chat_id: str, message_id: str) -> Any:
    own_chat(conn, principal, chat_id)
    row = conn.execute(
        select(items).where(items.c.chat_id == chat_id, items.c.message_id == message_id)
    ).first()
    if row is None:
        raise NotFound("there is no review of this answer.")
    return row


def cancel(store: Store, principal: Principal, chat_id: str, message_id: str) -> None:
    """The customer does not wait any longer.

    Raises:
        Conflict: it was delivered, or it has ended.
    """
    with store.write() as conn:
        _cancel(conn, store, principal, _mine(conn, principal, chat_id, message_id))


def _cancel(conn: Connection, store: Store, principal: Principal | None, item: Any) -> None:
    if item.state not in OPEN or shown_version(conn, item.id) is not None:
        raise Conflict("this answer does not wait any more.", code="over")
    close(conn, store, principal, item, "cancelled", "cancel")


def complain(store: Store, principal: Principal, chat_id: str, message_id: str, text: str) -> None:
    """Something is wrong with a delivered answer: an expert looks again. It counts as an escape.

    Raises:
        Conflict: nothing was delivered.
    """
    text = clean(text, "text", limit=MAX_COMPLAINT)
    with store.write() as conn:
        item = _mine(conn, principal, chat_id, message_id)
        if shown_version(conn, item.id) is None:
            raise Conflict("nothing was delivered yet.", code="over")
        row = {
            "id": new_id("rcomp"),
            "workspace_id": item.workspace_id,
            "item_id": item.id,
            "person_id": principal.person_id,
            "text": text,
            "created_at": store.now(),
        }
        conn.execute(insert(complaints).values(row))
        if item.state != "delivered":
            note_of(conn, store, principal, item, "complain")  # it is being looked at again already
            return
        conn.execute(update(items).where(items.c.id == item.id).values(reopened=True))
        move(
            conn,
            store,
            principal,
            row_of(conn, items, item.id),
            "queued",
            "complain",
            priority=1,
            warned_at=None,
            **deadlines_from(conn, item, store.now()),
        )


# --- programs -------------------------------------------------------------------------------------------------------


def _of_caller(conn: Connection, review_id: str, person_id: str | None, key_id: str | None) -> Any:
    """The item of a request of the API, for the key or the person that asked."""
    item = row_of(conn, items, review_id)
    fits = item is not None and item.channel == "api" and not (item.origin or {}).get("answered")
    if fits and person_id is not None:
        fits = item.person_id == person_id
    elif fits:
        fits = item.person_id is None and (item.origin or {}).get("caller") == key_id
    if not fits:
        raise NotFound("there is no such review.")
    return item


def for_caller(
    store: Store, review_id: str, *, person_id: str | None, key_id: str | None, lang: str = "en"
) -> ForCaller:
    """What a program gets that polls: the status, and once it is delivered the response."""
    with store.read() as conn:
        item = _of_caller(conn, review_id, person_id, key_id)
        return caller_view(conn, item, lang)


def caller_view(conn: Connection, item: Any, lang: str = "en") -> ForCaller:
    status, shown = _status(conn, item, lang), shown_version(conn, item.id)
    response = None
    if shown is not None:
        same = shown.author_kind == "model" and shown.n == 1
        response = with_text((item.origin or {}).get("response") or {}, shown.text, unchanged=same)
    return ForCaller(
        id=item.id,
        status=status.state,
        created_at=iso(item.created_at),
        expected_at=status.expected_at,
        notice=status.notice,
        by_person=status.by_person,
        corrected=status.corrected,
        response=response,
    )


def cancel_call(store: Store, review_id: str, *, person_id: str | None, key_id: str | None) -> None:
    """A program does not wait any longer."""
    with store.write() as conn:
        _cancel(conn, store, None, _of_caller(conn, review_id, person_id, key_id))


def with_text(response: dict[str, Any], text: str, *, unchanged: bool) -> dict[str, Any]:
    """The response as its endpoint would have given it, with the delivered text. What describes the draft alone (tool
    calls, log-probabilities, token ids) is left out unless the draft was delivered as it was."""
    if unchanged:
        return response
    made = dict(response)
    if "output" in made:  # /v1/responses
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        message: dict[str, Any] = next((one for one in made["output"] if one.get("type") == "message"), {})
        made["output"] = [
            {
                "id": message.get("id", "msg_reviewed"),
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [part],
            }
        ]
        return made | {"status": "completed", "incomplete_details": None}
    choice = dict((made.get("choices") or [{}])[0])
    for name in ("logprobs", "token_ids", "guard", "stop_reason"):
        choice.pop(name, None)
    choice |= {"index": 0, "finish_reason": "stop", "logprobs": None}
    if made.get("object") == "text_completion":
        choice["text"] = text
    else:
        choice["message"] = {"role": "assistant", "content": text, "refusal": None}
    made.pop("prompt_logprobs", None)
    return made | {"choices": [choice]}
