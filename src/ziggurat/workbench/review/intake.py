"""A draft comes in: it gets a topic, a risk and deadlines, and waits; or a policy that is switched on lets it pass.

`take_in` runs inside the transaction that ends the model's work, so that no draft is kept without its item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select

from ziggurat.product.common import clean, clean_json, row_of
from ziggurat.product.errors import Conflict
from ziggurat.product.workspaces import settings_of
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, messages
from ziggurat.store.tables.reviews import decisions, items, seconds
from ziggurat.workbench.review import hours
from ziggurat.workbench.review.objects import OPEN
from ziggurat.workbench.review.routing import Draw, Routed, draw, route
from ziggurat.workbench.review.sending import add_version, close, move, note_of, send

MAX_QUESTION = 4_000
"""Characters of a question as the inbox lists it; the card has the whole conversation."""


def mode_of(store: Store, workspace_id: str) -> str:
    """off, all or policy. Whoever cannot read it must not answer."""
    with store.read() as conn:
        return str(settings_of(conn, workspace_id)["review"])


def is_reviewed(store: Store, workspace_id: str) -> bool:
    """Whether an expert checks answers of this workspace before they are shown."""
    with store.read() as conn:
        return bool(settings_of(conn, workspace_id)["review"] != "off")


def check_unreviewed(store: Store, workspace_id: str, message_id: str | None = None) -> None:
    """
    Raises:
        Conflict: the workspace is reviewed, or the message was (code reviewed).
    """
    reviewed = is_reviewed(store, workspace_id)
    with store.read() as conn:
        known = select(items.c.id).where(items.c.message_id == message_id)
        if reviewed or (message_id is not None and conn.execute(known).first()):
            raise Conflict(
                "an expert checks the answers here, so this cannot be done; ask the question again.",
                code="review_first",
            )


class Draft:
    """What a model has written, and how."""

    def __init__(
        self,
        *,
        text: str,
        prompt: Sequence[Mapping[str, Any]],
        model: str | None,
        lang: str | None = None,
        signals: Mapping[str, Any] | None = None,
        made: Mapping[str, Any] | None = None,
    ) -> None:
        self.text = clean(text, "text", limit=2**31, empty=True)
        self.prompt: list[dict[str, Any]] = clean_json(list(prompt))
        self.model, self.lang = model, lang
        self.signals: dict[str, Any] = {"characters": len(self.text), **clean_json(dict(signals or {}))}
        self.made: dict[str, Any] = clean_json(dict(made or {}))

    @property
    def asked(self) -> list[str]:
        return [str(one.get("content") or "") for one in self.prompt if one.get("role") == "user"]


def take_in(
    conn: Connection,
    store: Store,
    draft: Draft,
    *,
    workspace_id: str,
    person_id: str | None,
    channel: str,
    chat_id: str | None = None,
    message_id: str | None = None,
    origin: Mapping[str, Any] | None = None,
    client_id: str | None = None,
    data_use: bool = False,
    held_id: str | None = None,
    chance: Draw = draw,
) -> Any:
    """The row of the new item: queued, delivered by a policy, or withheld where the queue is full.

    The message, if there is one, must be empty: what a customer could already see is no draft.
    """
    settings, now = settings_of(conn, workspace_id), store.now()
    routed = route(
        conn,
        workspace_id,
        texts=draft.asked,
        draft=draft.text,
        model=draft.model,
        signals=draft.signals,
        customer_id=person_id,
        now=now,
    )
    held = held_id is not None or bool(draft.signals.get("guard"))
    full = _waiting(conn, workspace_id) >= settings["review_queue"]
    reasons = _reasons(routed, settings["review"], held=held, chance=chance)
    row = {
        "id": new_id("review"),
        "workspace_id": workspace_id,
        "person_id": person_id,
        "chat_id": chat_id,
        "message_id": message_id,
        "policy_id": routed.policy.id if routed.policy else None,
        "channel": channel,
        "state": "queued",
        "version": 1,
        "topic": routed.topic,
        "risk": routed.risk,
        "priority": 0,
        "four_eyes": routed.rules.four_eyes,
        "reopened": False,
        "routed": reasons or ["policy"],
        "prompt": draft.prompt,
        "question": (draft.asked or [""])[-1][:MAX_QUESTION],
        "model": draft.model,
        "lang": draft.lang,
        "signals": draft.signals,
        "made": draft.made,
        "origin": clean_json(origin) if origin else None,
        "data_use": data_use or _lets_use(conn, chat_id),
        "held_id": held_id,
        "client_id": client_id,
        "claim_due_at": hours.after(now, routed.rules.claim_s, routed.rules.calendar),
        "due_at": hours.after(now, routed.rules.decide_s, routed.rules.calendar),
        "created_at": now,
        "updated_at": now,
    }
    _supersede(conn, store, chat_id, message_id)
    conn.execute(insert(items).values(row))
    item = row_of(conn, items, str(row["id"]))
    version = add_version(conn, store, item, draft.text, author_kind="model")
    note_of(
        conn, store, None, item, "open", detail={"topic": item.topic, "risk": item.risk}, after=version.hash
    )
    if full:
        return close(conn, store, None, item, "withheld", "full")
    if reasons:
        return item
    return _pass(conn, store, item, version, routed, chance)


def _lets_use(conn: Connection, chat_id: str | None) -> bool:
    """Whether the chat's owner lets it be learned from; the chat's switch at this time."""
    return bool(chat_id and conn.execute(select(chats.c.data_use).where(chats.c.id == chat_id)).scalar())


def _waiting(conn: Connection, workspace_id: str) -> int:
    waiting = select(func.count()).where(items.c.workspace_id == workspace_id, items.c.state.in_(OPEN))
    return int(conn.execute(waiting).scalar_one())


def _reasons(routed: Routed, mode: str, *, held: bool, chance: Draw) -> list[str]:
    """Why a person looks at it; none: its policy lets it pass."""
    if mode != "policy":
        return ["all" if mode == "all" else "guard", *routed.reasons]
    rules = routed.rules
    found = list(routed.reasons)
    if held and "guard" not in found:
        found.append("guard")
    if routed.policy is None or rules.mode == "all":
        found.append("topic")
    elif rules.four_eyes:
        found.append("four_eyes")
    elif not found and 100 * chance() < rules.sample_pct:
        found.append("sample")
    return found


def _pass(conn: Connection, store: Store, item: Any, version: Any, routed: Routed, chance: Draw) -> Any:
    """The decision of a named policy is a row like a person's; the database refuses it where the policy is off."""
    assert routed.policy is not None
    decision_id = new_id("rdec")
    row = {
        "id": decision_id,
        "workspace_id": item.workspace_id,
        "item_id": item.id,
        "policy_id": routed.policy.id,
        "decided_by": "policy",
        "decision": "approve",
        "judged_id": version.id,
        "version_id": version.id,
        "hash": version.hash,
        "reasons": [],
        "severe": False,
        "distance": 0.0,
        "changed": 0,
        "created_at": store.now(),
    }
    conn.execute(insert(decisions).values(row))
    item = move(conn, store, None, item, "approved", "policy", detail={"policy": routed.policy.id})
    sent = send(conn, store, None, item, version, decision_id, by_person=False)
    maybe_second(conn, store, sent, routed.rules.double_pct, chance)
    return sent


def maybe_second(conn: Connection, store: Store, item: Any, double_pct: float, chance: Draw) -> None:
    """Ask for a blind second decision on x % of what was decided."""
    asked = conn.execute(select(seconds.c.id).where(seconds.c.item_id == item.id)).first()
    if asked is not None or 100 * chance() >= double_pct:
        return
    row = {
        "id": new_id("rsec"),
        "workspace_id": item.workspace_id,
        "item_id": item.id,
        "reasons": [],
        "created_at": store.now(),
    }
    conn.execute(insert(seconds).values(row))


def _supersede(conn: Connection, store: Store, chat_id: str | None, message_id: str | None) -> None:
    """Open items of answers that this one takes the place of: to the same message, or to the one that was edited."""
    if chat_id is None or message_id is None:
        return
    answer = row_of(conn, messages, message_id)
    asked = row_of(conn, messages, answer.parent_id) if answer.parent_id else None
    if asked is None:
        return
    beside = select(messages.c.id).where(
        messages.c.chat_id == chat_id,
        messages.c.role == "user",
        messages.c.parent_id.is_(None)
        if asked.parent_id is None
        else messages.c.parent_id == asked.parent_id,
    )
    older = (
        select(items)
        .join(messages, messages.c.id == items.c.message_id)
        .where(
            items.c.chat_id == chat_id,
            items.c.state.in_(OPEN),
            items.c.reopened.is_(False),
            messages.c.parent_id.in_(beside),
            or_(messages.c.pair_id.is_(None), messages.c.pair_id != (answer.pair_id or "")),
        )
    )
    for row in conn.execute(older).all():
        close(conn, store, None, row, "superseded", "supersede")
