"""The chain of audit entries, for administrators."""

from __future__ import annotations

from sqlalchemy import select

from ziggurat.product.common import cursor_of, page_size, read_cursor
from ziggurat.product.objects import AuditEvent, Page
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store import audit as chain
from ziggurat.store.clock import iso
from ziggurat.store.store import Store
from ziggurat.store.tables.workspace import audit_events as events


def list_events(
    store: Store, principal: Principal, *, cursor: str | None = None, limit: int = 100
) -> Page[AuditEvent]:
    """Newest first (admin)."""
    require(principal, "audit.read")
    limit = page_size(limit)
    wanted = select(events).where(events.c.workspace_id == principal.workspace_id)
    if cursor:
        wanted = wanted.where(events.c.seq < read_cursor(cursor, (int,))[0])
    with store.read() as conn:
        rows = conn.execute(wanted.order_by(events.c.seq.desc()).limit(limit + 1)).all()
    names = [name for name in AuditEvent.model_fields if name != "at"]
    return Page(
        data=[
            AuditEvent(at=iso(row.at), **{name: getattr(row, name) for name in names}) for row in rows[:limit]
        ],
        next=cursor_of(rows[limit - 1].seq) if len(rows) > limit else None,
    )


def verify(store: Store) -> str | None:
    """None, or a sentence that says at which entry the chain breaks. Reads all entries."""
    with store.read() as conn:
        seq = chain.broken_at(conn)
    return None if seq is None else f"the audit chain breaks at entry {seq}: it was changed from outside."
