"""How far a fine-tuning job is: OpenAI's events and checkpoints, from the job and its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.checkpoint_folders import whole_checkpoints
from ziggurat.flywheel.tuning.tunings import tuning_row
from ziggurat.flywheel.work import jobs
from ziggurat.places import runs_home
from ziggurat.product.common import whole
from ziggurat.product.principal import Principal
from ziggurat.runs import Run
from ziggurat.store.clock import SECOND, from_iso
from ziggurat.store.store import Store


def events(
    store: Store, principal: Principal, tuning_id: str, *, after: str | None = None, limit: int = 20
) -> tuple[list[dict[str, Any]], bool]:
    """OpenAI's event objects, newest first."""
    whole(limit, "limit", 1, 100)
    with store.read() as conn:
        job_id = tuning_row(conn, principal, tuning_id).job_id
    found = [
        {
            "id": one.id,
            "object": "fine_tuning.job.event",
            "created_at": _seconds(one.created_at),
            "level": one.level,
            "message": one.message,
            "type": "metrics" if "step" in one.data else "message",
            "data": one.data,
        }
        for one in jobs.events(store, job_id, limit=10_000)
    ][::-1]
    if after is not None:
        found = [one for one in found if str(one["id"]) < after]
    return found[:limit], len(found) > limit


def checkpoints(store: Store, principal: Principal, tuning_id: str) -> list[dict[str, Any]]:
    """OpenAI's checkpoint objects: what the run has kept, newest first."""
    with store.read() as conn:
        row = tuning_row(conn, principal, tuning_id)
    if row.run is None or not (runs_home() / row.run / "manifest.json").is_file():
        return []
    run = Run.open(runs_home() / row.run)
    by_step = {int(one.get("step", -1)): one for one in run.read_metrics()}
    found = []
    for folder in whole_checkpoints(run.checkpoints_path):
        step = int(folder.name.partition("-")[2])
        found.append(
            {
                "id": f"ftckpt-{tuning_id.partition('-')[2][-12:]}-{step}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": int(folder.stat().st_mtime),
                "fine_tuned_model_checkpoint": f"{row.run}/checkpoints/{folder.name}",
                "fine_tuning_job_id": tuning_id,
                "step_number": step,
                "metrics": openai_metrics(by_step.get(step, {"step": step})),
            }
        )
    return found[::-1]


CSV = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
"""The columns of OpenAI's file of results; what a stage does not measure stays empty."""
MOST_ROWS = 10_000


def results_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A run's metrics, a line a step; of a longer run every n-th step, at most MOST_ROWS.

    >>> results_csv([{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25, "val_loss": 0.75}]).decode().split()[1:]
    ['1,0.5,,,', '2,0.25,,0.75,']
    """
    lines = [",".join(CSV)]
    for row in rows[:: max(1, -(-len(rows) // MOST_ROWS))]:
        found = openai_metrics(row)
        found["train_accuracy"] = row.get("accuracy")
        found["valid_loss"] = found.get("full_valid_loss")
        found["valid_mean_token_accuracy"] = found.get("full_valid_mean_token_accuracy")
        lines.append(",".join("" if found.get(name) is None else str(found[name]) for name in CSV))
    return "".join(f"{line}\n" for line in lines).encode()


def openai_metrics(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of metrics under OpenAI's names."""
    names = {
        "step": "step",
        "loss": "train_loss",
        "val_loss": "full_valid_loss",
        "val_token_accuracy": "full_valid_mean_token_accuracy",
    }
    return {theirs: row[ours] for ours, theirs in names.items() if row.get(ours) is not None}


def _seconds(moment: str) -> int:
    return from_iso(moment) // SECOND
