"""A whole turn on a model of four letters: learn, gate, sign, promote, roll back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ziggurat.files import read_json, sha256_file
from ziggurat.flywheel.gate import gates
from ziggurat.flywheel.release import channel as channels_
from ziggurat.flywheel.release import releases, signing
from ziggurat.flywheel.turn import turns
from ziggurat.flywheel.work import jobs
from ziggurat.flywheel.work.worker import Worker
from ziggurat.home import located
from ziggurat.product.errors import Conflict
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store

QUICK: dict[str, Any] = {
    "train.dtype": "fp32",
    "train.threads": 1,
    "train.lr_adam": 2e-3,
    "train.optimizer": "adamw",
    "beta": 0.3,
    "epochs": 1.0,
}


def begin(store: Store, who: Principal, letters: Path, **changes: Any) -> turns.Turn:
    given: dict[str, Any] = {
        "files": {"comparisons": [letters / "learn.jsonl"]},
        "held_out": {"comparisons": [letters / "held.jsonl"]},
        "trainable": "all",
        "canaries": 2,
        "settings": {"dpo": QUICK},
    }
    return turns.start(store, who, **{**given, **changes})


def run_all(store: Store) -> None:
    worker = Worker(store)
    while worker.once():
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("ziggurat_home")
def test_a_turn_becomes_a_release_that_serves_and_goes_back(
    quick_store: Store, ana: Principal, letters: Path
) -> None:
    store, ws = quick_store, ana.workspace_id
    first = signing.first(store, ana, str(letters / "model"))
    channels_.promote(store, ana, first.name)
    turn = begin(store, ana, letters, budget_s=600)
    assert turn.recipe["method"] == "dpo"
    run_all(store)
    turn = turns.get(store, ws, turn.id)
    assert turn.state == "candidate", turn.error
    assert turn.parent_id == first.id
    gate = gates.start(store, ana, turn=turn.name)
    run_all(store)
    gate = gates.get(store, ws, gate.id)
    found = {one.name: one for one in gate.criteria}
    assert gate.verdict == "passed", gate.sentence
    assert (found["win_rate"].low or 0) > 0.5
    assert found["win_rate"].detail["by"] == "people's held-out comparisons"
    assert found["canaries"].verdict == "passed"
    assert {"prompt", "candidate", "serving"} <= set(gate.samples[0])

    made = signing.sign(store, ana, gate.id, note="Better.")
    assert made is not None
    assert made.name == "assistant-2"
    assert [one.name for one in releases.lineage(store, ws, made.id)] == ["assistant-2", "assistant-1"]
    with pytest.raises(Conflict, match="signed already"):
        signing.sign(store, ana, gate.id)
    canary = channels_.promote(store, ana, made.name, share=0.2)
    assert (canary.release_id, canary.canary_id) == (first.id, made.id)
    whole = channels_.promote(store, ana, made.name)
    assert (whole.release_id, whole.previous_id, whole.canary_id) == (made.id, first.id, None)
    back = channels_.rollback(store, ana)
    assert (back.release_id, back.previous_id) == (first.id, None)  # a second one would not go forward again
    with pytest.raises(Conflict, match="no release served on assistant before"):
        channels_.rollback(store, ana)
    assert [one["action"] for one in channels_.history(store, ws)] == [
        "rollback",
        "promote",
        "canary",
        "promote",
    ]
    assert sha256_file(located(made.model) / "model" / "model.safetensors") == sha256_file(
        turns.model_folder(located(str(turn.candidate))) / "model.safetensors"
    )
    plan = read_json(turn.folder / "plan-1.json", 1)
    assert plan["command"].startswith("ziggurat dpo --base ")
    assert jobs.get(store, ws, str(turn.job_id)).state == "done"
