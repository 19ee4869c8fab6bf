"""The online test: two releases answer different people of one channel until a horizon that was stated before.

    test = start(store, principal, "assistant-4", share=0.5, horizon=200)
    look(store)                     # now and then: stop for harm, or end at the horizon with a proposal

A person is put into treatment or control once, by a hash. Harm is a thumb down, a report, or an answer on which the
guard acted; a person counts with the first one (`sequential.py`). The winner has more satisfied people, by an interval;
it is proposed, and a person promotes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggurat.evaluation.statistics import bootstrap_statistic, wilson
from ziggurat.flywheel import channel as channels_
from ziggurat.flywheel import release as releases_
from ziggurat.flywheel.sequential import evidence
from ziggurat.flywheel.split import takes_canary
from ziggurat.product.common import clean_name, record, whole
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, messages
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.releases import channels, online_tests, releases

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
    releases_.check(found)
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


# --- looking ----------------------------------------------------------------------------------------------------------


@dataclass
class Experience:
    """What one person met in a test."""

    answers: int = 0
    up: int = 0
    down: int = 0
    bad_at: int | None = None
    """When the first bad thing happened."""


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
                _take_away(conn, store, row)
            conn.execute(update(online_tests).where(online_tests.c.id == row.id).values(**values))
        if state != "running":
            ended.append(get(store, row.workspace_id, row.id))
    return ended


def experiences(conn: Connection, test: Any) -> dict[str, dict[str, Experience]]:
    """What people met on each side since the start, by person; whoever is not split by this test is left out."""
    names = {
        row.name: "control" if row.id == test.control_id else "treatment"
        for row in conn.execute(
            select(releases.c.id, releases.c.name).where(
                releases.c.id.in_([test.control_id, test.treatment_id])
            )
        )
    }
    found: dict[str, dict[str, Experience]] = {
        "control": defaultdict(Experience),
        "treatment": defaultdict(Experience),
    }

    def side_of(person: str, hashes: Mapping[str, Any] | None) -> str | None:
        side = names.get(str((hashes or {}).get("release")))
        assigned = "treatment" if takes_canary(person, test.treatment_id, test.share) else "control"
        return side if side == assigned else None

    answers = (
        select(messages.c.hashes, messages.c.guard, messages.c.created_at, chats.c.person_id)
        .join(chats, messages.c.chat_id == chats.c.id)
        .where(messages.c.role == "assistant", messages.c.created_at >= test.created_at)
        .where(messages.c.workspace_id == test.workspace_id)
    )
    for row in conn.execute(answers):
        if side := side_of(row.person_id, row.hashes):
            one = found[side][row.person_id]
            one.answers += 1
            if row.guard:
                _bad(one, row.created_at)
    judged = select(judgements).where(
        judgements.c.kind.in_(("thumb", "report")),
        judgements.c.workspace_id == test.workspace_id,
        judgements.c.created_at >= test.created_at,
        judgements.c.superseded_by.is_(None),
        judgements.c.withdrawn_at.is_(None),
    )
    for row in conn.execute(judged):
        hashes = next(iter((row.hashes or {}).values()), None)
        if side := side_of(row.person_id, hashes):
            one = found[side][row.person_id]
            if row.kind == "report" or row.value.get("value") == -1:
                one.down += 1
                _bad(one, row.created_at)
            elif row.value.get("value") == 1:
                one.up += 1
    return found


def _bad(one: Experience, at: int) -> None:
    one.bad_at = at if one.bad_at is None else min(one.bad_at, at)


def outcome(
    test: Any, sides: Mapping[str, Mapping[str, Experience]]
) -> tuple[str, str | None, str | None, dict[str, Any]]:
    """(state, winner, sentence, result) of a test as it stands."""
    bad = sorted(
        (one.bad_at, side == "treatment")
        for side, people in sides.items()
        for one in people.values()
        if one.bad_at
    )
    most, treated = 1.0, 0
    for number, (_, is_treated) in enumerate(bad, start=1):
        treated += is_treated
        most = max(most, evidence(treated, number, test.share))
    satisfied = {
        side: [float(one.up > one.down) for one in people.values() if one.up + one.down]
        for side, people in sides.items()
    }
    judged = sum(map(len, satisfied.values()))
    result: dict[str, Any] = {
        "judged": judged,
        "evidence": most,
        "needed": 1 / test.alpha,
        "sides": {
            side: {
                "people": len(people),
                "answers": sum(one.answers for one in people.values()),
                "bad": sum(one.bad_at is not None for one in people.values()),
                "satisfied": wilson(int(sum(satisfied[side])), len(satisfied[side])).to_dict(),
            }
            for side, people in sides.items()
        },
    }
    if most >= 1 / test.alpha:
        said = f"{treated} of {len(bad)} people with a bad experience were of the treatment"
        return (
            "stopped",
            "control",
            f"Stopped for harm: {said}. The channel's release serves everybody again.",
            result,
        )
    if judged < test.horizon:
        return "running", None, None, result
    a, b = satisfied["treatment"], satisfied["control"]
    if not a or not b:
        return "finished", "none", "All people who judged are of one side; nothing can be said.", result
    both = [*a, *b]
    labels = [True] * len(a) + [False] * len(b)

    def difference(indices: Any) -> float:
        ours = [both[i] for i in indices if labels[i]]
        theirs = [both[i] for i in indices if not labels[i]]
        return sum(ours) / len(ours) - sum(theirs) / len(theirs) if ours and theirs else float("nan")

    rise = bootstrap_statistic(difference, len(both))
    result["difference"] = rise.to_dict()
    winner = "treatment" if rise.low > 0 else "control" if rise.high < 0 else "none"
    said = f"Satisfied people: {100 * rise.value:+.1f} points [{100 * rise.low:+.1f}, {100 * rise.high:+.1f}]"
    proposal = {
        "treatment": "promote the treatment",
        "control": "keep the release",
        "none": "no clear winner",
    }
    return "finished", winner, f"{said} with the treatment, of {judged} people: {proposal[winner]}.", result


def _take_away(conn: Connection, store: Store, test: Any) -> None:
    """The canary leaves its channel, whatever the outcome; a person promotes."""
    now = conn.execute(select(channels).where(channels.c.id == test.channel_id)).one()
    if now.canary_id == test.treatment_id:
        values = {**channels_.NO_CANARY, "version": now.version + 1, "updated_at": store.now()}
        conn.execute(update(channels).where(channels.c.id == now.id).values(**values))


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
        _take_away(conn, store, row)
        record(conn, store, principal, "test.stop", kind="online_test", object_id=test.id)
    return get(store, principal.workspace_id, test_id)
