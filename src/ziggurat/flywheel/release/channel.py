"""Channels: which release serves to whom.

    promote(store, principal, "assistant-4")                # it serves; share=0.1: to a tenth of the people
    rollback(store, principal)                              # the one before serves again

A server that offers a channel sees a change within a second (`service/product/serving.py`); promotion and rollback
through its own routes are applied at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggurat.flywheel.release import folders
from ziggurat.flywheel.release import releases as releases_
from ziggurat.flywheel.release.releases import CHANNEL
from ziggurat.product.common import clean, record
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.releases import channel_events, channels, gates, online_tests, releases


@dataclass(frozen=True)
class Channel:
    id: str
    name: str
    release_id: str | None
    canary_id: str | None
    canary_share: float
    previous_id: str | None
    version: int
    updated_at: str


def all_channels(store: Store, workspace_id: str | None = None) -> list[Channel]:
    wanted = select(channels).order_by(channels.c.name)
    if workspace_id is not None:
        wanted = wanted.where(channels.c.workspace_id == workspace_id)
    with store.read() as conn:
        return [channel_of(row) for row in conn.execute(wanted)]


def channel(store: Store, workspace_id: str, name: str = CHANNEL) -> Channel | None:
    return next((one for one in all_channels(store, workspace_id) if one.name == name), None)


def channel_of(row: Any) -> Channel:
    return Channel(
        id=row.id,
        name=row.name,
        release_id=row.release_id,
        canary_id=row.canary_id,
        canary_share=row.canary_share,
        previous_id=row.previous_id,
        version=row.version,
        updated_at=iso(row.updated_at),
    )


def promote(
    store: Store,
    principal: Principal,
    name_or_id: str,
    *,
    name: str = CHANNEL,
    share: float | None = None,
    note: str = "",
) -> Channel:
    """Let a release serve on a channel; with a share between 0 and 1 as a canary beside the one that serves.

    Raises:
        NotFound: there is no such release.
        Conflict: it serves already; a canary needs a release beside which it serves.
        RunError: its weights are not those that were signed.
    """
    require(principal, "release.promote")
    if share is not None and not 0 < share <= 1:
        raise Invalid(f"share is {share}; it must be above 0 and at most 1.", param="share")
    folders.check(releases_.get(store, principal.workspace_id, name_or_id))
    with store.write() as conn:
        promoted(conn, store, principal, name_or_id, name, share, note)
    found = channel(store, principal.workspace_id, name)
    assert found is not None
    return found


def promoted(
    conn: Connection,
    store: Store,
    principal: Principal,
    name_or_id: str,
    name: str,
    share: float | None,
    note: str,
) -> None:
    """What `promote` does to the rows, in the caller's transaction."""
    release, now = (
        releases_.find(conn, principal.workspace_id, name_or_id),
        _channel(conn, store, principal, name),
    )
    canary = share is not None and share < 1
    if now.release_id == release.id and now.canary_id is None:
        raise Conflict(f"{release.name} serves on {name} already.")
    if canary and now.release_id in (None, release.id):
        raise Conflict(f"a canary serves beside another release, and {name} has none; promote it as a whole.")
    _must_fit(conn, release, now)
    _end_tests(conn, store, now.id)
    changes = (
        {"canary_id": release.id, "canary_share": share}
        if canary
        else {"release_id": release.id, "canary_id": None, "canary_share": 0.0}
    )
    if not canary and now.release_id not in (None, release.id):
        changes["previous_id"] = now.release_id
    action = "canary" if canary else "promote"
    move(conn, store, principal, now, changes, action, release.id, note, share if canary else None)


def _must_fit(conn: Connection, release: Any, now: Any) -> None:
    """A release follows the one that its gate compared it with; one that served here before may always come back."""
    gate = conn.execute(select(gates).where(gates.c.id == release.gate_id)).first()
    if now.release_id is None or (gate is not None and gate.against_id == now.release_id):
        return
    before = select(channel_events.c.id).where(
        channel_events.c.channel_id == now.id,
        (channel_events.c.to_id == release.id) | (channel_events.c.from_id == release.id),
    )
    if conn.execute(before.limit(1)).first() is None:
        raise Conflict(
            f"the gate of {release.name} compared it with another release than the one that serves on {now.name} now; "
            "start a new gate for it.",
            code="stale_gate",
        )


def rollback(store: Store, principal: Principal, *, name: str = CHANNEL, note: str = "") -> Channel:
    """Take a canary away, or let the release before serve again.

    Raises:
        NotFound: there is no such channel.
        Conflict: there is nothing to go back to.
    """
    require(principal, "release.promote")
    with store.write() as conn:
        wanted = select(channels).where(
            channels.c.workspace_id == principal.workspace_id, channels.c.name == name
        )
        now = conn.execute(wanted).first()
        if now is None:
            raise NotFound(f"there is no channel {name[:64]}.")
        _end_tests(conn, store, now.id)
        if now.canary_id is not None:
            move(conn, store, principal, now, NO_CANARY, "rollback", now.release_id, note, None)
        elif now.previous_id is None:
            raise Conflict(f"no release served on {name} before this one; promote another.")
        else:
            earlier = _served_before(conn, now.id, now.previous_id)
            changes = {**NO_CANARY, "release_id": now.previous_id, "previous_id": earlier}
            move(conn, store, principal, now, changes, "rollback", now.previous_id, note, None)
    found = channel(store, principal.workspace_id, name)
    assert found is not None
    return found


def _served_before(conn: Connection, channel_id: str, release_id: str) -> str | None:
    """What served when this release was promoted: a second rollback goes further back, never forward again."""
    wanted = select(channel_events.c.from_id).where(
        channel_events.c.channel_id == channel_id,
        channel_events.c.to_id == release_id,
        channel_events.c.action == "promote",
    )
    found: str | None = conn.execute(wanted.order_by(channel_events.c.id.desc()).limit(1)).scalar()
    return found


NO_CANARY: dict[str, Any] = {"canary_id": None, "canary_share": 0.0}


def _channel(conn: Connection, store: Store, principal: Principal, name: str) -> Any:
    wanted = select(channels).where(
        channels.c.workspace_id == principal.workspace_id, channels.c.name == name
    )
    row = conn.execute(wanted).first()
    if row is None:
        if not releases_.NAME.fullmatch(name):
            raise Invalid(f"the channel {name!r} cannot be a model's name.", param="channel")
        made = {"id": new_id("channel"), "workspace_id": principal.workspace_id, "name": name, "version": 0}
        conn.execute(insert(channels).values(**made, **NO_CANARY, updated_at=store.now()))
        row = conn.execute(wanted).one()
    return row


def move(
    conn: Connection,
    store: Store,
    principal: Principal | None,
    now: Any,
    changes: Mapping[str, Any],
    action: str,
    to_id: str | None,
    note: str,
    share: float | None,
) -> None:
    """Change a channel, and write down who did it; None: an online test that ended by itself."""
    values = {**changes, "version": now.version + 1, "updated_at": store.now()}
    conn.execute(update(channels).where(channels.c.id == now.id).values(**values))
    event = {
        "id": new_id("chev"),
        "channel_id": now.id,
        "person_id": None if principal is None else principal.person_id,
        "action": action,
        "from_id": now.canary_id if action == "rollback" and now.canary_id else now.release_id,
        "to_id": to_id,
        "share": share,
        "note": clean(note, "note", limit=4_000, empty=True),
        "created_at": store.now(),
    }
    conn.execute(insert(channel_events).values(**event))
    detail = {"channel": now.name, "from": event["from_id"], "to": to_id, "share": share}
    record(
        conn,
        store,
        principal,
        f"release.{action}",
        kind="channel",
        object_id=now.id,
        detail=detail,
        workspace_id=now.workspace_id,
    )


def _end_tests(conn: Connection, store: Store, channel_id: str) -> None:
    """A channel that is changed by hand ends its online test."""
    conn.execute(
        update(online_tests)
        .where(online_tests.c.channel_id == channel_id, online_tests.c.state == "running")
        .values(state="cancelled", sentence="The channel was changed by hand.", finished_at=store.now())
    )


def history(store: Store, workspace_id: str, name: str = CHANNEL, limit: int = 50) -> list[dict[str, Any]]:
    """What happened on a channel, newest first."""
    now = channel(store, workspace_id, name)
    if now is None:
        return []
    wanted = select(channel_events).where(channel_events.c.channel_id == now.id)
    with store.read() as conn:
        names = {row.id: row.name for row in conn.execute(select(releases.c.id, releases.c.name))}
        rows = conn.execute(wanted.order_by(channel_events.c.id.desc()).limit(limit)).all()
    return [
        {
            "action": row.action,
            "from": names.get(row.from_id),
            "to": names.get(row.to_id),
            "share": row.share,
            "note": row.note,
            "person_id": row.person_id,
            "at": iso(row.created_at),
        }
        for row in rows
    ]
