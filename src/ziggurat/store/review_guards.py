"""What the database itself refuses about expert review, on SQLite and on PostgreSQL: triggers.

Each guard is a condition over the new (NEW) and the old (OLD) row; where it holds, the statement fails with the guard's
sentence. They stand beside foreign keys and unique indexes, which say the rest (`tables/reviews.py`). A step of the
schema that makes one of these tables anew has to make their guards again. A backup is restored without them: its rows
come in another order than they were written.
"""

from __future__ import annotations

# ruff: noqa: S608  (no value of a request is in these statements)
from typing import NamedTuple

from sqlalchemy import Connection

REVIEWERS = ("owner", "admin", "reviewer", "review_lead")
"""Roles that decide; `rights.ACTIONS["review"]` has the same, which a test compares."""
MOVES = {
    "drafting": ("claimed", "rejected", "queued", "cancelled", "superseded", "expired"),
    "queued": ("claimed", "approved", "delivered", "withheld", "cancelled", "superseded", "expired"),
    "claimed": (
        *("queued", "approved", "edited", "rejected", "answered_by_human", "escalated", "delivered"),
        *("withheld", "cancelled", "superseded", "expired"),
    ),
    "approved": ("claimed", "delivered", "withheld", "cancelled", "superseded", "expired"),
    "edited": ("claimed", "delivered", "withheld", "cancelled", "superseded", "expired"),
    "answered_by_human": ("claimed", "delivered", "withheld", "cancelled", "superseded", "expired"),
    "escalated": ("claimed", "withheld", "cancelled", "superseded", "expired"),
    "rejected": (
        *("drafting", "claimed", "queued", "answered_by_human", "delivered"),
        *("withheld", "cancelled", "superseded", "expired"),
    ),
    "delivered": ("queued", "claimed"),
    "withheld": (),
    "expired": (),
    "cancelled": (),
    "superseded": (),
}
"""State -> where it may go. A delivered item is looked at again after a complaint or for a correction."""
OVER = ("withheld", "expired", "cancelled", "superseded")
"""Nothing of these items is ever delivered."""


class Guard(NamedTuple):
    name: str
    table: str
    event: str
    when: str
    says: str


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


_OPEN_CLAIM = (
    "EXISTS (SELECT 1 FROM review_claim c WHERE c.item_id = NEW.item_id AND c.person_id = NEW.person_id "
    "AND c.ended_at IS NULL)"
)
_ROLE = (
    "EXISTS (SELECT 1 FROM membership m WHERE m.person_id = NEW.person_id AND m.workspace_id = NEW.workspace_id "
    f"AND m.role IN ({_listed(REVIEWERS)}))"
)
_POLICY = (
    "NEW.decision = 'approve' AND EXISTS (SELECT 1 FROM review_policy p JOIN review_item i ON i.id = NEW.item_id "
    "WHERE p.id = NEW.policy_id AND p.workspace_id = NEW.workspace_id AND p.topic = i.topic AND p.enabled "
    "AND p.mode IN ('sampled', 'auto') AND NOT i.four_eyes AND i.state = 'queued')"
)
_FOUR_EYES = "EXISTS (SELECT 1 FROM review_item i WHERE i.id = NEW.item_id AND i.four_eyes)"
_PEOPLE = (
    "(SELECT COUNT(DISTINCT who) FROM (SELECT d.person_id AS who FROM review_decision d WHERE d.item_id = NEW.item_id "
    "AND d.version_id = NEW.version_id AND d.decided_by = 'person' UNION SELECT v.author_id FROM review_version v "
    "WHERE v.id = NEW.version_id AND v.author_kind = 'person') AS people)"
)
_NOT_A_TEMPLATE = (
    "EXISTS (SELECT 1 FROM review_version v WHERE v.id = NEW.version_id AND v.author_kind <> 'template')"
)
_STATE_IS_OVER = (
    f"EXISTS (SELECT 1 FROM review_item i WHERE i.id = NEW.item_id AND i.state IN ({_listed(OVER)}))"
)
_MOVES = _listed(tuple(f"{a}>{b}" for a, ends in MOVES.items() for b in ends))
_SENT = (
    "EXISTS (SELECT 1 FROM review_item i JOIN review_version v ON v.item_id = i.id "
    "WHERE i.message_id = NEW.id AND v.text = NEW.content AND (v.id IN (SELECT d.version_id FROM review_delivery d) "
    "OR v.id IN (SELECT c.version_id FROM review_correction c)))"
)
_STAYS = "EXISTS (SELECT 1 FROM review_item i WHERE i.id = OLD.item_id)"
_SHOWN = "m.content <> '' OR m.reasoning IS NOT NULL OR m.tool_calls IS NOT NULL"


def _four_eyes(table: str) -> Guard:
    return Guard(
        f"{table}_four_eyes",
        table,
        "INSERT",
        f"{_FOUR_EYES} AND {_NOT_A_TEMPLATE} AND {_PEOPLE} < 2",
        "this text needs the decisions of two people",
    )


def _kept(table: str, columns: str = "") -> tuple[Guard, Guard]:
    of = f" OF {columns}" if columns else ""
    return (
        Guard(f"{table}_no_update", table, f"UPDATE{of}", "1 = 1", f"{table} never changes"),
        Guard(f"{table}_no_delete", table, "DELETE", _STAYS, f"{table} goes only with its item"),
    )


GUARDS = (
    Guard(
        "review_item_begins",
        "review_item",
        "INSERT",
        "NEW.state NOT IN ('queued', 'withheld') OR EXISTS (SELECT 1 FROM message m WHERE m.id = NEW.message_id "
        f"AND ({_SHOWN}))",
        "an item begins queued or withheld, with an empty message",
    ),
    Guard(
        "review_item_moves",
        "review_item",
        "UPDATE OF state",
        f"NEW.state <> OLD.state AND (OLD.state || '>' || NEW.state) NOT IN ({_MOVES})",
        "this state does not lead to that one",
    ),
    Guard(
        "review_item_delivered",
        "review_item",
        "UPDATE OF state",
        "NEW.state = 'delivered' AND NOT EXISTS (SELECT 1 FROM review_delivery d WHERE d.item_id = NEW.id)",
        "nothing was delivered",
    ),
    Guard(
        "review_decision_claim",
        "review_decision",
        "INSERT",
        f"NEW.decided_by = 'person' AND NOT ({_OPEN_CLAIM} AND {_ROLE})",
        "only a reviewer who holds the claim decides",
    ),
    Guard(
        "review_decision_policy",
        "review_decision",
        "INSERT",
        f"NEW.decided_by = 'policy' AND NOT ({_POLICY})",
        "no policy that is switched on decides this",
    ),
    Guard(
        "review_decision_author",
        "review_decision",
        "INSERT",
        f"NEW.version_id IS NOT NULL AND {_FOUR_EYES} AND EXISTS (SELECT 1 FROM review_version v "
        "WHERE v.id = NEW.version_id AND v.author_kind = 'person' AND v.author_id = NEW.person_id)",
        "the author of a text does not approve it",
    ),
    _four_eyes("review_delivery"),
    _four_eyes("review_correction"),
    Guard(
        "review_delivery_over",
        "review_delivery",
        "INSERT",
        _STATE_IS_OVER,
        "this item ended without a delivery",
    ),
    Guard(
        "review_correction_first",
        "review_correction",
        "INSERT",
        "NOT EXISTS (SELECT 1 FROM review_delivery d WHERE d.item_id = NEW.item_id)",
        "only what was delivered is corrected",
    ),
    *_kept("review_version"),
    *_kept(
        "review_decision", "item_id, policy_id, decided_by, decision, judged_id, version_id, hash, created_at"
    ),
    *_kept("review_delivery"),
    *_kept("review_correction"),
    Guard(
        "message_reviewed",
        "message",
        "UPDATE OF content, reasoning, tool_calls",
        "EXISTS (SELECT 1 FROM review_item i WHERE i.message_id = NEW.id) AND (NEW.reasoning IS NOT NULL OR "
        f"NEW.tool_calls IS NOT NULL OR (NEW.content <> '' AND NOT {_SENT}))",
        "nothing but the delivered text stands in a reviewed message",
    ),
)


def create(conn: Connection) -> None:
    """Make all triggers."""
    for guard in GUARDS:
        for statement in _sqlite(guard) if conn.dialect.name == "sqlite" else _postgresql(guard):
            conn.exec_driver_sql(statement)


def drop(conn: Connection) -> None:
    """Take them away: before the tables go, or while a backup is restored."""
    for guard in GUARDS:
        if conn.dialect.name == "sqlite":
            conn.exec_driver_sql(f"DROP TRIGGER {guard.name}")
        else:
            conn.exec_driver_sql(f"DROP FUNCTION {guard.name}() CASCADE")


def _sqlite(guard: Guard) -> list[str]:
    return [
        f"CREATE TRIGGER {guard.name} BEFORE {guard.event} ON {guard.table} WHEN {guard.when} "
        f"BEGIN SELECT RAISE(ABORT, '{guard.says}'); END"
    ]


def _postgresql(guard: Guard) -> list[str]:
    row = "OLD" if guard.event == "DELETE" else "NEW"
    return [
        f"CREATE FUNCTION {guard.name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {guard.when} "
        f"THEN RAISE EXCEPTION '{guard.says}'; END IF; RETURN {row}; END $$",
        f"CREATE TRIGGER {guard.name} BEFORE {guard.event} ON {guard.table} FOR EACH ROW "
        f"EXECUTE FUNCTION {guard.name}()",
    ]
