"""The gate: may this candidate serve? Criteria with figures, a verdict, and a person who signs.

    gate = start(store, principal, turn="turn-3", policy={"judge": "own/reward-1"})
    Worker(store).once()                      # the criteria, in a process of its own
    sign(store, principal, gate.id, name="assistant-4")      # a release, see release/signing.py

passed: no criterion refuses, and every required one has a verdict. refused: one refuses; its sentence is the gate's.
undecided: a required one could not be measured. Only a gate that is passed can be signed for a release.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update

from ziggurat.errors import did_you_mean
from ziggurat.flywheel.gate.policy import GatePolicy
from ziggurat.flywheel.turn import materials
from ziggurat.flywheel.turn import turns as turns_
from ziggurat.flywheel.work import jobs
from ziggurat.home import located, portable
from ziggurat.places import find_run, runs_home
from ziggurat.product.common import record
from ziggurat.product.errors import Conflict, Forbidden, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.datasets import dataset_versions
from ziggurat.store.tables.releases import gate_criteria, gates, releases, signatures

FORMAT = 1


@dataclass(frozen=True)
class CriterionRow:
    name: str
    figure: float | None
    low: float | None
    high: float | None
    bar: float | None
    unit: str
    n: int | None
    verdict: str
    sentence: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class Gate:
    id: str
    turn_id: str | None
    job_id: str | None
    candidate: str
    weights: str
    against_id: str | None
    against: str | None
    policy: dict[str, Any]
    state: str
    verdict: str | None
    sentence: str | None
    error: str | None
    criteria: list[CriterionRow]
    samples: list[dict[str, Any]]
    signature: dict[str, Any] | None
    created_at: str
    finished_at: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def policy_of(given: Mapping[str, Any] | None) -> GatePolicy:
    """Raises Invalid for an unknown field or a value that is out of range."""
    try:
        return GatePolicy.model_validate(dict(given or {}))
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        hint = did_you_mean(name, GatePolicy.model_fields) if problem["type"] == "extra_forbidden" else ""
        raise Invalid(f"policy.{name}: {problem['msg']}.{hint}", param=f"policy.{name}") from None


def start(
    store: Store,
    principal: Principal,
    *,
    turn: str | None = None,
    candidate: str | None = None,
    held_out: Mapping[str, Sequence[str | Path]] | None = None,
    channel: str = "assistant",
    policy: Mapping[str, Any] | None = None,
) -> Gate:
    """Put a candidate (of a turn, or a model folder) before the gate, against the release that serves on `channel`.

    candidate: a model that no turn made; the model of a turn is judged as that turn, however it is named.
    held_out: files by kind, for a candidate that no turn made; default: what the newest dataset version holds out.

    Raises:
        NotFound: there is no such turn.
        Conflict: the turn has no candidate yet; no release serves on the channel, though there are releases.
        Forbidden: the policy has bars, or there are held-out files, that only a signer may set.
    """
    require(principal, "train")
    checked = policy_of(policy)
    _may_set(principal, policy)
    if held_out:
        require(principal, "release.sign")
    one = None if turn is None else turns_.get(store, principal.workspace_id, turn)
    if one is not None and one.candidate is None:
        raise Conflict(f"{one.name} has no candidate yet (it is {one.state}); wait for it, or resume it.")
    if one is None and candidate is None:
        raise Invalid("name a turn, or a model as the candidate.", param="turn")
    folder = located(one.candidate) if one is not None and one.candidate else find_run(str(candidate))
    weights = turns_.weights_of(folder)
    if one is None:  # the result of a turn, named by its folder or its run: its canaries and its labels count
        one = turns_.of_weights(store, principal.workspace_id, weights)
    if one is not None and one.weights != weights:
        raise Conflict(f"the candidate of {one.name} has changed since the turn ended; start a new turn.")
    gate_id = new_id("gate")
    with store.write() as conn:
        serving = turns_.serving(conn, principal.workspace_id, channel)
        if serving is None and _has_releases(conn, principal.workspace_id):
            raise Conflict(
                f"no release serves on {channel[:64]}, so there is nothing to compare the candidate with; name the "
                "channel that serves.",
                code="no_release_serves",
            )
        payload: dict[str, Any] = {"gate_id": gate_id}
        if held_out:
            payload["source"] = materials.of_files(held_out, held_out).to_json()
        elif one is None and _has_versions(conn, principal.workspace_id):
            payload["source"] = materials.of_version(conn, principal.workspace_id, None).to_json()
        job_id = jobs.add(conn, store, principal, "gate", payload)
        row = {
            "id": gate_id,
            "workspace_id": principal.workspace_id,
            "turn_id": None if one is None else one.id,
            "job_id": job_id,
            "candidate": portable(folder),
            "weights": weights,
            "against_id": None if serving is None else serving.id,
            "against": None if serving is None else serving.model,
            "policy": {**checked.model_dump(mode="json"), "channel": channel},
            "state": "queued",
            "created_at": store.now(),
        }
        conn.execute(insert(gates).values(**row))
        record(
            conn, store, principal, "gate.start", kind="gate", object_id=gate_id, detail={"weights": weights}
        )
    return get(store, principal.workspace_id, gate_id)


def _may_set(principal: Principal, policy: Mapping[str, Any] | None) -> None:
    """Whoever trains may name a reward model as the judge. Bars, files and who signs are for those who sign releases; a
    function as the judge, which is code of this machine, is for commands alone.

    Raises:
        Forbidden: the person may not.
    """
    given = dict(policy or {})
    judge = given.pop("judge", None)
    if given:
        require(principal, "release.sign")
    if isinstance(judge, str) and ":" in judge and principal.via != "local":
        raise Forbidden(
            "a function can be the judge of `ziggurat flywheel gate --policy FILE` alone; name a reward model here."
        )


def _has_releases(conn: Connection, workspace_id: str) -> bool:
    found = conn.execute(select(releases.c.id).where(releases.c.workspace_id == workspace_id).limit(1))
    return found.first() is not None


def _has_versions(conn: Connection, workspace_id: str) -> bool:
    wanted = select(dataset_versions.c.id).where(dataset_versions.c.workspace_id == workspace_id)
    return conn.execute(wanted.limit(1)).first() is not None


def get(store: Store, workspace_id: str, gate_id: str) -> Gate:
    with store.read() as conn:
        row = conn.execute(select(gates).where(gates.c.id == gate_id)).first()
        if row is None or row.workspace_id != workspace_id:
            raise NotFound("there is no such gate.")
        return _gate(conn, row)


def folder_of(gate_id: str) -> Path:
    """What is measured, while it is measured."""
    return runs_home() / turns_.LADDER / f"gate-{gate_id.rpartition('_')[2]}"


def clean(folder: Path) -> None:
    """What people wrote stays in the store alone."""
    shutil.rmtree(folder / "held_out", ignore_errors=True)
    (folder / "samples.json").unlink(missing_ok=True)
    (folder / "order.json").unlink(missing_ok=True)  # a gate that is begun again lays them out again


def cancel(store: Store, principal: Principal, gate_id: str) -> Gate:
    """Stop a gate that waits or is measured; a new one can be started.

    Raises:
        NotFound: there is no such gate.
        Conflict: it has ended.
    """
    require(principal, "train")
    gate = get(store, principal.workspace_id, gate_id)
    if gate.job_id is None:
        raise Conflict("this gate has no job.")
    if jobs.cancel(store, principal, gate.job_id).state == "cancelled":  # it had not begun
        change(store, gate.id, state="cancelled", finished_at=store.now())
        clean(folder_of(gate.id))  # of the worker that left it in the queue
    return get(store, principal.workspace_id, gate.id)


def change(store: Store, gate_id: str, **values: Any) -> None:
    with store.write() as conn:
        conn.execute(update(gates).where(gates.c.id == gate_id).values(**values))


def listed(store: Store, workspace_id: str, limit: int = 50, turn_id: str | None = None) -> list[Gate]:
    """Newest first."""
    wanted = select(gates).where(gates.c.workspace_id == workspace_id)
    if turn_id is not None:
        wanted = wanted.where(gates.c.turn_id == turn_id)
    with store.read() as conn:
        return [
            _gate(conn, row) for row in conn.execute(wanted.order_by(gates.c.id.desc()).limit(limit)).all()
        ]


def of_turn(store: Store, workspace_id: str, turn: str) -> Gate:
    """The newest gate of a turn. NotFound where there is none."""
    one = turns_.get(store, workspace_id, turn)
    found = listed(store, workspace_id, 1, one.id)
    if not found:
        raise NotFound(
            f"{one.name} was not before a gate yet; start one with `ziggurat flywheel gate {one.name}`."
        )
    return found[0]


def _gate(conn: Connection, row: Any) -> Gate:
    found = conn.execute(
        select(gate_criteria).where(gate_criteria.c.gate_id == row.id).order_by(gate_criteria.c.position)
    )
    criteria = [
        CriterionRow(
            c.name, c.figure, c.low, c.high, c.bar, c.unit, c.n, c.verdict, c.sentence, dict(c.detail)
        )
        for c in found
    ]
    signed = conn.execute(select(signatures).where(signatures.c.gate_id == row.id)).first()
    signature = None
    if signed is not None:
        signature = {
            "person_id": signed.person_id,
            "signed_as": signed.signed_as,
            "decision": signed.decision,
            "note": signed.note,
            "at": iso(signed.created_at),
        }
    return Gate(
        id=row.id,
        turn_id=row.turn_id,
        job_id=row.job_id,
        candidate=row.candidate,
        weights=row.weights,
        against_id=row.against_id,
        against=row.against,
        policy=dict(row.policy),
        state=row.state,
        verdict=row.verdict,
        sentence=row.sentence,
        error=row.error,
        criteria=criteria,
        samples=list(row.samples or ()),
        signature=signature,
        created_at=iso(row.created_at),
        finished_at=iso_or_none(row.finished_at),
    )
