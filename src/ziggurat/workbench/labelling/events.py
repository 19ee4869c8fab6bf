"""What programs are told of: a row for each webhook that wants the event, in the transaction of the act."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import deliveries, webhooks

EVENTS = ("record.created", "answer.submitted", "item.completed")


def emit(conn: Connection, store: Store, project: Any, event: str, payload: Mapping[str, Any]) -> None:
    """Queue the event for the webhooks of the project and those of all projects."""
    wanted = select(webhooks).where(
        webhooks.c.workspace_id == project.workspace_id,
        webhooks.c.active,
        (webhooks.c.project_id == project.id) | webhooks.c.project_id.is_(None),
    )
    now = store.now()
    rows = [
        {
            "id": new_id("delivery"),
            "workspace_id": project.workspace_id,
            "webhook_id": hook.id,
            "event": event,
            "payload": {"event": event, "at": iso(now), "project_id": project.id, **payload},
            "attempts": 0,
            "next_at": now,
            "created_at": now,
        }
        for hook in conn.execute(wanted)
        if event in hook.events
    ]
    if rows:
        conn.execute(insert(deliveries), rows)
