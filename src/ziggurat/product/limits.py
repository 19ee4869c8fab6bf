"""How fast a person may ask: messages a minute and answers at once, by the settings of the workspace.

Local mode has no such limits: the only person there waits for nobody.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from ziggurat.product.errors import TooMany
from ziggurat.product.principal import Principal
from ziggurat.product.workspaces import settings_of
from ziggurat.store.clock import SECOND
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import generations


def check_pace(conn: Connection, store: Store, principal: Principal, *, answers: int) -> None:
    """Raise TooMany where `answers` more would pass a limit."""
    if principal.via == "local":
        return
    limits = settings_of(conn, principal.workspace_id)["limits"]
    mine = generations.c.person_id == principal.person_id
    running = conn.execute(
        select(func.count()).select_from(generations).where(mine, generations.c.status == "running")
    ).scalar_one()
    if running + answers > limits["answers_at_once"]:
        raise TooMany(
            f"{running} answers are being written for you, at most {limits['answers_at_once']} at once; wait for one.",
            code="too_many_running",
            retry_after_s=5,
        )
    since = store.now() - 60 * SECOND
    recent = conn.execute(
        select(func.count(), func.min(generations.c.started_at)).where(mine, generations.c.started_at > since)
    ).one()
    if recent[0] + answers > limits["messages_per_minute"]:
        wait = max(1, (int(recent[1] or since) - since) // SECOND + 1)
        raise TooMany(
            f"you sent {recent[0]} messages within a minute; wait {wait} s.",
            code="too_fast",
            retry_after_s=wait,
        )
