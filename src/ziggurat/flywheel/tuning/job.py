"""The job of a fine-tuning: writes the records, runs `tuning.run` in a child process, names the model.

A worker that dies leaves a run with checkpoints; the next one goes on with it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from ziggurat.errors import RunError
from ziggurat.files import write_json
from ziggurat.flywheel.tuning.progress import openai_metrics, results_csv
from ziggurat.flywheel.tuning.served import serves_releases
from ziggurat.flywheel.tuning.tunings import METHODS, PAUSED, data_of, results_id, run_of
from ziggurat.flywheel.work import jobs, worker
from ziggurat.flywheel.work.children import run_child
from ziggurat.flywheel.work.jobs import Job
from ziggurat.places import runs_home
from ziggurat.product import training_files, uploads
from ziggurat.product.common import row_of
from ziggurat.product.training_files import Method
from ziggurat.records import write_records
from ziggurat.runs import Run
from ziggurat.store.store import Store
from ziggurat.store.tables.programs import tunings as table
from ziggurat.store.tables.workspace import workspaces

PLAN_FORMAT = 1
EVENT_ROWS = 50
"""Rows of metrics that one job tells as events at most; the run has all of them."""


def work(work: worker.Work) -> dict[str, Any]:
    """The handler of a job: from its files to a named model."""
    store, tuning_id = work.store, str(work.job.payload["tuning_id"])
    with store.read() as conn:
        row = row_of(conn, table, tuning_id)
        organisation = str(
            conn.execute(select(workspaces.c.name).where(workspaces.c.id == row.workspace_id)).scalar()
        )
    run_name = run_of(tuning_id)
    path, data = runs_home() / run_name, data_of(tuning_id)
    try:
        _set(work, tuning_id, status="validating_files", run=run_name)
        plan = _write_plan(store, row, str(work.job.payload["base"]), path, data)
        work.check()
        _set(work, tuning_id, status="running")
        _train(work, plan, path)
        name = model_name(row, organisation)
        rows = Run.open(path).read_metrics()
        tokens = int(sum(float(one.get("tokens") or 0) for one in rows))
        ended = {"status": "succeeded", "fine_tuned_model": name, "trained_tokens": tokens}
        with store.write() as conn:
            _must_keep(work, conn)
            uploads.put_results(conn, store, row, results_id(tuning_id), results_csv(rows))
            gated = serves_releases(conn, row.workspace_id)
            conn.execute(update(table).where(_still(tuning_id)).values(**ended, finished_at=store.now()))
    except (worker.Stopped, KeyboardInterrupt):
        if jobs.get(store, work.job.workspace_id, work.job.id).cancel:
            shutil.rmtree(data, ignore_errors=True)  # one that goes on after all writes its files again
        raise
    except Exception as error:
        failed = {
            "code": getattr(error, "code", None) or "training_failed",
            "message": str(error),
            "param": None,
        }
        _set(work, tuning_id, status="failed", error=failed, finished_at=store.now())
        shutil.rmtree(data, ignore_errors=True)
        raise
    shutil.rmtree(data, ignore_errors=True)
    work.say(f"The fine-tuned model is {name}.", model=name)
    if gated:
        work.say(
            f"Releases serve in this workspace, so the model is served after a gate that it passes and a "
            f"person signs: ziggurat flywheel gate --candidate {run_name}, then ziggurat flywheel sign GATE",
            model=name,
        )
    return {"model": name, "run": run_name}


def given_up(conn: Connection, store: Store, job: Job, state: str, error: str | None) -> None:
    """The job ended without its worker (it died too often, or after somebody cancelled it)."""
    failed = None if error is None else {"code": "worker_died", "message": error, "param": None}
    ended = {"status": state, "error": failed, "finished_at": store.now()}
    conn.execute(update(table).where(_still(job.payload["tuning_id"])).values(**ended))
    shutil.rmtree(data_of(job.payload["tuning_id"]), ignore_errors=True)


def model_name(row: Any, organisation: str) -> str:
    """`ft:<base>:<org>:<suffix>:<id>`, as OpenAI names them."""
    org = re.sub(r"[^\w.-]+", "-", organisation.lower()).strip("-")[:40] or "own"
    return f"ft:{row.model}:{org}:{row.suffix or ''}:{row.id.partition('-')[2][-12:]}"


def _must_keep(work: worker.Work, conn: Connection) -> None:
    """Raises Stopped where another worker has the job by now."""
    if not work.keeps(conn):
        raise worker.Stopped


def _set(work: worker.Work, tuning_id: str, **changes: Any) -> None:
    """Change a job that was not cancelled or paused meanwhile. Raises Stopped where another worker has it by now."""
    with work.store.write() as conn:
        _must_keep(work, conn)
        conn.execute(update(table).where(_still(tuning_id)).values(**changes))


def _still(tuning_id: str) -> ColumnElement[bool]:
    return (table.c.id == tuning_id) & table.c.status.not_in(("cancelled", PAUSED))


def _write_plan(store: Store, row: Any, base: str, path: Path, data: Path) -> Path:
    """The records and the plan of the child process, the same bytes each time."""
    data.mkdir(parents=True, exist_ok=True)
    plan: dict[str, Any] = {
        "stage": METHODS[row.method],
        "base": base,
        "out": str(path),
        "seed": row.seed,
        "hyperparameters": row.hyperparameters,
        "data": str(data / "training.jsonl"),
        "held_out": None,
    }
    _write_records(store, row.training_file, row.method, data / "training.jsonl")
    if row.validation_file is not None:
        plan["held_out"] = str(data / "validation.jsonl")
        _write_records(store, row.validation_file, row.method, data / "validation.jsonl")
    write_json(data / "plan.json", plan, PLAN_FORMAT)
    return data / "plan.json"


def _write_records(store: Store, file_id: str, method: Method, to: Path) -> None:
    try:
        write_records(to, training_files.records(_parts(store, file_id), method))
    except training_files.BadLine as error:
        raise RunError(f"{file_id} has a bad line: {error}.") from None


def _parts(store: Store, file_id: str) -> Iterator[bytes]:
    found = uploads.parts_of(store, file_id)
    if found is None:
        raise RunError(f"the file {file_id} is gone; upload it again and start a new job.")
    return found


def _train(work: worker.Work, plan: Path, path: Path) -> None:
    """The child process, from its beginning or where it stopped.

    Raises:
        Stopped: the worker ends or the job was cancelled; the run has saved its state.
        RunError: the stage failed, with its sentence.
    """
    told = [0]

    def watch() -> None:
        told[0] = _tell(work, path, told[0])

    arguments = ["-m", "ziggurat.flywheel.tuning.run", str(plan)]
    run_child(work, arguments, log=plan.parent / "log.txt", locked=path, watch=watch)
    watch()


def _tell(work: worker.Work, path: Path, told: int) -> int:
    """New rows of metrics as progress and, at most EVENT_ROWS of them, as events."""
    if not (path / "manifest.json").is_file():
        return told
    rows = Run.open(path).read_metrics()
    if len(rows) > told:
        last = rows[-1]
        work.progress(step=last.get("step"), loss=last.get("loss"))
        for one in rows[told : max(told, EVENT_ROWS)]:
            shown = openai_metrics(one)
            work.say(f"Step {shown.get('step')}: training loss={shown.get('train_loss')}", **shown)
    return len(rows)
