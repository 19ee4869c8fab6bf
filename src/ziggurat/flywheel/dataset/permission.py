"""May this judgement be learned from, now?

On the basis of consent (the default): the person agrees to "improve_model" now, and the chat may be used, now and when
it was judged. On the basis of work (labellers, experts): what was judged may be used. On either basis the person whose
chat or request it comes from agrees, and the chat may be used. A chat in the trash may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.flywheel.dataset.subjects import Facts, facts_of, rows_of
from ziggurat.product.consents import TEXT_VERSION
from ziggurat.store.tables.base import metadata
from ziggurat.store.tables.chats import chats
from ziggurat.store.tables.people import consents

PURPOSE = "improve_model"


@dataclass(frozen=True)
class Permission:
    """What decides about a list of judgements, read once."""

    facts: dict[str, Facts]
    """By subject."""
    chats: dict[str, Any]
    agreed: frozenset[str]
    """People who agree now."""
    overruled: frozenset[str]
    """Judgements that an adjudication or a review of labels took the place of."""

    @classmethod
    def of(cls, conn: Connection, rows: Sequence[Any]) -> Permission:
        subjects = {(row.subject_kind, row.subject_id) for row in rows if row.subject_kind}
        facts = facts_of(conn, subjects)
        wanted = {row.chat_id for row in rows} | {one.chat_id for one in facts.values()}
        known = {row.id: row for row in rows_of(conn, chats, sorted(one for one in wanted if one))}
        return cls(facts, known, agreeing(conn), _overruled(conn, facts, rows))

    def reason_against(self, row: Any) -> str | None:
        """A name of REASONS, or None."""
        if row.subject_kind == "episode":
            return "no_training_use"  # what a program says of several answers is a label of none
        facts = self.facts.get(row.subject_id) if row.subject_kind else Facts()
        if facts is None:
            return "withdrawn"
        if facts.gold:
            return "gold"
        if not row.data_use or not facts.data_use:
            return "no_data_use"
        chat_id = row.chat_id or facts.chat_id
        if (facts.from_chat and chat_id is None) or (chat_id and chat_id not in self.chats):
            return "withdrawn"
        chat = self.chats.get(chat_id) if chat_id else None
        if chat is not None and (not chat.data_use or chat.deleted_at is not None):
            return "no_data_use"
        if (row.basis or "consent") == "consent" and row.person_id not in self.agreed:
            return "no_consent"
        if chat is not None and chat.person_id not in self.agreed:
            return "no_consent"
        if facts.person_id is not None and facts.person_id not in self.agreed:
            return "no_consent"
        if row.id in self.overruled:
            return "overruled"
        return "conflicted" if facts.open_conflict else None


def agreeing(conn: Connection) -> frozenset[str]:
    """People who agree to "improve_model" now, to the present wording."""
    wanted = select(consents.c.person_id).where(
        consents.c.purpose == PURPOSE,
        consents.c.withdrawn_at.is_(None),
        consents.c.text_version == TEXT_VERSION,
    )
    return frozenset(conn.execute(wanted).scalars())


def _overruled(conn: Connection, facts: dict[str, Facts], rows: Sequence[Any]) -> frozenset[str]:
    """Labels of an adjudicated item other than the adjudicator's, and labels that a review rejected."""
    items = sorted({row.subject_id for row in rows if row.subject_kind == "item" and row.subject_id in facts})
    found: set[str] = set()
    if (table := metadata.tables.get("adjudication")) is not None:
        final = {
            row.item_id: row.judgement_id
            for row in rows_of(conn, table, items, "item_id")
            if row.superseded_by is None and row.judgement_id
        }
        found |= {row.id for row in rows if final.get(row.subject_id, row.id) != row.id}
    if (table := metadata.tables.get("label_answer")) is not None:
        found |= {
            row.judgement_id for row in rows_of(conn, table, items, "item_id") if row.status == "discarded"
        }
    return frozenset(found)
