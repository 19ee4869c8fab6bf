"""The daily duty: what is kept too long is deleted, by the settings of each workspace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, select

from ziggurat.product import battles, generations, inferences
from ziggurat.product.common import record
from ziggurat.product.deletion import remove_chats
from ziggurat.product.sessions import IDLE_US
from ziggurat.product.shares import end_shares
from ziggurat.product.workspaces import settings_of
from ziggurat.store.clock import DAY, iso
from ziggurat.store.scrub import scrub
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, shares
from ziggurat.store.tables.guard import held_answers
from ziggurat.store.tables.labelling import drafts
from ziggurat.store.tables.people import attempts, invitations, sessions, usage
from ziggurat.store.tables.programs import uploads
from ziggurat.store.tables.workspace import workspaces

USAGE_DAYS = 400
DRAFT_DAYS = 90
"""How long an opened item of the labelling workbench keeps its draft."""
HELD_DAYS = 30
"""How long a held answer of the API waits for a decision."""


@dataclass
class Report:
    """What was deleted, or would be."""

    chats: list[str] = field(default_factory=list)
    shares: int = 0
    sessions: int = 0
    invitations: int = 0
    events: int = 0
    held: int = 0
    answers: int = 0
    files: int = 0
    battles: int = 0


def run(store: Store, *, dry_run: bool = False) -> Report:
    """Delete chats unchanged for `retention_days`, what was in the trash for `trash_days`, old answers of the API and
    held ones that are decided or old, expired files, shares, sessions and invitations, and events of generations of
    yesterday.
    `dry_run` only says what."""
    report = Report()
    with store.read() if dry_run else store.write() as conn:
        for workspace_id in conn.execute(select(workspaces.c.id)).scalars().all():
            gone = _old_chats(conn, store, workspace_id)
            report.chats += gone
            report.held += _old_held(conn, store, workspace_id, dry_run=dry_run)
            answers = inferences.old_ones(conn, store, workspace_id)
            report.answers += len(answers)
            report.battles += battles.remove_old(conn, store, workspace_id, dry_run=dry_run)
            if answers and not dry_run:
                inferences.remove(conn, store, workspace_id, answers)
            if gone and not dry_run:
                remove_chats(conn, store, workspace_id, gone)
                detail = {"chats": len(gone)}
                record(conn, store, None, "retention", workspace_id=workspace_id, detail=detail)
        _expired(conn, store, report, dry_run=dry_run)
    if not dry_run:
        report.events = generations.sweep_events(store)
        if any(
            (
                report.chats,
                report.shares,
                report.events,
                report.held,
                report.answers,
                report.files,
                report.battles,
            )
        ):
            scrub(store)
    return report


def _old_chats(conn: Connection, store: Store, workspace_id: str) -> list[str]:
    settings, now = settings_of(conn, workspace_id), store.now()
    old = chats.c.deleted_at < now - settings["trash_days"] * DAY
    if settings["retention_days"] is not None:
        old |= chats.c.updated_at < now - settings["retention_days"] * DAY
    return list(conn.execute(select(chats.c.id).where(chats.c.workspace_id == workspace_id, old)).scalars())


def _old_held(conn: Connection, store: Store, workspace_id: str, *, dry_run: bool) -> int:
    """Held answers of the API, whose callers do not wait: those that are decided, and those left undecided for
    `retention_days`, or HELD_DAYS where that is not set."""
    days = settings_of(conn, workspace_id)["retention_days"] or HELD_DAYS
    old = (held_answers.c.workspace_id == workspace_id) & held_answers.c.message_id.is_(None)
    late = held_answers.c.created_at < store.now() - days * DAY
    old &= held_answers.c.decision.is_not(None) | late
    found = len(conn.execute(select(held_answers.c.id).where(old)).all())
    if found and not dry_run:
        conn.execute(delete(held_answers).where(old))
    return found


def _expired(conn: Connection, store: Store, report: Report, *, dry_run: bool) -> None:
    now = store.now()
    ended = select(shares.c.id).where(shares.c.expires_at <= now, shares.c.revoked_at.is_(None))
    ids = list(conn.execute(ended).scalars())
    report.shares = len(ids)
    over: list[tuple[str, Any, Any]] = [
        ("sessions", sessions, (sessions.c.expires_at <= now) | (sessions.c.last_seen_at <= now - IDLE_US)),
        ("invitations", invitations, invitations.c.expires_at <= now),
        ("files", uploads, uploads.c.expires_at <= now),
    ]
    for name, table, condition in over:
        setattr(report, name, len(conn.execute(select(table.c.id).where(condition)).all()))
        if not dry_run:
            conn.execute(delete(table).where(condition))
    if not dry_run:
        end_shares(conn, store, ids)
        conn.execute(delete(drafts).where(drafts.c.opened_at < now - DRAFT_DAYS * DAY))
        conn.execute(delete(attempts).where(attempts.c.created_at < now - DAY))
        conn.execute(delete(usage).where(usage.c.day < iso(now - USAGE_DAYS * DAY)[:10]))
