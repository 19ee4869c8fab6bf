"""What became of each decided item: the table that metrics and autonomy count over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.store.tables.reviews import complaints, corrections, decisions, deliveries, items, versions
from ziggurat.workbench.review.edits import LIGHT

AT_ONCE = 500


@dataclass(frozen=True)
class Outcome:
    """One item that people have decided, or that a policy let pass."""

    item: Any
    what: str
    """unchanged, edited, answered (a person wrote), regenerated, declined, rejected (nothing left), policy."""
    distance: float | None
    """Of the delivered text from the model's first draft, where a person edited it."""
    reviewer: str | None
    reasons: tuple[str, ...]
    severe: bool
    escaped: bool
    """Delivered, and later corrected or complained about."""
    decision: Any = None
    decisions: tuple[Any, ...] = field(default=(), repr=False)

    @property
    def by_person(self) -> bool:
        return self.what != "policy"

    @property
    def light(self) -> bool:
        return self.what == "edited" and self.distance is not None and self.distance <= LIGHT

    @property
    def usable(self) -> bool:
        """Approved as it was, or after light edits."""
        return self.what == "unchanged" or self.light


def outcomes(conn: Connection, workspace_id: str, since: int, *, topic: str | None = None) -> list[Outcome]:
    """Of the items that were decided or delivered since then, the oldest first. Those that customers took back, that
    were replaced, or that found the queue full are none."""
    wanted = select(items).where(
        items.c.workspace_id == workspace_id,
        (items.c.decided_at >= since) | ((items.c.decided_at.is_(None)) & (items.c.delivered_at >= since)),
    )
    if topic is not None:
        wanted = wanted.where(items.c.topic == topic)
    rows = list(conn.execute(wanted.order_by(items.c.id)).all())
    found: list[Outcome] = []
    for at in range(0, len(rows), AT_ONCE):
        found += _part(conn, rows[at : at + AT_ONCE])
    return found


def _part(conn: Connection, rows: list[Any]) -> list[Outcome]:
    ids = [row.id for row in rows]
    said = _by_item(
        conn.execute(
            select(decisions)
            .where(decisions.c.item_id.in_(ids))
            .order_by(decisions.c.created_at, decisions.c.id)
        ).all()
    )
    sent = {
        row.item_id: row
        for row in conn.execute(
            select(
                deliveries.c.item_id,
                deliveries.c.decision_id,
                versions.c.n,
                versions.c.author_kind,
                deliveries.c.created_at,
            )
            .join(versions, versions.c.id == deliveries.c.version_id)
            .where(deliveries.c.item_id.in_(ids))
        )
    }
    fixed = set(
        conn.execute(select(corrections.c.item_id).where(corrections.c.item_id.in_(ids))).scalars()
    ) | set(conn.execute(select(complaints.c.item_id).where(complaints.c.item_id.in_(ids))).scalars())
    return [
        _outcome(row, said.get(row.id, []), sent.get(row.id), row.id in fixed)
        for row in rows
        if said.get(row.id)
    ]


def _by_item(rows: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.item_id, []).append(row)
    return found


WHAT: Mapping[str, str] = {
    "edit": "edited",
    "answer": "answered",
    "decline": "declined",
    "reject": "rejected",
}


def _outcome(item: Any, said: list[Any], sent: Any, escaped: bool) -> Outcome:
    """By the decisions up to the delivery; later ones are corrections."""
    first = [row for row in said if sent is None or row.created_at <= sent.created_at] or said[:1]
    last = first[-1]
    wrote = next((row for row in reversed(first) if row.decision in ("edit", "answer")), None)
    if sent is not None and any(row.id == sent.decision_id and row.decided_by == "policy" for row in said):
        what = "policy"
    elif sent is not None and sent.author_kind == "model":
        what = "unchanged" if sent.n == 1 else "regenerated"
    elif sent is not None and sent.author_kind == "person" and wrote is not None:
        what = WHAT[wrote.decision]
    else:
        what = WHAT.get(last.decision, "rejected")
    return Outcome(
        item=item,
        what=what,
        distance=wrote.distance if what == "edited" and wrote is not None else None,
        reviewer=last.person_id,
        reasons=tuple(dict.fromkeys(reason for row in first for reason in row.reasons)),
        severe=any(row.severe for row in said),
        escaped=sent is not None and escaped,
        decision=last,
        decisions=tuple(first),
    )
