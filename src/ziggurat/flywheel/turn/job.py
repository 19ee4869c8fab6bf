"""The job of a turn: its phases one after the other, each in a process of its own, from the first not finished one.

Its files are in `runs/flywheel/<turn>/`, its runs beside them (`runs/flywheel/dpo-3`). Every phase resumes to the same
bytes. What people wrote is removed at the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update

from ziggurat.errors import RunError, ZigguratError
from ziggurat.files import read_json, write_json
from ziggurat.flywheel.turn import materials
from ziggurat.flywheel.turn.turns import FORMAT, LADDER, Turn, clean, get, turn_of, weights_of
from ziggurat.flywheel.work import jobs
from ziggurat.flywheel.work.children import run_child
from ziggurat.flywheel.work.jobs import Job
from ziggurat.flywheel.work.worker import Stopped, Work
from ziggurat.home import located, portable
from ziggurat.places import ADAPTER_CONFIG, model_folder, next_run_path
from ziggurat.runs import PRIVATE
from ziggurat.store.store import Store
from ziggurat.store.tables.releases import turns

WATCH_S = 2.0


def work(work: Work) -> dict[str, Any]:
    """The phases of a turn, from the first that is not finished."""
    turn = get(work.store, work.job.workspace_id, work.job.payload["turn_id"])
    try:
        _set(work, turn, state="running", error=None, finished_at=None)
        candidate = _phases(work, turn)
        found = {"candidate": portable(candidate), "weights": weights_of(candidate)}
        _set(work, turn, state="candidate", finished_at=work.store.now(), **found)
    except (Stopped, KeyboardInterrupt):
        asked = jobs.get(work.store, work.job.workspace_id, work.job.id).cancel
        ended: dict[str, Any] = {"state": "queued"}
        if asked:
            ended = {"state": "cancelled", "finished_at": work.store.now()}
        if work.change(turns, turn.id, **ended) and asked:
            clean(turn)
        raise
    except Exception as error:
        said = (
            str(error) if isinstance(error, ZigguratError) else f"{type(error).__name__}; the log has more."
        )
        if work.change(turns, turn.id, state="failed", error=said, finished_at=work.store.now()):
            clean(turn)
        raise
    clean(turn)
    return found


def _set(work: Work, turn: Turn, **values: Any) -> None:
    """Raises Stopped where another worker has the turn by now."""
    if not work.change(turns, turn.id, **values):
        raise Stopped


def given_up(conn: Connection, store: Store, job: Job, state: str, error: str | None) -> None:
    """The job ended without its worker (it died too often, or after somebody cancelled it), and so does the turn."""
    ended = {"state": state, "error": error, "finished_at": store.now()}
    conn.execute(update(turns).where(turns.c.id == job.payload["turn_id"]).values(**ended))
    clean(turn_of(conn.execute(select(turns).where(turns.c.id == job.payload["turn_id"])).one()))


def _phases(work: Work, turn: Turn) -> Path:
    source = materials.of_json(turn.recipe["source"])
    folder, recipe = turn.folder, turn.recipe
    folder.mkdir(parents=True, exist_ok=True)
    learned = {kind for one in recipe["phases"] for kinds in one["data"].values() for kind in kinds}
    seeds = {"canaries": recipe["canaries"], "seed": recipe["seed"]}
    materials.lay_out(work.store, source, folder, learned=learned, **seeds)
    ends: list[Path] = []
    for number, phase in enumerate(recipe["phases"], start=1):
        file = folder / f"phase-{number}.json"
        if not file.is_file():
            write_json(file, _filled(turn, phase, ends), FORMAT)
        out = Path(read_json(file, FORMAT)["out"])
        ends.append(out)
        _run(work, turn, number, file, out)
    if not (model_folder(ends[-1]) / ADAPTER_CONFIG).is_file():
        return ends[-1]
    number, out = len(recipe["phases"]) + 1, folder / "candidate"
    file = folder / f"phase-{number}.json"
    whole = {"stage": "whole", "models": {"base": str(ends[-1])}, "data": {}, "settings": {}, "out": str(out)}
    write_json(file, whole, FORMAT)
    _run(work, turn, number, file, out)
    return out


def _filled(turn: Turn, phase: Mapping[str, Any], ends: Sequence[Path]) -> dict[str, Any]:
    """A phase with the folders of its models, its files, and a new folder for its run."""
    base = str(located(turn.base))
    models = {name: base if of == "base" else str(ends[int(of) - 1]) for name, of in phase["models"].items()}
    data = {
        name: [str(path) for kind in kinds if (path := turn.folder / "data" / f"{kind}.jsonl").is_file()]
        for name, kinds in phase["data"].items()
    }
    out = next_run_path(LADDER, phase["stage"])
    out.mkdir(parents=True)  # the number is taken
    if turn.dataset_id is not None:  # a text that its person deletes is quoted nowhere
        (out / PRIVATE).touch()
    budget = turn.recipe["budget_s"]
    return {
        "stage": phase["stage"],
        "models": models,
        "data": data,
        "settings": phase["settings"],
        "budget_s": None if budget is None else budget * phase["share"],
        "out": str(out),
    }


def _run(work: Work, turn: Turn, number: int, file: Path, out: Path) -> None:
    stage, count = read_json(file, FORMAT)["stage"], len(turn.recipe["phases"])
    if _finished(out):
        return
    run = f"{LADDER}/{out.name}" if stage != "whole" else None
    work.progress(phase=number, phases=count, stage=stage, run=run, step=0, steps=None)
    work.say(f"{stage} begins." if not (out / "manifest.json").is_file() else f"{stage} goes on.")
    marks = {"next_s": 0.0}

    def watch() -> None:
        import time

        if time.monotonic() < marks["next_s"]:
            return
        marks["next_s"] = time.monotonic() + WATCH_S
        plan = file.with_name(file.name.replace("phase-", "plan-"))
        steps = read_json(plan, FORMAT)["steps"] if plan.is_file() else None
        work.progress(step=last_step(out / "metrics.jsonl"), steps=steps)

    log = turn.folder / f"phase-{number}.log"
    run_child(work, ["-m", "ziggurat.flywheel.turn.phase", str(file)], log=log, locked=out, watch=watch)
    if not _finished(out):
        raise RunError(f"{stage} ended without a model; see {log}.")
    work.say(f"{stage} is finished.", run=run)


def _finished(out: Path) -> bool:
    if (out / "manifest.json").is_file():
        return bool(read_json(out / "manifest.json", 1_000).get("finished_utc"))
    return (out / "model").is_dir() and any((out / "model").glob("*.safetensors"))


def last_step(metrics: Path) -> int:
    """The newest step in a run's metrics, read from the end of the file."""
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, metrics.stat().st_size - 20_000))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return next(int(json.loads(line)["step"]) for line in reversed(lines) if line.endswith("}"))
    except (OSError, ValueError, KeyError, StopIteration):
        return 0
