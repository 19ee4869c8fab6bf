"""What a gate's criteria are given: a turn's result however it is named, labels of the lineage, people's votes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update
from tests.flywheel.people import a_member, about
from tests.product.house import join

from ziggurat.cards import digest
from ziggurat.files import write_json
from ziggurat.flywheel.gate import evidence, gates
from ziggurat.flywheel.release.signing import _tuned_on
from ziggurat.flywheel.turn import turns
from ziggurat.home import portable
from ziggurat.lineage import MANIFEST_FORMAT
from ziggurat.places import runs_home
from ziggurat.product import consents
from ziggurat.product.errors import Forbidden
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.programs import tunings, uploads
from ziggurat.store.tables.releases import turns as turn_rows
from ziggurat.store.tables.workspace import workspaces

pytestmark = pytest.mark.usefixtures("ziggurat_home")


def a_model(folder: Path, weights: bytes = b"weights", sha256: str = "d1") -> Path:
    """A run whose lineage names one file that it learned from, and one that its parent did."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(weights)
    parent = {"data": [{"role": "data", "sha256": "d0"}, {"role": "held_out", "sha256": "h0"}]}
    lineage: dict[str, Any] = {"stage": "sft", "data": [{"role": "data", "sha256": sha256}], "parent": parent}
    write_json(folder / "manifest.json", lineage, MANIFEST_FORMAT)
    return folder


def a_turn(store: Store, who: Principal, candidate: Path) -> turns.Turn:
    row = {
        "id": "turn_1",
        "workspace_id": who.workspace_id,
        "name": "turn-1",
        "dataset": "learn.jsonl",
        "base": "m",
        "recipe": {"phases": [], "canaries": 2, "source": {"name": "learn.jsonl"}, "seed": 0},
        "state": "candidate",
        "candidate": portable(candidate),
        "weights": turns.weights_of(candidate),
        "created_at": 1,
    }
    with store.write() as conn:
        conn.execute(insert(turn_rows).values(**row))
    turn = turns.get(store, who.workspace_id, "turn-1")
    write_json(turn.folder / "canaries.json", {"canaries": [{"prompt": "p", "secret": "s"}]}, turns.FORMAT)
    write_json(turn.folder / "learned.json", {"sha256": ["l1"]}, turns.FORMAT)
    return turn


def test_the_model_of_a_turn_is_judged_as_that_turn_however_it_is_named(
    quick_store: Store, ana: Principal
) -> None:
    """Named as a candidate it lost its canaries, its labels and its lineage."""
    candidate = a_model(runs_home() / "flywheel" / "dpo-1")
    turn = a_turn(quick_store, ana, candidate)
    gate = gates.start(quick_store, ana, candidate=str(candidate))
    assert gate.turn_id == turn.id
    order = evidence.order_of(quick_store, gate, turn)
    assert order["canaries"] == [{"prompt": "p", "secret": "s"}]
    assert order["labels"] == ["d0", "d1", "l1"]


def test_a_model_that_no_turn_made_has_the_labels_of_its_lineage(quick_store: Store, ana: Principal) -> None:
    candidate = a_model(runs_home() / "own" / "sft-1")
    gate = gates.start(quick_store, ana, candidate=str(candidate))
    assert gate.turn_id is None
    assert evidence.order_of(quick_store, gate, None)["labels"] == ["d0", "d1"]


def test_a_release_of_a_fine_tuned_model_names_its_training_file(quick_store: Store, ana: Principal) -> None:
    here = {"workspace_id": ana.workspace_id, "person_id": ana.person_id, "created_at": 1}
    job = {"id": "ftjob-1", "model": "m", "method": "supervised", "run": "fine-tuned/1", "seed": 1}
    job |= {"hyperparameters": {}, "training_file": "file-1", "metadata": {}, "status": "succeeded"}
    file = {"id": "file-1", "filename": "t.jsonl", "purpose": "fine-tune", "bytes": 3, "sha256": "abc"}
    with quick_store.write() as conn:
        conn.execute(insert(uploads).values(**file, status="processed", **here))
        conn.execute(insert(tunings).values(**job, **here))
        found = _tuned_on(conn, ana.workspace_id, portable(runs_home() / "fine-tuned" / "1"))
        assert found == [{"id": None, "name": "t.jsonl (file-1)", "sha256": "abc"}]
        assert _tuned_on(conn, ana.workspace_id, portable(runs_home() / "fine-tuned" / "2")) == []


def test_whoever_only_trains_names_no_held_out_files(quick_store: Store, ana: Principal) -> None:
    """Files of one's own decide a gate as its bars do."""
    developer = join(quick_store, "developer", name="Dev", workspace_id=ana.workspace_id)
    candidate = a_model(runs_home() / "own" / "sft-1")
    with pytest.raises(Forbidden):
        gates.start(quick_store, developer, candidate=str(candidate), held_out={"comparisons": ["h.jsonl"]})
    assert gates.start(quick_store, developer, candidate=str(candidate)).state == "queued"


def test_battles_are_those_of_the_workspace_that_may_be_used_and_few_of_one_person(
    quick_store: Store, ana: Principal
) -> None:
    """Votes of everybody counted: of other workspaces, without consent, and any number of one person."""
    store = quick_store
    ours = a_model(runs_home() / "own" / "sft-1")
    theirs = a_model(runs_home() / "own" / "sft-2", b"others")
    gate = gates.start(store, ana, candidate=str(ours))
    gate = dataclasses.replace(gate, against=portable(theirs))
    bea = a_member(store, "Bea", agrees=True)
    cem = a_member(store, "Cem", agrees=False)
    with store.write() as conn:
        conn.execute(
            insert(workspaces).values(id="ws_2", name="Two", created_at=1, settings={}, rules_version=0)
        )
    far = join(store, "member", name="Far", workspace_id="ws_2")
    consents.set_consent(store, far, "improve_model", True)
    for who, votes in ((bea, 12), (cem, 1), (far, 1)):
        for _ in range(votes):
            about(store, who, "vote", {"winner": "a"}, basis="consent", answers=("x", "y"))
    hashes = {f"c{i}": {"weights": digest(one / "model")} for i, one in enumerate((ours, theirs))}
    with store.write() as conn:
        conn.execute(update(judgements).values(hashes=hashes))
    found = evidence.battles(store, gate)
    assert found == [{"person": bea.person_id, "outcome": 1.0}] * evidence.EACH_PERSON
