"""Releases: named, immutable, with lineage.

    release = sign(store, principal, gate_id, name="assistant-4")   # a person signs a gate that is passed

A release is a row that the database refuses to change, and the folder $ZIGGURAT_HOME/releases/NAME with the model
(`model/`), release.json, and the settings that the next turn inherits. `channel.py` says what serves to whom.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from ziggurat.errors import RunError
from ziggurat.files import drop_lock, read_json, replace_folder, sha256_file, take_lock, to_json, write_json
from ziggurat.flywheel import gate as gates_
from ziggurat.flywheel import turn as turns_
from ziggurat.home import located, portable, ziggurat_home
from ziggurat.lineage import MANIFEST_FORMAT, code_version, manifest_around
from ziggurat.places import ADAPTER_CONFIG, find_run, model_folder, run_around
from ziggurat.product.common import clean, clean_name, record
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.settings import load_yaml
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.releases import (
    channels,
    releases,
    signatures,
    turns,
)

CHANNEL = "assistant"
FORMAT = 1
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}")


@dataclass(frozen=True)
class Release:
    id: str
    name: str
    parent_id: str | None
    turn_id: str | None
    gate_id: str | None
    signature_id: str | None
    model: str
    weights: str
    files: str
    datasets: list[dict[str, Any]]
    code: str
    seed: int | None
    scores: dict[str, Any]
    signed_by: str | None
    note: str
    created_at: str


def releases_home() -> Path:
    return ziggurat_home() / "releases"


# --- signing ----------------------------------------------------------------------------------------------------------


def sign(
    store: Store,
    principal: Principal,
    gate_id: str,
    *,
    name: str | None = None,
    note: str = "",
    refuse: bool = False,
) -> Release | None:
    """Sign a gate: its candidate becomes a release, or with `refuse` it never does (then None).

    Raises:
        NotFound: there is no such gate.
        Conflict: the gate is not passed, or is signed already; the name is taken.
    """
    require(principal, "release.sign")
    note = clean(note, "note", limit=4_000, empty=True)
    gate = gates_.get(store, principal.workspace_id, gate_id)
    _must_be_open(gate, refuse)
    if not refuse:
        _must_be_current(store, principal.workspace_id, gate)
    if refuse:
        with store.write() as conn:
            _signature(conn, store, principal.workspace_id, gate.id, principal.person_id, "refuse", note)
            record(conn, store, principal, "gate.refuse", kind="gate", object_id=gate.id)
        return None
    with _alone():
        release = _make(store, principal.workspace_id, gate, name, note, principal.person_id)
    with store.write() as conn:
        detail = {"name": release.name, "weights": release.weights}
        record(conn, store, principal, "release.sign", kind="release", object_id=release.id, detail=detail)
    return release


def sign_by_policy(store: Store, workspace_id: str, gate_id: str) -> Release:
    """What a policy with `sign: policy` does with a gate that is passed."""
    gate = gates_.get(store, workspace_id, gate_id)
    _must_be_open(gate, False)
    _must_be_current(store, workspace_id, gate)
    note = "Signed by the gate's own policy (sign: policy)."
    with _alone():
        release = _make(store, workspace_id, gate, None, note, None)
    with store.write() as conn:
        detail = {"name": release.name, "weights": release.weights, "by": "policy"}
        record(
            conn,
            store,
            None,
            "release.sign",
            kind="release",
            object_id=release.id,
            detail=detail,
            workspace_id=workspace_id,
        )
    return release


def _must_be_open(gate: gates_.Gate, refuse: bool) -> None:
    if gate.signature is not None:
        raise Conflict("this gate is signed already.", code="signed")
    if gate.state != "done":
        raise Conflict(f"this gate is {gate.state}; it can be signed when it is done.", code="gate_open")
    if not refuse and gate.verdict != "passed":
        raise Conflict(f"this gate is {gate.verdict}: {gate.sentence}", code="gate_not_passed")


def _must_be_current(store: Store, workspace_id: str, gate: gates_.Gate) -> None:
    """A gate says that a candidate is better than what served then; it says nothing of what serves now."""
    with store.read() as conn:
        wanted = select(channels.c.release_id).where(
            channels.c.workspace_id == workspace_id,
            channels.c.name == str(gate.policy.get("channel") or CHANNEL),
        )
        serving = conn.execute(wanted).scalar()
        if serving != gate.against_id:
            names = {row.id: row.name for row in conn.execute(select(releases.c.id, releases.c.name))}
            raise Conflict(
                f"this gate compared the candidate with {names.get(gate.against_id or '', 'no release')}, and "
                f"{names.get(serving or '', 'none')} serves now; start a new gate.",
                code="stale_gate",
            )


def _signature(
    conn: Connection,
    store: Store,
    workspace_id: str,
    gate_id: str,
    person_id: str | None,
    decision: str,
    note: str,
) -> str:
    signature_id = new_id("sig")
    row = {
        "id": signature_id,
        "workspace_id": workspace_id,
        "gate_id": gate_id,
        "person_id": person_id,
        "signed_as": "person" if person_id else "policy",
        "decision": decision,
        "note": note,
        "created_at": store.now(),
    }
    conn.execute(insert(signatures).values(**row))
    return signature_id


def _make(
    store: Store, workspace_id: str, gate: gates_.Gate, name: str | None, note: str, person_id: str | None
) -> Release:
    with store.read() as conn:
        channel = str(gate.policy.get("channel") or CHANNEL)
        name = _free_name(conn, name, channel)
        turn = (
            None
            if gate.turn_id is None
            else conn.execute(select(turns).where(turns.c.id == gate.turn_id)).one()
        )
        parent_id = turn.parent_id if turn is not None else gate.against_id
        parent = None if parent_id is None else _row(conn, parent_id)
    learned = [] if turn is None else [_dataset(turn)]
    scores = {
        one.name: {"figure": one.figure, "low": one.low, "high": one.high, "verdict": one.verdict}
        for one in gate.criteria
    }
    row = {
        "id": new_id("release"),
        "workspace_id": workspace_id,
        "name": name,
        "parent_id": parent_id,
        "turn_id": gate.turn_id,
        "gate_id": gate.id,
        "datasets": [*learned, *(parent.datasets if parent is not None else ())],
        "seed": None if turn is None else turn.recipe["seed"],
        "scores": scores,
        "signed_by": person_id,
        "note": note,
    }
    origin = None if parent is None else located(parent.model)
    weights = _copy(located(gate.candidate), name, row, origin)
    if weights != gate.weights:
        shutil.rmtree(releases_home() / name, ignore_errors=True)
        raise Conflict("the candidate has changed since the gate judged it; start a new gate.")
    with store.write() as conn:
        signed = _signature(conn, store, workspace_id, gate.id, person_id, "release", note)
        return _insert(conn, store, {**row, "signature_id": signed, "weights": weights})


def first(
    store: Store, principal: Principal, model: str, *, name: str | None = None, note: str = ""
) -> Release:
    """A release of a model that no turn made: the first one, which no gate can compare with anything.

    Raises:
        Conflict: releases exist; a model then has to pass a gate.
    """
    require(principal, "release.sign")
    folder = find_run(model)
    if (model_folder(folder) / ADAPTER_CONFIG).is_file():
        raise Invalid(f"{model} is an adapter; export the whole model first (`ziggurat models export`).")
    with _alone():
        with store.read() as conn:
            if _any(conn, principal.workspace_id):
                raise Conflict(
                    "there are releases already; put this model before a gate (`ziggurat flywheel gate --candidate`)."
                )
            name = _free_name(conn, name, CHANNEL)
        row = {
            "id": new_id("release"),
            "workspace_id": principal.workspace_id,
            "name": name,
            "datasets": [],
            "scores": {},
            "signed_by": principal.person_id,
            "note": clean(note, "note", limit=4_000, empty=True) or f"The first release, made from {model}.",
        }
        weights = _copy(folder, name, row, folder)
        with store.write() as conn:
            made = _insert(conn, store, {**row, "weights": weights})
            detail = {"name": name, "weights": weights, "first": True}
            record(conn, store, principal, "release.sign", kind="release", object_id=made.id, detail=detail)
        return made


@contextmanager
def _alone() -> Iterator[None]:
    """One release is made at a time, so that no name is given twice: name, copy and row are one step to others. A
    folder without a row is what a killed attempt left, and is replaced.

    Raises:
        Conflict: another one is being made.
    """
    releases_home().mkdir(parents=True, exist_ok=True)
    try:
        lock = take_lock(releases_home())
    except RunError:
        raise Conflict("another release is being made now; try again in a moment.", code="busy") from None
    try:
        yield
    finally:
        drop_lock(lock)


def _insert(conn: Connection, store: Store, row: Mapping[str, Any]) -> Release:
    code = code_version()
    values = {
        **row,
        "model": portable(releases_home() / row["name"]),
        "files": files_hash(releases_home() / row["name"] / "model"),
        "code": f"{code['ziggurat']} {str(code.get('commit') or '')[:12]}".strip(),
        "created_at": store.now(),
    }
    conn.execute(insert(releases).values(**values))
    return release_of(_row(conn, row["id"]))


def _dataset(turn: Any) -> dict[str, Any]:
    source = turn.recipe.get("source") or {}
    return {"id": turn.dataset_id, "name": turn.dataset, "sha256": source.get("sha256")}


def _free_name(conn: Connection, given: str | None, channel: str) -> str:
    taken = set(conn.execute(select(releases.c.name)).scalars())
    if given is None:
        number = 1
        while f"{channel}-{number}" in taken:
            number += 1
        return f"{channel}-{number}"
    name = clean_name(given)
    if not NAME.fullmatch(name):
        raise Invalid(
            f"the name {name!r} cannot name a folder; use letters, digits, '.', '-' and '_'.", param="name"
        )
    if name in set(conn.execute(select(channels.c.name)).scalars()) | {channel}:
        raise Conflict(f"{name} is the name of a channel; choose another name for the release.")
    if name in taken:
        raise Conflict(
            f"there is a release called {name} already; releases never change, so choose another name."
        )
    return name


def _copy(source: Path, name: str, row: Mapping[str, Any], origin: Path | None) -> str:
    """Copy the model into the release's folder, read-only; returns the hash of its weights.

    origin: the parent release, or for the first one the run itself: its settings are what the next turn inherits, so
    that learning rates do not shrink from turn to turn.
    """
    model, target = model_folder(source), releases_home() / name

    def write(aside: Path) -> None:
        shutil.copytree(model, aside / "model", ignore=shutil.ignore_patterns("optimizer*", "lock"))
        config, known = settings_of(origin), manifest_around(source) or _lineage(source)
        if config is not None and known is not None:
            shutil.copyfile(config, aside / "config.yaml")
            write_json(
                aside / "manifest.json", {**known, "finished_utc": known.get("finished_utc")}, MANIFEST_FORMAT
            )
        write_json(aside / "release.json", {key: row.get(key) for key in row}, FORMAT)
        for path in (aside / "model").iterdir():
            if path.suffix == ".safetensors":
                os.chmod(path, 0o444)

    releases_home().mkdir(parents=True, exist_ok=True)
    replace_folder(target, write)
    return turns_.weights_of(target)


def _lineage(folder: Path) -> dict[str, Any] | None:
    for place in (folder, folder.parent):
        if (place / "lineage.json").is_file():
            return read_json(place / "lineage.json", FORMAT)
    return None


def settings_of(folder: Path | None) -> Path | None:
    """The settings of the nearest run in a model's lineage with one optimizer; None for a model from elsewhere."""
    run = None if folder is None else run_around(folder)
    while run is not None:
        config = load_yaml(run / "config.yaml")
        train = config.get("train", config)
        if isinstance(train, dict) and "optimizer" in train:
            return run / "config.yaml"
        parent = (manifest_around(run) or {}).get("parent")
        above = located(str(parent["path"])) if isinstance(parent, dict) and parent.get("path") else None
        run = run_around(above) if above is not None and above.exists() else None
    return None


# --- finding ----------------------------------------------------------------------------------------------------------


def _row(conn: Connection, release_id: str) -> Any:
    return conn.execute(select(releases).where(releases.c.id == release_id)).one()


def _any(conn: Connection, workspace_id: str) -> bool:
    return (
        conn.execute(select(releases.c.id).where(releases.c.workspace_id == workspace_id)).first() is not None
    )


def get(store: Store, workspace_id: str, name_or_id: str) -> Release:
    with store.read() as conn:
        return release_of(_find(conn, workspace_id, name_or_id))


def _find(conn: Connection, workspace_id: str, name_or_id: str) -> Any:
    wanted = select(releases).where(releases.c.workspace_id == workspace_id)
    row = conn.execute(wanted.where((releases.c.id == name_or_id) | (releases.c.name == name_or_id))).first()
    if row is None:
        raise NotFound(f"there is no release {name_or_id[:80]}.")
    return row


def listed(store: Store, workspace_id: str) -> list[Release]:
    """Newest first."""
    wanted = select(releases).where(releases.c.workspace_id == workspace_id).order_by(releases.c.id.desc())
    with store.read() as conn:
        return [release_of(row) for row in conn.execute(wanted)]


def lineage(store: Store, workspace_id: str, name_or_id: str) -> list[Release]:
    """The release, its parent, and so on to the first one."""
    found = [get(store, workspace_id, name_or_id)]
    while found[-1].parent_id is not None:
        found.append(get(store, workspace_id, found[-1].parent_id))
    return found


def release_of(row: Any) -> Release:
    return Release(
        id=row.id,
        name=row.name,
        parent_id=row.parent_id,
        turn_id=row.turn_id,
        gate_id=row.gate_id,
        signature_id=row.signature_id,
        model=row.model,
        weights=row.weights,
        files=row.files,
        datasets=list(row.datasets),
        code=row.code,
        seed=row.seed,
        scores=dict(row.scores),
        signed_by=row.signed_by,
        note=row.note,
        created_at=iso(row.created_at),
    )


def files_hash(folder: Path) -> str:
    """SHA-256 over the names and whole contents of a model's files."""
    listed = [[path.name, sha256_file(path)] for path in sorted(folder.iterdir()) if path.is_file()]
    return hashlib.sha256(to_json(listed).encode()).hexdigest()


def check(release: Release) -> Path:
    """The folder of a release whose files (weights, configuration, tokenizer, template) are those that were signed.

    Raises RunError where they are gone or have changed.
    """
    folder = located(release.model)
    if not folder.is_dir():
        raise RunError(f"the folder of release {release.name} is gone ({folder}); restore it from a backup.")
    if files_hash(folder / "model") != release.files:
        raise RunError(
            f"the files of release {release.name} are not those that were signed; it does not serve."
        )
    return folder


def by_ids(store: Store, ids: Sequence[str | None]) -> dict[str, Release]:
    wanted = [one for one in ids if one is not None]
    with store.read() as conn:
        rows = conn.execute(select(releases).where(releases.c.id.in_(wanted))).all()
    return {row.id: release_of(row) for row in rows}
