"""Signing: a gate that is passed becomes a release, or a person says that its candidate never serves.

release = sign(store, principal, gate_id, name="assistant-4")
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, insert, select

from ziggurat.errors import RunError
from ziggurat.files import drop_lock, take_lock
from ziggurat.flywheel.gate import gates as gates_
from ziggurat.flywheel.release.folders import copy, files_hash, releases_home
from ziggurat.flywheel.release.releases import CHANNEL, NAME, Release, any_of, release_of, row_of
from ziggurat.home import located, portable
from ziggurat.lineage import code_version
from ziggurat.places import ADAPTER_CONFIG, find_run, model_folder, runs_home
from ziggurat.product.common import clean, clean_name, record
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.programs import tunings, uploads
from ziggurat.store.tables.releases import (
    channels,
    releases,
    signatures,
    turns,
)


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
    if (model_folder(located(gate.candidate)) / ADAPTER_CONFIG).is_file():
        raise Conflict(
            "this candidate is an adapter; export the whole model (`ziggurat models export`) and start a gate for it."
        )
    with store.read() as conn:
        channel = str(gate.policy.get("channel") or CHANNEL)
        name = _free_name(conn, name, channel)
        turn = (
            None
            if gate.turn_id is None
            else conn.execute(select(turns).where(turns.c.id == gate.turn_id)).one()
        )
        parent_id = turn.parent_id if turn is not None else gate.against_id
        parent = None if parent_id is None else row_of(conn, parent_id)
        learned = _tuned_on(conn, workspace_id, gate.candidate) if turn is None else [_dataset(turn)]
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
    weights = copy(located(gate.candidate), name, row, origin)
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
            if any_of(conn, principal.workspace_id):
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
        weights = copy(folder, name, row, folder)
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
    return release_of(row_of(conn, row["id"]))


def _dataset(turn: Any) -> dict[str, Any]:
    source = turn.recipe.get("source") or {}
    return {"id": turn.dataset_id, "name": turn.dataset, "sha256": source.get("sha256")}


def _tuned_on(conn: Connection, workspace_id: str, candidate: str) -> list[dict[str, Any]]:
    """The training file of a fine-tuning job, where the candidate is its run."""
    path = located(candidate)
    wanted = select(tunings.c.run, uploads.c.id, uploads.c.filename, uploads.c.sha256).join(
        uploads, uploads.c.id == tunings.c.training_file
    )
    rows = conn.execute(wanted.where(tunings.c.workspace_id == workspace_id, tunings.c.run.is_not(None)))
    return [
        {"id": None, "name": f"{row.filename} ({row.id})", "sha256": row.sha256}
        for row in rows
        if runs_home() / row.run in (path, path.parent)
    ]


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
