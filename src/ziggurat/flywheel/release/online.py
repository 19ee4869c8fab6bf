"""The online test: two releases answer different people of one channel until a horizon that was stated before.

    test = start(store, principal, "assistant-4", share=0.5, horizon=200)
    look(store)                     # now and then: stop for harm, or end at the horizon with a proposal

A person is put into treatment or control once, by a hash. Harm is a thumb down, a report, or an answer on which the
guard acted; a person counts with the first one (`sequential.py`). The winner has more satisfied people, by an interval;
it is proposed, and a person promotes it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggurat.flywheel.release import channel as channels_
from ziggurat.flywheel.release import folders
from ziggurat.flywheel.release import releases as releases_
from ziggurat.flywheel.release.experiences import experiences, outcome
from ziggurat.product.common import clean_name, record, whole
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.releases import channels, online_tests

ALPHA = 0.05


@dataclass(frozen=True)
class OnlineTest:
    id: str
    name: str
    channel_id: str
    control_id: str
    treatment_id: str
    share: float
    horizon: int
    alpha: float
    state: str
    winner: str | None
    sentence: str | None
    result: dict[str, Any] | None
    created_at: str
    finished_at: str | None


def start(
    store: Store,
    principal: Principal,
    treatment: str,
    *,
    channel: str = releases_.CHANNEL,
    share: float = 0.5,
    horizon: int = 200,
    alpha: float = ALPHA,
    name: str | None = None,
) -> OnlineTest:
    """Split a channel's people between its release and another one.

    horizon: people who have judged an answer, of both sides together.

    Raises:
        Conflict: nothing serves on the channel, the release serves there already, or a test runs.
    """
    require(principal, "release.promote")
    horizon = whole(horizon, "horizon", 10, 1_000_000)
    if not 0 < share < 1 or not 0 < alpha < 0.5:
        raise Invalid("share must be between 0 and 1, and alpha between 0 and 0.5.", param="share")
    found = releases_.get(store, principal.workspace_id, treatment)
    now = channels_.channel(store, principal.workspace_id, channel)
    if now is None or now.release_id is None:
        raise Conflict(f"no release serves on {channel}; promote one first.")
    if _running(store, now.id) is not None:
        raise Conflict(f"a test runs on {channel} already; it has to end first.")
    folders.check(found)
    test_id = new_id("test")
    row = {
        "id": test_id,
        "workspace_id": principal.workspace_id,
        "channel_id": now.id,
        "name": clean_name(name) if name else f"{found.name} beside {channel}",
        "control_id": now.release_id,
        "treatment_id": found.id,
        "share": share,
        "horizon": horizon,
        "alpha": alpha,
        "state": "running",
        "started_by": principal.person_id,
        "created_at": store.now(),
    }
    with store.write() as conn:
        serving = conn.execute(select(channels.c.release_id).where(channels.c.id == now.id)).scalar()
        if serving != now.release_id:
            raise Conflict(f"{channel} was changed meanwhile; look at it and start the test again.")
        channels_.promoted(conn, store, principal, found.id, channel, share, "An online test begins.")
        conn.execute(insert(online_tests).values(**row))
        detail = {"treatment": found.id, "share": share, "horizon": horizon, "alpha": alpha}
        record(conn, store, principal, "test.start", kind="online_test", object_id=test_id, detail=detail)
    return get(store, principal.workspace_id, test_id)


def _running(store: Store, channel_id: str) -> Any:
    wanted = select(online_tests).where(
        online_tests.c.channel_id == channel_id, online_tests.c.state == "running"
    )
    with store.read() as conn:
        return conn.execute(wanted).first()


def get(store: Store, workspace_id: str, test_id: str) -> OnlineTest:
    with store.read() as conn:
        row = conn.execute(select(online_tests).where(online_tests.c.id == test_id)).first()
    if row is None or row.workspace_id != workspace_id:
        raise NotFound("there is no such test.")
    return shown(row)


def listed(store: Store, workspace_id: str, limit: int = 20) -> list[OnlineTest]:
    """Newest first."""
    wanted = select(online_tests).where(online_tests.c.workspace_id == workspace_id)
    with store.read() as conn:
        return [shown(row) for row in conn.execute(wanted.order_by(online_tests.c.id.desc()).limit(limit))]


def shown(row: Any) -> OnlineTest:
    return OnlineTest(
        id=row.id,
        name=row.name,
        channel_id=row.channel_id,
        control_id=row.control_id,
        treatment_id=row.treatment_id,
        share=row.share,
        horizon=row.horizon,
        alpha=row.alpha,
        state=row.state,
        winner=row.winner,
        sentence=row.sentence,
        result=None if row.result is None else dict(row.result),
        created_at=iso(row.created_at),
        finished_at=iso_or_none(row.finished_at),
    )


def as_json(test: OnlineTest) -> dict[str, Any]:
    return asdict(test)


def look(store: Store) -> list[OnlineTest]:
    """Read the running tests, end those that did harm or reached their horizon; returns the ended ones."""
    with store.read() as conn:
        running = conn.execute(select(online_tests).where(online_tests.c.state == "running")).all()
    ended = []
    for row in running:
        with store.read() as conn:
            sides = experiences(conn, row)
        state, winner, sentence, result = outcome(row, sides)
        with store.write() as conn:
            now = conn.execute(select(online_tests.c.state).where(online_tests.c.id == row.id)).scalar()
            if now != "running":
                continue
            values: dict[str, Any] = {"result": result}
            if state != "running":
                values |= {"state": state, "winner": winner, "sentence": sentence, "finished_at": store.now()}
                _take_away(conn, store, None, row)
            conn.execute(update(online_tests).where(online_tests.c.id == row.id).values(**values))
        if state != "running":
            ended.append(get(store, row.workspace_id, row.id))
    return ended


def _take_away(conn: Connection, store: Store, principal: Principal | None, test: Any) -> None:
    """The canary leaves its channel, whatever the outcome, and the channel's history says so; a person promotes."""
    now = conn.execute(select(channels).where(channels.c.id == test.channel_id)).one()
    if now.canary_id == test.treatment_id:
        note = f"The online test {test.name} ended."
        none = channels_.NO_CANARY
        channels_.move(conn, store, principal, now, none, "rollback", now.release_id, note, None)


def stop(store: Store, principal: Principal, test_id: str) -> OnlineTest:
    """End a test by hand, without a proposal."""
    require(principal, "release.promote")
    test = get(store, principal.workspace_id, test_id)
    with store.write() as conn:
        row = conn.execute(select(online_tests).where(online_tests.c.id == test.id)).one()
        if row.state != "running":
            raise Conflict(f"this test is {row.state} already.")
        ended = {"state": "cancelled", "sentence": "Ended by hand.", "finished_at": store.now()}
        conn.execute(update(online_tests).where(online_tests.c.id == test.id).values(**ended))
        _take_away(conn, store, principal, row)
        record(conn, store, principal, "test.stop", kind="online_test", object_id=test.id)
    return get(store, principal.workspace_id, test_id)
