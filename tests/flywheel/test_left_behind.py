"""What a turn, a gate or a fine-tuning leaves when it is cancelled, interrupted, overtaken, or fails at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from ziggurat.errors import RunError
from ziggurat.files import write_json
from ziggurat.flywheel.gate import gates
from ziggurat.flywheel.gate import job as gate_job
from ziggurat.flywheel.release import signing
from ziggurat.flywheel.tuning import tunings
from ziggurat.flywheel.turn import job as turn_job
from ziggurat.flywheel.turn import materials, turns
from ziggurat.flywheel.work import jobs
from ziggurat.flywheel.work.worker import Worker
from ziggurat.product import uploads
from ziggurat.product.errors import Conflict
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.programs import tunings as tuning_rows
from ziggurat.store.tables.programs import uploads as file_rows
from ziggurat.store.tables.releases import gates as gate_rows
from ziggurat.store.tables.releases import jobs as job_rows
from ziggurat.store.tables.releases import turns as turn_rows

pytestmark = pytest.mark.usefixtures("ziggurat_home")


@pytest.fixture
def turn(quick_store: Store, ana: Principal) -> turns.Turn:
    """A turn of a dataset version whose job waits; an earlier worker left its files."""
    with quick_store.write() as conn:
        row = {
            "id": "turn_1",
            "name": "t",
            "dataset": "d/v1",
            "dataset_id": "dsv_1",
            "base": "b",
            "recipe": {},
            "job_id": jobs.add(conn, quick_store, ana, "turn", {"turn_id": "turn_1"}),
        }
        now = {"workspace_id": ana.workspace_id, "state": "queued", "created_at": 1}
        conn.execute(insert(turn_rows).values(**row, **now))
    found = turns.get(quick_store, ana.workspace_id, "t")
    (found.folder / "data").mkdir(parents=True)
    return found


@pytest.fixture
def gate(quick_store: Store, ana: Principal) -> str:
    with quick_store.write() as conn:
        row = {"id": "gate_1", "candidate": "c", "weights": "w", "policy": {"sign": "policy", "required": []}}
        row["job_id"] = jobs.add(conn, quick_store, ana, "gate", {"gate_id": "gate_1"})
        now = {"workspace_id": ana.workspace_id, "state": "queued", "created_at": 1}
        conn.execute(insert(gate_rows).values(**row, **now))
    (gates.folder_of("gate_1") / "held_out").mkdir(parents=True)
    return "gate_1"


def test_what_waits_again_and_is_cancelled_leaves_no_texts(
    quick_store: Store, ana: Principal, turn: turns.Turn, gate: str
) -> None:
    """Only a worker removed them, and none took a job that was cancelled while it waited."""
    done = turns.cancel(quick_store, ana, turn.id)
    assert (done.state, done.finished_at is None) == ("cancelled", False)
    assert not (turn.folder / "data").exists()
    assert gates.cancel(quick_store, ana, gate).state == "cancelled"
    assert not (gates.folder_of(gate) / "held_out").exists()


@pytest.mark.parametrize("status", ["queued", "paused"])
def test_a_fine_tuning_that_is_cancelled_while_it_waits_leaves_no_texts(
    quick_store: Store, ana: Principal, status: str
) -> None:
    here = {"workspace_id": ana.workspace_id, "person_id": ana.person_id, "created_at": 1, "run": None}
    job = {"id": "ftjob-1", "model": "m", "method": "supervised", "seed": 1, "status": status}
    job |= {"hyperparameters": {}, "training_file": "file-1", "metadata": {}}
    with quick_store.write() as conn:
        job["job_id"] = jobs.add(conn, quick_store, ana, "fine_tune", {"tuning_id": "ftjob-1"})
        conn.execute(insert(tuning_rows).values(**job, **here))
        if status == "paused":
            conn.execute(update(job_rows).values(state="cancelled"))
    data = tunings.data_of("ftjob-1")
    data.mkdir(parents=True)
    assert tunings.cancel(quick_store, ana, "ftjob-1").status == "cancelled"
    assert not data.exists()


@pytest.mark.parametrize(("state", "goes"), [("failed", True), ("running", False)])
def test_a_file_of_a_job_that_nobody_works_on_can_be_deleted(
    quick_store: Store, ana: Principal, state: str, goes: bool
) -> None:
    """The row of a fine-tuning whose job failed said "running": its file could not go, nor the job be cancelled."""
    here = {"workspace_id": ana.workspace_id, "person_id": ana.person_id, "created_at": 1}
    job = {"id": "ftjob-1", "model": "m", "method": "supervised", "seed": 1, "status": "running"}
    job |= {"hyperparameters": {}, "training_file": "file-1", "metadata": {}}
    file = {"id": "file-1", "filename": "t.jsonl", "purpose": "fine-tune", "bytes": 3, "sha256": "abc"}
    with quick_store.write() as conn:
        job["job_id"] = jobs.add(conn, quick_store, ana, "fine_tune", {"tuning_id": "ftjob-1"})
        conn.execute(insert(file_rows).values(**file, status="processed", **here))
        conn.execute(insert(tuning_rows).values(**job, **here))
        conn.execute(update(job_rows).values(state=state))
    if goes:
        uploads.remove(quick_store, ana, "file-1")
    else:
        with pytest.raises(Conflict, match="trains on this file"):
            uploads.remove(quick_store, ana, "file-1")


def test_a_turn_that_is_interrupted_waits_and_one_that_cannot_be_hashed_fails(
    quick_store: Store, ana: Principal, turn: turns.Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both said "running" for ever."""

    def interrupted(work: Any, turn: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(turn_job, "_phases", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Worker(quick_store).once()
    assert turns.get(quick_store, ana.workspace_id, turn.id).state == "queued"
    monkeypatch.setattr(turn_job, "_phases", lambda work, turn: Path("/there/is/none"))
    assert Worker(quick_store).once()
    failed = turns.get(quick_store, ana.workspace_id, turn.id)
    assert failed.state == "failed"
    assert failed.error
    assert not (turn.folder / "data").exists()
    assert turns.resume(quick_store, ana, turn.id).state == "queued"


@pytest.mark.parametrize("ends", [RuntimeError("late"), None])
def test_a_worker_that_lost_its_lease_changes_neither_turn_nor_files(
    quick_store: Store,
    ana: Principal,
    turn: turns.Turn,
    monkeypatch: pytest.MonkeyPatch,
    ends: Exception | None,
) -> None:
    def overtaken(work: Any, turn: Any) -> Path:
        with quick_store.write() as conn:
            conn.execute(update(job_rows).values(worker="another"))
        if ends is not None:
            raise ends
        return Path("done")

    monkeypatch.setattr(turn_job, "_phases", overtaken)
    monkeypatch.setattr(turn_job, "weights_of", lambda path: "w")
    assert Worker(quick_store).once()
    assert turns.get(quick_store, ana.workspace_id, turn.id).state == "running"
    assert (turn.folder / "data").exists()


def test_a_policy_that_cannot_sign_warns_and_the_gate_is_passed(
    quick_store: Store, ana: Principal, gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job failed, though the gate was done."""

    def found(work: Any, judged: gates.Gate, folder: Path) -> tuple[str, str]:
        assert work.change(gate_rows, judged.id, state="done", verdict="passed")
        return "passed", "A."

    def refuses(*given: Any) -> None:
        raise Conflict("another release is being made now.")

    for name, instead in (("_judged", lambda *_: None), ("_found", found), ("_all_measured", lambda _: True)):
        monkeypatch.setattr(gate_job, name, instead)
    monkeypatch.setattr(signing, "sign_by_policy", refuses)
    assert Worker(quick_store).once()
    one = gates.get(quick_store, ana.workspace_id, gate)
    assert (one.state, one.verdict, one.signature) == ("done", "passed", None)
    assert jobs.get(quick_store, ana.workspace_id, str(one.job_id)).state == "done"
    warned = [event.message for event in jobs.events(quick_store, str(one.job_id)) if event.level == "warn"]
    assert warned == ["The policy could not sign: another release is being made now."]


def test_answers_to_withdrawn_questions_are_not_kept(quick_store: Store) -> None:
    """The judgement was deleted while the gate was measured."""
    kept = {"judgement_id": None, "prompt": "of a file"}
    with quick_store.read() as conn:
        assert gate_job._allowed(conn, [{"judgement_id": "gone", "prompt": "x"}, kept]) == [kept]


def test_a_turn_that_goes_on_compares_which_judgements_are_withdrawn(
    quick_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that came back and one that went left the count as it was."""
    source = materials.Source("d/v1", "dsv_1", "sha")

    def lay_out() -> None:
        write_json(tmp_path / "data" / "complete.json", {"gone": ["j1"]}, materials.FORMAT)
        materials.lay_out(quick_store, source, tmp_path, canaries=0, seed=0, learned=())

    for now in ({"j1"}, set()):
        monkeypatch.setattr(materials, "withdrawn_of", lambda store, version, now=now: now)
        lay_out()
    monkeypatch.setattr(materials, "withdrawn_of", lambda store, version: {"j2"})
    with pytest.raises(RunError, match="people have withdrawn some"):
        lay_out()
