"""Checkpoints and metrics that were written before the stages shared one loop (state.json of version 1).

Row k of a supervised run then held the loss of update k, and the evaluation after it. Today row s describes the model
after s updates, so its loss is row k - 1's and its evaluation stays in row k. PPO numbered its rows as today.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ziggurat.runs import Run


def is_former(extra: dict[str, Any]) -> bool:
    """Whether this is the `extra` of a state.json of version 1."""
    return "learner" not in extra


def translate(extra: dict[str, Any], run: Run) -> dict[str, Any]:
    """The `extra` of version 1 as today's; the rows of a supervised run are renumbered in metrics.jsonl."""
    common = {"step": extra["step"], "elapsed_s": extra["elapsed_s"], "recent": []}
    best = extra["best"]
    if "batches" not in extra:  # PPO: (step, worth)
        learner = {"beta": extra["beta"], "ptx": extra["ptx"]}
        return {**common, "best": None if best is None else float(best[1]), "learner": learner}
    rows = run.read_metrics()
    if rows and rows[0]["step"] > 0:  # not renumbered yet
        run.replace_metrics(_renumbered(rows, extra["evaluation"].keys()))
    learner = {
        "counted": extra["counted"],
        "drawn": extra["step"],
        "skipped": [],
        "batches": extra["batches"],
    }
    return {**common, "best": None if best is None else -float(best), "learner": learner}


def _renumbered(rows: list[dict[str, Any]], evaluated: Collection[str]) -> list[dict[str, Any]]:
    """
    >>> _renumbered([{"step": 1, "loss": 3.0, "val_loss": 2.5}, {"step": 2, "loss": 2.0}], ["val_loss"])
    [{'step': 0, 'loss': 3.0}, {'step': 1, 'loss': 2.0, 'val_loss': 2.5}]
    """
    found = []
    evaluation: dict[str, Any] = {}
    for row in rows:
        trained = {key: value for key, value in row.items() if key not in evaluated}
        found.append({**trained, "step": row["step"] - 1, **evaluation})
        evaluation = {key: row[key] for key in evaluated if key in row}
    return found
