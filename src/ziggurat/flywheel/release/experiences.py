"""What people met in an online test, and what follows from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.evaluation.statistics import bootstrap_statistic, wilson
from ziggurat.flywheel.dataset.reading import directions_of
from ziggurat.flywheel.release.sequential import evidence
from ziggurat.flywheel.release.split import takes_canary
from ziggurat.store.tables.chats import chats, messages
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.programs import inferences
from ziggurat.store.tables.releases import releases


@dataclass
class Experience:
    """What one person met in a test."""

    answers: int = 0
    up: int = 0
    down: int = 0
    bad_at: int | None = None
    """When the first bad thing happened."""


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
    asked = select(inferences.c.release, inferences.c.person_id).where(
        inferences.c.workspace_id == test.workspace_id, inferences.c.created_at >= test.created_at
    )
    for by in conn.execute(asked):  # of programs
        if side := side_of(by.person_id, {"release": by.release}):
            found[side][by.person_id].answers += 1
    judged = select(judgements).where(
        judgements.c.kind.in_(("thumb", "report", "metric")),
        judgements.c.workspace_id == test.workspace_id,
        judgements.c.created_at >= test.created_at,
        judgements.c.superseded_by.is_(None),
        judgements.c.withdrawn_at.is_(None),
    )
    directions = directions_of(conn, test.workspace_id)
    for row in conn.execute(judged):
        if side := side_of(*_whose(row)):
            _met(found[side][_whose(row)[0]], row, directions)
    return found


def _whose(row: Any) -> tuple[str, dict[str, Any]]:
    """The person who judged, and the release that wrote what was judged: of the chat by its hashes, of a program by its
    answers, which are of one release."""
    if row.kind != "metric":
        return row.person_id, next(iter((row.hashes or {}).values()), None) or {}
    wrote = {one.get("model") for one in row.completions or ()}
    return row.person_id, {"release": wrote.pop() if len(wrote) == 1 else None}


def _met(one: Experience, row: Any, directions: Mapping[str, str]) -> None:
    """Count a thumb, a report, or a program's yes or no by the direction that its metric declares."""
    value = row.value.get("value")
    if row.kind == "metric":
        if not isinstance(value, bool):
            return
        good = value if directions.get(str(row.value.get("metric")), "max") == "max" else not value
    elif row.kind == "report" or value in (1, -1):
        good = value == 1
    else:
        return
    if good:
        one.up += 1
    else:
        one.down += 1
        _bad(one, row.created_at)


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
