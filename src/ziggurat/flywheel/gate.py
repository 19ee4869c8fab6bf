"""The gate: may this candidate serve? Criteria with figures, a verdict, and a person who signs.

    gate = start(store, principal, turn="turn-3", policy={"judge": "own/reward-1"})
    Worker(store).once()                      # the criteria, in a process of its own
    sign(store, principal, gate.id, name="assistant-4")      # a release, see release.py

passed: no criterion refuses, and every required one has a verdict. refused: one refuses; its sentence is the gate's.
undecided: a required one could not be measured. Only a gate that is passed can be signed for a release.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update

from ziggurat.cards import digest
from ziggurat.errors import ZigguratError, did_you_mean
from ziggurat.files import read_json, write_json
from ziggurat.flywheel import jobs, materials
from ziggurat.flywheel import turn as turns_
from ziggurat.flywheel.children import run_child
from ziggurat.flywheel.jobs import Stopped, Work
from ziggurat.flywheel.policy import CRITERIA, GatePolicy
from ziggurat.flywheel.reading import directions_of
from ziggurat.home import located, portable
from ziggurat.lineage import manifest_around, parent_entry
from ziggurat.places import find_run, model_folder, runs_home
from ziggurat.product.common import record
from ziggurat.product.errors import Conflict, Forbidden, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.datasets import dataset_versions
from ziggurat.store.tables.judgements import judgements
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

    held_out: files by kind, for a candidate without a dataset version.

    Raises:
        NotFound: there is no such turn.
        Conflict: the turn has no candidate yet; no release serves on the channel, though there are releases.
        Forbidden: the policy has bars that only a signer may set.
    """
    require(principal, "train")
    checked = policy_of(policy)
    _may_set(principal, policy)
    one = None if turn is None else turns_.get(store, principal.workspace_id, turn)
    if one is not None and one.candidate is None:
        raise Conflict(f"{one.name} has no candidate yet (it is {one.state}); wait for it, or resume it.")
    if one is None and candidate is None:
        raise Invalid("name a turn, or a model as the candidate.", param="turn")
    folder = located(one.candidate) if one is not None and one.candidate else find_run(str(candidate))
    weights = turns_.weights_of(folder)
    if one is not None and one.weights != weights:
        raise Conflict(f"the candidate of {one.name} has changed since the turn ended; start a new turn.")
    gate_id = new_id("gate")
    with store.write() as conn:
        serving = turns_._serving(conn, principal.workspace_id, channel)
        if serving is None and _has_releases(conn, principal.workspace_id):
            raise Conflict(
                f"no release serves on {channel[:64]}, so there is nothing to compare the candidate with; name the "
                "channel that serves.",
                code="no_release_serves",
            )
        payload: dict[str, Any] = {"gate_id": gate_id}
        if held_out:
            payload["source"] = materials.of_files(held_out, held_out).to_json()
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


def get(store: Store, workspace_id: str, gate_id: str) -> Gate:
    with store.read() as conn:
        row = conn.execute(select(gates).where(gates.c.id == gate_id)).first()
        if row is None or row.workspace_id != workspace_id:
            raise NotFound("there is no such gate.")
        return _gate(conn, row)


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


# --- the job ----------------------------------------------------------------------------------------------------------


def work(work: Work) -> dict[str, Any]:
    """Judge, and write down what was found."""
    store, workspace_id = work.store, work.job.workspace_id
    gate = get(store, workspace_id, work.job.payload["gate_id"])
    folder = runs_home() / turns_.LADDER / f"gate-{gate.id.rpartition('_')[2]}"
    try:
        _change(store, gate.id, state="running", error=None)
        _judged(work, gate, folder)
        verdict, sentence = _found(store, gate, folder)
    except Stopped:
        asked = jobs.get(store, workspace_id, work.job.id).cancel
        _change(store, gate.id, state="cancelled" if asked else "queued")
        if asked:
            _clean(folder)
        raise
    except Exception as error:
        said = (
            str(error) if isinstance(error, ZigguratError) else f"{type(error).__name__}; the log has more."
        )
        _change(store, gate.id, state="failed", error=said, finished_at=store.now())
        _clean(folder)
        raise
    _clean(folder)
    if verdict == "passed" and gate.policy.get("sign") == "policy":
        from ziggurat.flywheel import release

        release.sign_by_policy(store, workspace_id, gate.id)
    return {"verdict": verdict, "sentence": sentence}


def _clean(folder: Path) -> None:
    """What people wrote stays in the store alone."""
    shutil.rmtree(folder / "held_out", ignore_errors=True)
    (folder / "samples.json").unlink(missing_ok=True)
    (folder / "order.json").unlink(missing_ok=True)  # a gate that is begun again lays them out again


def _judged(work: Work, gate: Gate, folder: Path) -> None:
    one = None if gate.turn_id is None else turns_.get(work.store, work.job.workspace_id, gate.turn_id)
    kept = work.job.payload.get("source") or (one.recipe["source"] if one is not None else None)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "order.json").is_file():
        if kept is not None:
            materials.lay_out_held(work.store, materials.of_json(kept), folder / "held_out")
        write_json(folder / "order.json", _order(work.store, gate, one), FORMAT)

    def watch() -> None:
        done = len(list((folder / "findings").glob("*.json")))
        if done != seen["done"]:
            seen["done"] = done
            work.progress(criteria=done, of=len(CRITERIA))

    seen = {"done": -1}
    arguments = ["-m", "ziggurat.flywheel.judging", str(folder)]
    run_child(work, arguments, log=folder / "judging.log", locked=folder, watch=watch)


def _order(store: Store, gate: Gate, turn: turns_.Turn | None) -> dict[str, Any]:
    policy = {key: value for key, value in gate.policy.items() if key != "channel"}
    order: dict[str, Any] = {
        "candidate": str(located(gate.candidate)),
        "against": None if gate.against is None else str(located(gate.against)),
        "policy": policy,
        "battles": battles(store, gate),
        "scorers": sorted(scorers(located(gate.candidate))),
        "metrics": metrics(store, gate),
    }
    if turn is not None:
        folder = turn.folder
        for number, _ in enumerate(turn.recipe["phases"], start=1):
            phase = read_json(folder / f"phase-{number}.json", FORMAT)
            if phase["stage"] == "reward":
                order["scorers"] += _hashes(parent_entry(Path(phase["out"])))
        order["canaries"] = read_json(folder / "canaries.json", FORMAT)["canaries"]
        order["labels"] = sorted(
            {*read_json(folder / "learned.json", FORMAT)["sha256"], *_files_of(store, turn)}
        )
    return order


def _files_of(store: Store, turn: turns_.Turn) -> set[str]:
    """The hashes of the files of the dataset versions that the turn and the releases before it learned from, held-out
    ones too: a judge that has learned from one of them is no judge."""
    with store.read() as conn:
        parent = conn.execute(select(releases).where(releases.c.id == turn.parent_id)).first()
        ids = {turn.dataset_id, *(one.get("id") for one in (parent.datasets if parent is not None else ()))}
        wanted = select(dataset_versions.c.card).where(dataset_versions.c.id.in_([one for one in ids if one]))
        cards = conn.execute(wanted).scalars().all()
    return {str(one["sha256"]) for card in cards for one in (card.get("files") or {}).values()}


def scorers(folder: Path) -> set[str]:
    """The hashes of all reward models in the lineage of a model."""
    known: Any = manifest_around(model_folder(folder))
    if known is None and (folder / "lineage.json").is_file():
        known = read_json(folder / "lineage.json", FORMAT)
    found: set[str] = set()
    while isinstance(known, dict):
        if isinstance(known.get("reward_model"), dict):
            found |= set(_hashes(known["reward_model"]))
        known = known.get("parent")
    return found


def _hashes(entry: Mapping[str, Any]) -> list[str]:
    return [str(one) for one in (entry.get("weights_sha256") or {}).values()]


def battles(store: Store, gate: Gate) -> list[dict[str, Any]]:
    """Votes between the candidate and the serving release, known by the hashes of their weights."""
    with store.read() as conn:
        rows = conn.execute(
            select(judgements).where(
                judgements.c.kind == "vote",
                judgements.c.superseded_by.is_(None),
                judgements.c.withdrawn_at.is_(None),
            )
        ).all()
    if gate.against is None:
        return []
    ours, theirs = (digest(model_folder(located(one))) for one in (gate.candidate, gate.against))
    found = []
    for row in rows:
        weights = [((row.hashes or {}).get(str(one["id"])) or {}).get("weights") for one in row.completions]
        winner = (row.value or {}).get("winner")
        if (row.value or {}).get("leaked") or sorted(map(str, weights)) != sorted((ours, theirs)):
            continue
        first = {"a": 1.0, "b": 0.0}.get(str(winner), 0.5)
        found.append({"person": row.person_id, "outcome": first if weights[0] == ours else 1.0 - first})
    return found


def metrics(store: Store, gate: Gate) -> list[dict[str, Any]]:
    """Values of programs' metrics on answers of this candidate, where it has served as a release before."""
    wanted = set(gate.policy.get("metrics") or {})
    if not wanted:
        return []
    with store.read() as conn:
        home = conn.execute(select(gates.c.workspace_id).where(gates.c.id == gate.id)).scalar_one()
        named = (releases.c.weights == gate.weights) & (releases.c.workspace_id == home)
        names = set(conn.execute(select(releases.c.name).where(named)).scalars())
        rows = conn.execute(
            select(judgements.c.value, judgements.c.completions).where(
                judgements.c.kind == "metric",
                judgements.c.workspace_id == home,
                judgements.c.superseded_by.is_(None),
                judgements.c.withdrawn_at.is_(None),
            )
        ).all()
        directions = directions_of(conn, home)
    return [
        {
            "metric": row.value.get("metric"),
            "value": float(row.value["value"]),
            "optimize": directions.get(row.value.get("metric"), "max"),
        }
        for row in rows
        if row.value.get("metric") in wanted
        and any(one.get("model") in names for one in row.completions or ())
    ]


def _found(store: Store, gate: Gate, folder: Path) -> tuple[str, str]:
    findings = {name: read_json(folder / "findings" / f"{name}.json", FORMAT) for name in CRITERIA}
    verdict, sentence = verdict_of(findings, gate.policy.get("required") or ())
    samples = read_json(folder / "samples.json", FORMAT)["samples"]
    with store.write() as conn:
        conn.execute(gate_criteria.delete().where(gate_criteria.c.gate_id == gate.id))
        rows = [
            {"gate_id": gate.id, "name": n, "position": i, **f} for i, (n, f) in enumerate(findings.items())
        ]
        conn.execute(insert(gate_criteria), rows)
        ended = {"state": "done", "verdict": verdict, "sentence": sentence, "samples": samples}
        conn.execute(update(gates).where(gates.c.id == gate.id).values(**ended, finished_at=store.now()))
    return verdict, sentence


def verdict_of(findings: Mapping[str, Mapping[str, Any]], required: Iterable[str]) -> tuple[str, str]:
    """passed, refused or undecided, and the sentence that says why."""
    refused = [found["sentence"] for found in findings.values() if found["verdict"] == "refused"]
    if refused:
        return "refused", " ".join(refused)
    open_ = [
        found["sentence"]
        for name, found in findings.items()
        if found["verdict"] == "undecided" or (name in set(required) and found["verdict"] == "not_measured")
    ]
    if open_:
        return "undecided", " ".join(open_)
    measured = sum(found["verdict"] == "passed" for found in findings.values())
    return "passed", f"All {measured} criteria that were measured are passed; a person may sign."


def _change(store: Store, gate_id: str, **values: Any) -> None:
    with store.write() as conn:
        conn.execute(update(gates).where(gates.c.id == gate_id).values(**values))
