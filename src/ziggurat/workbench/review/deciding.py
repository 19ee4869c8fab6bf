"""Decisions: approve, edit, answer, reject, decline, escalate, recall.

Only the holder of the claim decides, and only on the version of the item that the page shows. A decision, its text, its
delivery, the judgement and the audit entry are one transaction. Where an item needs four eyes, a text leaves only after
two people: an edit waits for another person's approval, and so does an approved draft.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, union, update

from ziggurat.product.common import clean, row_of
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.judgements import write_about
from ziggurat.product.principal import Principal
from ziggurat.product.rights import ACTIONS
from ziggurat.store.clock import SECOND
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.people import memberships
from ziggurat.store.tables.reviews import decisions, items, looks, policies, versions
from ziggurat.workbench.review.autonomy import back_after_harm
from ziggurat.workbench.review.claims import open_claim, the_item
from ziggurat.workbench.review.edits import edit_of
from ziggurat.workbench.review.intake import maybe_second
from ziggurat.workbench.review.policies import DEFAULT, Policy, in_language, reason_codes, view
from ziggurat.workbench.review.routing import Draw, draw
from ziggurat.workbench.review.sending import (
    add_version,
    close,
    end_claims,
    latest,
    move,
    send,
    shown_version,
)

MAX_NOTE = 8_000
NEEDS_REASON = ("edit", "reject", "answer", "decline", "recall")
WRITES = ("edit", "answer", "recall")
"""Decisions with a text of the expert's own."""
CORRECTS = (*WRITES, "decline")
"""Decisions that put another text in the place of a delivered one."""
AFTER_REJECTION = ("answer", "decline", "reject")
"""What else is done about a rejected draft."""
NO_NOTE = "tell the customer what was corrected."
KINDS = ("approve", "edit", "answer", "reject", "decline", "escalate", "recall")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the expert chose on the card."""

    decision: str
    version: int
    """Of the item, as the page shows it."""
    text: str | None = None
    """Of an edit or an own answer; of a recall, what the customer reads."""
    reasons: Sequence[str] = ()
    note: str | None = None
    """To an escalation: for the colleagues. To a correction: the customer reads it."""
    then: str | None = None
    """After a rejection: regenerate (with `instruction`), or withhold."""
    instruction: str | None = None
    template: str | None = None
    """The name of the text with which a question is declined."""
    to: str | None = None
    """To whom it is escalated; None: to the topic's group, or to every lead."""
    severe: bool = False
    """Harm, had it been delivered: it stops the topic's autonomy."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What came of it."""

    decision_id: str
    state: str
    regenerate: bool = False
    """The model is to write another draft now."""


def decide(store: Store, principal: Principal, item_id: str, choice: Choice, *, chance: Draw = draw) -> Made:
    """
    Raises:
        Conflict: the page is stale (code stale), the claim is another's or over (not_claimed), or a second person is
            needed (four_eyes).
        Invalid: a reason or a text is missing or not allowed.
    """
    with store.write() as conn:
        item = the_item(conn, principal, item_id)
        claim = open_claim(conn, store, item)
        if claim is None or claim.person_id != principal.person_id:
            raise Conflict("you do not hold this item; claim it first.", code="not_claimed")
        if item.version != choice.version:
            raise Conflict("this item has changed since the page was loaded; look at it again.", code="stale")
        if item.state != "claimed" and not (item.state == "rejected" and choice.decision in AFTER_REJECTION):
            raise Conflict(f"this item is {item.state}; this decision is not possible now.", code="over")
        return _Deciding(conn, store, principal, item, claim, choice, chance).done()


class _Deciding:
    """One decision inside its transaction."""

    def __init__(
        self,
        conn: Connection,
        store: Store,
        principal: Principal,
        item: Any,
        claim: Any,
        choice: Choice,
        chance: Draw,
    ) -> None:
        self.conn, self.store, self.principal = conn, store, principal
        self.item, self.claim, self.choice, self.chance = item, claim, choice, chance
        self.judged = latest(conn, item.id)
        row = conn.execute(select(policies).where(policies.c.id == item.policy_id)).first()
        self.rules: Policy = DEFAULT if row is None else view(row)

    def done(self) -> Made:
        choice = self.choice
        if choice.decision not in KINDS:
            raise Invalid(
                f"decision is {choice.decision!r}; it must be one of {', '.join(KINDS)}.", param="decision"
            )
        self._check_reasons()
        return {
            "approve": self._approve,
            "edit": self._write,
            "answer": self._write,
            "reject": self._reject,
            "decline": self._decline,
            "escalate": self._escalate,
            "recall": self._recall,
        }[choice.decision]()

    def _check_reasons(self) -> None:
        allowed = reason_codes(self.rules)
        for reason in self.choice.reasons:
            if reason not in allowed:
                raise Invalid(
                    f"reasons has {reason!r}; allowed are {', '.join(sorted(allowed))}.", param="reasons"
                )
        if self.choice.decision in NEEDS_REASON and not self.choice.reasons:
            raise Invalid("name at least one reason.", param="reasons", code="no_reason")
        if self.item.reopened and self.choice.decision in CORRECTS and not self._note():
            raise Invalid(NO_NOTE, param="note", code="no_note")

    def _note(self) -> str | None:
        note = self.choice.note
        return clean(note, "note", limit=MAX_NOTE) if note and note.strip() else None

    # --- each decision ---------------------------------------------------------------------------------------------

    def _approve(self) -> Made:
        answered = (self.item.origin or {}).get("answered")  # nothing leaves: the rule is judged, not a text
        if not self.judged.text.strip() and not answered:
            raise Invalid("the draft is empty; write an answer, or decline.", param="decision", code="empty")
        if self.item.four_eyes and self._is_mine(self.judged):
            raise Conflict("you wrote this text; a second person approves it.", code="four_eyes")
        decision_id = self._insert("approve", self.judged)
        if self.item.four_eyes and self._people(self.judged) < 2:
            return self._wait(decision_id, "approved")
        return self._send(decision_id, self.judged)

    def _write(self) -> Made:
        kind = self.choice.decision
        text = clean(self.choice.text, "text")
        if text.strip() == self.judged.text.strip():
            raise Invalid("the text is the draft itself; approve it.", param="text", code="unchanged")
        version = self._version(text, "person")
        decision_id = self._insert(kind, None if self.item.four_eyes else version, text=text)
        if self.item.four_eyes:
            return self._wait(decision_id, "edited" if kind == "edit" else "answered_by_human")
        return self._send(decision_id, version)

    def _reject(self) -> Made:
        then = self.choice.then
        if then not in ("regenerate", "withhold"):
            raise Invalid(f"then is {then!r}; it must be regenerate or withhold.", param="then")
        decision_id = self._insert("reject", None)
        if then == "withhold" and self.item.reopened:
            raise Invalid("this answer was delivered; recall it instead.", param="then")
        if then == "withhold":
            self._decided()
            ended = close(self.conn, self.store, self.principal, self._again(), "withheld", "withhold")
            return Made(decision_id=decision_id, state=ended.state)
        item = move(self.conn, self.store, self.principal, self.item, "rejected", "reject")
        return Made(decision_id=decision_id, state=item.state, regenerate=True)

    def _decline(self) -> Made:
        found = next((one for one in self.rules.texts.declines if one.name == self.choice.template), None)
        if found is None:
            names = ", ".join(one.name for one in self.rules.texts.declines)
            raise Invalid(f"template is {self.choice.template!r}; there are {names}.", param="template")
        version = self._version(in_language(found.text, self.item.lang), "template")
        return self._send(self._insert("decline", version), version)

    def _recall(self) -> Made:
        if not self.item.reopened:
            raise Invalid("only what was delivered is recalled; reject it instead.", param="decision")
        text = clean(self.choice.text, "text")
        version = self._version(text, "person")
        decision_id = self._insert("recall", None if self.item.four_eyes else version, text=text)
        if self.item.four_eyes:
            return self._wait(decision_id, "edited")
        return self._send(decision_id, version)

    def _escalate(self) -> Made:
        if not self._note():
            raise Invalid("say why it is escalated.", param="note", code="no_note")
        if self.choice.to is not None:
            self._check_reviewer(self.choice.to)
        if self.choice.to == self.principal.person_id:
            raise Invalid("an item is escalated to another person.", param="to")
        decision_id = self._insert("escalate", None)
        end_claims(self.conn, self.store, self.item, "decided")
        item = move(
            self.conn,
            self.store,
            self.principal,
            self.item,
            "escalated",
            "escalate",
            escalated_to=self.choice.to,
        )
        return Made(decision_id=decision_id, state=item.state)

    def _check_reviewer(self, person_id: str) -> None:
        role = self.conn.execute(
            select(memberships.c.role).where(
                memberships.c.person_id == person_id, memberships.c.workspace_id == self.item.workspace_id
            )
        ).scalar()
        if role is None or not ACTIONS["review"][1].get(role):
            raise Invalid("to must be a person who reviews.", param="to")

    # --- what they share -------------------------------------------------------------------------------------------

    def _version(self, text: str, author_kind: str) -> Any:
        author = self.principal.person_id if author_kind == "person" else None
        return add_version(
            self.conn,
            self.store,
            self.item,
            text,
            author_kind=author_kind,
            author_id=author,
            parent_id=self.judged.id,
        )

    def _is_mine(self, version: Any) -> bool:
        return bool(version.author_kind == "person" and version.author_id == self.principal.person_id)

    def _people(self, version: Any) -> int:
        """How many people stand behind a text: who wrote it, and who approved it."""
        approved = select(decisions.c.person_id).where(
            decisions.c.version_id == version.id, decisions.c.decided_by == "person"
        )
        wrote = select(versions.c.author_id).where(
            versions.c.id == version.id, versions.c.author_kind == "person"
        )
        both = union(approved, wrote).subquery()
        return int(self.conn.execute(select(func.count()).select_from(both)).scalar_one())

    def _insert(self, kind: str, version: Any, *, text: str | None = None) -> str:
        now, edit = self.store.now(), None
        draft = self._draft()
        final = text if text is not None else None if version is None else version.text
        if final is not None:
            edit = edit_of(draft.text, final)
        seconds = max(0.0, (now - self.claim.created_at) / SECOND)
        decision_id = new_id("rdec")
        row = {
            "id": decision_id,
            "workspace_id": self.item.workspace_id,
            "item_id": self.item.id,
            "person_id": self.principal.person_id,
            "decided_by": "person",
            "decision": kind,
            "judged_id": self.judged.id,
            "version_id": None if version is None else version.id,
            "hash": None if version is None else version.hash,
            "reasons": list(self.choice.reasons),
            "note": self._note(),
            "severe": bool(self.choice.severe),
            "seconds": seconds,
            "viewed_s": self._viewed(),
            "distance": None if edit is None else edit.distance,
            "changed": None if edit is None else edit.changed,
            "judgement_id": self._judge(kind, final, draft, seconds),
            "created_at": now,
        }
        self.conn.execute(insert(decisions).values(row))
        if self.choice.severe:
            back_after_harm(self.conn, self.store, self.principal, self.item)
        return decision_id

    def _draft(self) -> Any:
        """The model's text that stands behind the judged one."""
        found = select(versions).where(versions.c.item_id == self.item.id, versions.c.author_kind == "model")
        newest = found.where(versions.c.n <= self.judged.n).order_by(versions.c.n.desc()).limit(1)
        return self.conn.execute(newest).one()

    def _viewed(self) -> float | None:
        return self.conn.execute(
            select(looks.c.viewed_s).where(
                looks.c.item_id == self.item.id, looks.c.person_id == self.principal.person_id
            )
        ).scalar()

    def _judge(self, kind: str, final: str | None, draft: Any, seconds: float) -> str:
        """The judgement that the flywheel reads: about the text that was judged."""
        value: dict[str, Any] = {
            "decision": {"decline": "reject", "recall": "reject"}.get(kind, kind),
            "reasons": list(self.choice.reasons),
            "item": self.item.id,
            "topic": self.item.topic,
            "severe": bool(self.choice.severe),
        }
        if kind in ("approve", "edit", "answer"):
            value["text"] = final
        if note := self._note():
            value["note"] = note
        if self.choice.instruction:
            value["instruction"] = clean(self.choice.instruction, "instruction", limit=MAX_NOTE)
        return write_about(
            self.conn,
            self.store,
            self.principal,
            "decision",
            ("review", self.judged.id),
            value,
            prompt=self.item.prompt,
            completions=self._completions(draft),
            guideline=None if self.rules.texts.guideline is None else f"review:{self.item.topic}",
            seconds=min(seconds, 86_400.0),
            basis="work",
            data_use=bool(self.item.data_use),
        )

    def _completions(self, draft: Any) -> list[dict[str, Any]]:
        """What was judged: the model's draft, and an expert's text where that is what was looked at."""
        made = self.item.made or {}
        shown = {"id": draft.id, "content": draft.text, "model": self.item.model, **made}
        if self.judged.id == draft.id:
            return [shown]
        return [{"id": self.judged.id, "content": self.judged.text, "model": None}, shown]

    def _again(self) -> Any:
        return row_of(self.conn, items, self.item.id)

    def _decided(self) -> None:
        """When the item was decided the first time: what comes later is a correction."""
        if self.item.decided_at is None:
            now = {"decided_at": self.store.now()}
            self.conn.execute(update(items).where(items.c.id == self.item.id).values(now))

    def _wait(self, decision_id: str, state: str) -> Made:
        """For a second person."""
        end_claims(self.conn, self.store, self.item, "decided")
        item = move(self.conn, self.store, self.principal, self.item, state, self.choice.decision)
        return Made(decision_id=decision_id, state=item.state)

    def _about(self, version: Any) -> tuple[str, str | None]:
        """(correct or recall, what the customer reads about it): of who wrote the text, unless the last word has its
        own note."""
        wrote = decisions.c.decision.in_(WRITES) & (decisions.c.judged_id == version.parent_id)
        about = select(decisions.c.decision, decisions.c.note).where(
            decisions.c.item_id == self.item.id, wrote | (decisions.c.version_id == version.id)
        )
        said = self.conn.execute(about.order_by(decisions.c.created_at, decisions.c.id)).all()
        kind = "recall" if any(one.decision == "recall" for one in said) else "correct"
        return kind, self._note() or next((one.note for one in said if one.note), None)

    def _send(self, decision_id: str, version: Any) -> Made:
        kind, note = self._about(version)
        shown = shown_version(self.conn, self.item.id)
        if shown is not None and shown.id != version.id and not note:
            raise Invalid(NO_NOTE, param="note", code="no_note")
        self._decided()
        states: Mapping[str, str] = {"edit": "edited", "answer": "answered_by_human", "decline": "rejected"}
        state = states.get(self.choice.decision, "approved")
        item = move(
            self.conn,
            self.store,
            self.principal,
            self._again(),
            state,
            self.choice.decision,
            detail={"decision": decision_id, "reasons": list(self.choice.reasons)},
            before_hash=self.judged.hash,
            after_hash=version.hash,
        )
        sent = send(
            self.conn,
            self.store,
            self.principal,
            item,
            version,
            decision_id,
            by_person=True,
            kind=kind,
            note=note,
        )
        if not self.item.reopened and self.choice.decision in ("approve", "edit"):
            maybe_second(self.conn, self.store, sent, self.rules.double_pct, self.chance)
        return Made(decision_id=decision_id, state=sent.state)


def begin_draft(store: Store, principal: Principal, item_id: str) -> tuple[Any, Any]:
    """The model begins another draft: (the item, the version that was rejected). The claim stays."""
    with store.write() as conn:
        item = the_item(conn, principal, item_id)
        claim = open_claim(conn, store, item)
        if claim is None or claim.person_id != principal.person_id or item.state != "rejected":
            raise Conflict("only a rejected draft of your own claim is written again.", code="not_claimed")
        item = move(conn, store, principal, item, "drafting", "regenerate")
        return item, latest(conn, item_id)


def end_draft(
    store: Store,
    principal: Principal,
    item_id: str,
    text: str | None,
    *,
    instruction: str | None,
    signals: Mapping[str, Any] | None = None,
) -> None:
    """The model's other draft becomes the newest version; None: it failed, and the item stays rejected. The model ends
    its work whether or not the person still reviews."""
    with store.write() as conn:
        item = row_of(conn, items, item_id)
        if item is None or item.state != "drafting":
            return  # the customer went away meanwhile
        if not text or not text.strip():
            move(conn, store, principal, item, "rejected", "regenerate.fail")
            return
        before = latest(conn, item_id)
        asked = clean(instruction, "instruction", limit=MAX_NOTE) if instruction else None
        add_version(
            conn,
            store,
            item,
            clean(text, "text", limit=2**31),
            author_kind="model",
            instruction=asked,
            parent_id=before.id,
        )
        changed = {"signals": {**item.signals, **signals}} if signals else {}
        claim = open_claim(conn, store, item)
        state = "claimed" if claim is not None else "queued"
        move(conn, store, principal, item, state, "regenerate.end", **changed)
