"""The chain of audit entries, for administrators."""

from __future__ import annotations

import threading

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
    return Verified().broken(store)


class Verified:
    """How far the chain was verified, so that a page of the list reads only what came since.

    An entry that is changed after it was verified shows when the whole chain is read again: `whole`, or the next start.
    What was found broken stays so until the process ends: a chain whose last entries were deleted holds in itself, and
    only this process knows that there were more.
    """

    def __init__(self) -> None:
        self._last = chain.START
        self._broken_at: int | None = None
        self._lock = threading.Lock()
        self.whole_at: str | None = None
        """When all entries were read the last time; set from the first call on."""

    def broken(self, store: Store, *, whole: bool = False) -> str | None:
        """None, or a sentence that says at which entry the chain breaks."""
        with self._lock:
            if whole or self._broken_at is None:
                self._read(store, whole or self._last == chain.START)
            seq = self._broken_at
        return None if seq is None else f"the audit chain breaks at entry {seq}: it was changed from outside."

    def _read(self, store: Store, whole: bool) -> None:
        if whole:
            self.whole_at = iso(store.now())
        with store.read() as conn:
            known = chain.is_there(conn, self._last)
            last, seq = chain.checked(conn, chain.START if whole else self._last)
        found = [self._broken_at, seq, None if known else self._last[0]]
        self._broken_at = min((at for at in found if at is not None), default=None)
        if self._broken_at is None:
            self._last = last
