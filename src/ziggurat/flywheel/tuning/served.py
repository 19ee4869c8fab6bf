"""Which fine-tuned models a server may offer."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, select

from ziggurat.flywheel.turn.turns import weights_of
from ziggurat.home import located
from ziggurat.places import holds_model, runs_home
from ziggurat.store.store import Store
from ziggurat.store.tables.programs import tunings as table
from ziggurat.store.tables.releases import channels, gates, signatures


def models(store: Store) -> list[tuple[str, Path]]:
    """(served name, run) of every job that has succeeded, whose run is still there and which may serve, oldest first.

    In a workspace whose people are answered by releases, a model that was tuned serves as they do: after a gate of this
    workspace that it passed with the weights that it has now, and that is signed for a release.
    """
    wanted = select(table.c.fine_tuned_model, table.c.run, table.c.workspace_id)
    with store.read() as conn:
        rows = conn.execute(wanted.where(table.c.status == "succeeded").order_by(table.c.id)).all()
        gated = {one for one in {row.workspace_id for row in rows} if serves_releases(conn, one)}
        passed = select(gates.c.workspace_id, gates.c.candidate, gates.c.weights).join(
            signatures, signatures.c.gate_id == gates.c.id
        )
        signed = conn.execute(passed.where(gates.c.verdict == "passed", signatures.c.decision == "release"))
        judged = {(one.workspace_id, str(located(one.candidate)), one.weights) for one in signed}
    found = []
    for row in rows:
        path = runs_home() / str(row.run)
        if not holds_model(path / "model"):
            continue
        if row.workspace_id not in gated or (row.workspace_id, str(path), weights_of(path)) in judged:
            found.append((str(row.fine_tuned_model), path))
    return found


def serves_releases(conn: Connection, workspace_id: str) -> bool:
    """Whether a release serves on a channel of this workspace, so that whatever serves there passes a gate."""
    mine = (channels.c.workspace_id == workspace_id) & channels.c.release_id.is_not(None)
    return conn.execute(select(channels.c.id).where(mine).limit(1)).first() is not None
