"""What a gate's criteria are given: models, policy, canaries, votes, metrics, and files that no judge may know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.cards import digest
from ziggurat.files import read_json
from ziggurat.flywheel.dataset.permission import Permission
from ziggurat.flywheel.dataset.reading import current, directions_of
from ziggurat.flywheel.gate.gates import FORMAT, Gate
from ziggurat.flywheel.turn import turns as turns_
from ziggurat.home import located
from ziggurat.lineage import manifest_around, parent_entry
from ziggurat.places import model_folder
from ziggurat.store.store import Store
from ziggurat.store.tables.datasets import dataset_versions
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.releases import gates, releases

EACH_PERSON = 10
"""Battles of one person that count, so that nobody decides a gate alone."""


def order_of(store: Store, gate: Gate, turn: turns_.Turn | None) -> dict[str, Any]:
    policy = {key: value for key, value in gate.policy.items() if key != "channel"}
    order: dict[str, Any] = {
        "candidate": str(located(gate.candidate)),
        "against": None if gate.against is None else str(located(gate.against)),
        "policy": policy,
        "battles": battles(store, gate),
        "scorers": sorted(scorers(located(gate.candidate))),
        "metrics": metrics(store, gate),
        "labels": sorted(learned(located(gate.candidate))),
    }
    if turn is not None:
        folder = turn.folder
        for number, _ in enumerate(turn.recipe["phases"], start=1):
            phase = read_json(folder / f"phase-{number}.json", FORMAT)
            if phase["stage"] == "reward":
                order["scorers"] += _hashes(parent_entry(Path(phase["out"])))
        order["canaries"] = read_json(folder / "canaries.json", FORMAT)["canaries"]
        order["planted"] = turn.recipe["canaries"]
        order["labels"] = sorted(
            {
                *order["labels"],
                *read_json(folder / "learned.json", FORMAT)["sha256"],
                *_files_of(store, turn),
            }
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
    found: set[str] = set()
    for known in _ancestry(folder):
        if isinstance(known.get("reward_model"), dict):
            found |= set(_hashes(known["reward_model"]))
    return found


def learned(folder: Path) -> set[str]:
    """The hashes of all files that a model and its ancestors learned from."""
    data = [one for known in _ancestry(folder) for one in known.get("data") or ()]
    return {str(one["sha256"]) for one in data if one.get("role") == "data" and one.get("sha256")}


def _ancestry(folder: Path) -> Iterator[Mapping[str, Any]]:
    """The lineage of a model, and those of its parents."""
    known: Any = manifest_around(model_folder(folder))
    if known is None and (folder / "lineage.json").is_file():
        known = read_json(folder / "lineage.json", FORMAT)
    while isinstance(known, dict):
        yield known
        known = known.get("parent")


def _hashes(entry: Mapping[str, Any]) -> list[str]:
    return [str(one) for one in (entry.get("weights_sha256") or {}).values()]


def battles(store: Store, gate: Gate) -> list[dict[str, Any]]:
    """Votes between the candidate and the serving release, known by the hashes of their weights: those of this
    workspace that may be learned from now, the first EACH_PERSON of a person."""
    if gate.against is None:
        return []
    with store.read() as conn:
        rows = [row for row in current(conn, _workspace(conn, gate)) if row.kind == "vote"]
        permission = Permission.of(conn, rows)
    rows = [row for row in rows if permission.reason_against(row) is None]
    ours, theirs = (digest(model_folder(located(one))) for one in (gate.candidate, gate.against))
    found: list[Any] = []
    for row in rows:
        weights = [((row.hashes or {}).get(str(one["id"])) or {}).get("weights") for one in row.completions]
        winner = (row.value or {}).get("winner")
        if (row.value or {}).get("leaked") or sorted(map(str, weights)) != sorted((ours, theirs)):
            continue
        if sum(one["person"] == row.person_id for one in found) >= EACH_PERSON:
            continue
        first = {"a": 1.0, "b": 0.0}.get(str(winner), 0.5)
        found.append({"person": row.person_id, "outcome": first if weights[0] == ours else 1.0 - first})
    return found


def _workspace(conn: Connection, gate: Gate) -> str:
    return str(conn.execute(select(gates.c.workspace_id).where(gates.c.id == gate.id)).scalar_one())


def metrics(store: Store, gate: Gate) -> list[dict[str, Any]]:
    """Values of programs' metrics on answers of this candidate, where it has served as a release before."""
    wanted = set(gate.policy.get("metrics") or {})
    if not wanted:
        return []
    with store.read() as conn:
        home = _workspace(conn, gate)
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
