"""Climbs and runs as another process sees them, from their files alone: for `ziggurat runs watch` and the page.

    climbs()            what is going on, and what was done, newest first
    view(path)          one run: curves with bands of healthy values, samples, the doctor's remarks, the time left

Nothing here imports torch or writes. A climb is a folder under runs/ with a plan; runs that belong to no climb are
shown as a climb of their own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ziggurat.errors import ZigguratError
from ziggurat.files import is_locked, read_json
from ziggurat.places import holds_model, runs_home
from ziggurat.runs import Run
from ziggurat.stages.doctor import DoctorLimits

PLAN_FORMAT = 2
"""Version of plan.json. Version 1 has no `world`."""
State = Literal["waiting", "running", "done", "failed", "stopped"]
STAGES = ("pretrain", "sft", "reward", "ppo")
POINTS = 400
"""Of a curve; a longer one is thinned out."""
RECENT_ROWS = 32
"""The time left and the band of a loss are judged by so many rows."""
CURVES: dict[str, tuple[str, ...]] = {
    "pretrain": ("loss", "val_bits_per_byte", "grad_norm", "tokens_per_s"),
    "sft": ("loss", "val_token_accuracy", "grad_norm", "tokens_per_s"),
    "reward": ("loss", "accuracy", "val_accuracy", "grad_norm"),
    "ppo": ("reward", "kl", "entropy", "length", "gold", "ended_share"),
}
"""The fields of metrics.jsonl that are drawn, by stage; what a run does not log is left out."""
OTHERS = ("loss", "reward", "accuracy", "margin", "kl", "grad_norm")
"""For a stage that is not among them."""
REWARD_RISE = 3.0
"""By so much a reward rises at most in a healthy run (docs/rlhf.md). A reward model's unit is the standard deviation of
what the stage-2 model writes."""


@dataclass
class StageView:
    """One stage of a climb. `chat_model` is the run to talk to; None while there is nothing to talk to."""

    name: str
    state: State = "waiting"
    step: int = 0
    steps: int = 0
    elapsed_s: float = 0.0
    left_s: float | None = None
    run: str | None = None
    chat_model: str | None = None
    error: str | None = None
    """The sentence with which it failed."""


@dataclass
class ClimbView:
    name: str
    world: str
    state: State
    stages: list[StageView] = field(default_factory=list)
    left_s: float | None = None
    report: str | None = None
    """The path of its page below $ZIGGURAT_HOME/runs."""
    changed: float = 0.0
    """Seconds since 1970 of the last sign of life."""


def climbs() -> list[ClimbView]:
    """Every climb, and every ladder of single runs; those that run first, then the newest."""
    home = runs_home()
    found = [climb(folder) for folder in home.iterdir() if folder.is_dir()] if home.is_dir() else []
    shown = [one for one in found if one is not None]
    return sorted(shown, key=lambda one: (one.state != "running", -one.changed))


def climb(folder: Path) -> ClimbView | None:
    """One ladder; None for a folder without a plan and without runs."""
    plan = _plan(folder)
    runs = sorted(path.parent for path in folder.glob("*/manifest.json"))
    if not plan and not runs:
        return None
    planned = _planned(plan)
    stages = [stage_view(_opened(path), planned) for path in runs]
    reached = {stage.name.rpartition("-")[0] for stage in stages}
    stages += [StageView(f"{name}-1", steps=steps) for name, steps in planned.items() if name not in reached]
    stages.sort(key=_order)
    report = folder / "exam" / "report.html"
    running = is_locked(folder) or any(stage.state == "running" for stage in stages)
    if running:
        state: State = "running"
    elif report.is_file() or (not plan and all(stage.state == "done" for stage in stages)):
        state = "done"
    else:
        state = "failed" if any(stage.state == "failed" for stage in stages) else "stopped"
    return ClimbView(
        name=folder.name,
        world=str((plan.get("world") or {}).get("name", "")),
        state=state,
        stages=stages,
        left_s=_left(plan, stages) if running else None,
        report=f"{folder.name}/exam/report.html" if report.is_file() else None,
        changed=max((_changed(path) for path in [folder / "plan.json", *runs]), default=0.0),
    )


def stage_view(run: Run, planned: dict[str, int] | None = None) -> StageView:
    rows, manifest = run.read_metrics(), run.manifest
    steps = int(_steps_of(run) or (planned or {}).get(run.stage, 0))
    name = f"{run.path.parent.name}/{run.path.name}"
    if manifest.get("finished_utc"):
        state: State = "done"
    elif run.locked:
        state = "running"
    else:
        state = "stopped" if run.failure is None else "failed"
    step = int(rows[-1]["step"]) if rows else 0
    talks = run.stage != "reward" and (holds_model(run.model_path) or bool(run.checkpoints()))
    return StageView(
        name=run.path.name,
        state=state,
        step=step,
        steps=steps,
        elapsed_s=float(rows[-1].get("elapsed_s") or 0.0) if rows else 0.0,
        left_s=left_s(rows, steps, run.path) if state == "running" else None,
        run=name,
        chat_model=name if talks else None,
        error=run.failure if state == "failed" else None,
    )


def left_s(rows: Sequence[dict[str, Any]], steps: int, path: Path) -> float | None:
    """Seconds to the last step at the pace of the last rows, less what has passed since the last row."""
    recent = rows[-RECENT_ROWS:]
    if len(recent) < 2 or not steps:
        return None
    done = int(recent[-1]["step"]) - int(recent[0]["step"])
    took_s = float(recent[-1].get("elapsed_s") or 0.0) - float(recent[0].get("elapsed_s") or 0.0)
    if done <= 0 or took_s <= 0:
        return None
    pace_s = took_s / done
    return max(0.0, pace_s * (steps - int(recent[-1]["step"])) - max(0.0, time.time() - _changed(path)))


def view(path: Path) -> dict[str, Any]:
    """`GET /api/runs/{ladder}/{run}`: see docs/product.md."""
    run = _opened(path)
    rows, notes = run.read_metrics(), run.read_notes()
    names = CURVES.get(run.stage, OTHERS)
    series = {
        name: points
        for name in names
        if (points := thinned([(r["step"], r[name]) for r in rows if _number(r.get(name))]))
    }
    return {
        "stage": asdict(stage_view(run)),
        "state": stage_view(run).state,
        "series": series,
        "bands": {name: band for name in series if (band := healthy(name, rows, run)) is not None},
        "samples": [
            {"step": note["step"], "text": note["text"]} for note in notes if note["kind"] == "sample"
        ],
        "doctor": [
            {"step": note["step"], "text": note["text"]} for note in notes if note["kind"] == "doctor"
        ],
        "settings": run.config,
    }


def thinned(points: Sequence[tuple[int, float]]) -> list[list[float]]:
    """At most POINTS of them: the mean of each of as many equal parts."""
    if len(points) <= POINTS:
        return [[step, value] for step, value in points]
    size = len(points) / POINTS
    parts = [points[int(i * size) : int((i + 1) * size)] for i in range(POINTS)]
    return [[part[-1][0], statistics.fmean(value for _, value in part)] for part in parts if part]


# --- what is healthy ----------------------------------------------------------------------------------------------


def healthy(name: str, rows: Sequence[dict[str, Any]], run: Run) -> list[float] | None:
    """[low, high] of a healthy curve; None where nothing is known.

    PPO's are the doctor's limits in this run; its reward is healthy from its start to REWARD_RISE above that, but
    nothing is known of a reward function, whose unit is its own. A loss and a gradient norm are healthy within
    three median deviations of the last rows.
    """
    limits = DoctorLimits.model_validate((run.config or {}).get("doctor") or {})
    rule = _RULES.get(name)
    if rule is not None:
        return rule(rows, limits)
    recent = [row[name] for row in rows[-RECENT_ROWS:] if _number(row.get(name))]
    if name not in ("loss", "grad_norm") or len(recent) < 8:
        return None
    middle = statistics.median(recent)
    spread = statistics.median(abs(value - middle) for value in recent)
    return [middle - 3 * spread, middle + 3 * spread]


def _kl(rows: Sequence[dict[str, Any]], limits: DoctorLimits) -> list[float]:
    target = float(rows[-1].get("kl_target") or 0.0)
    return [0.0, min(limits.kl_max_nats, limits.kl_factor * target) if target > 0 else limits.kl_max_nats]


def _entropy(rows: Sequence[dict[str, Any]], limits: DoctorLimits) -> list[float] | None:
    start = _start(rows, "entropy")
    return None if start is None else [limits.entropy_factor * start, 1.5 * start]


def _length(rows: Sequence[dict[str, Any]], limits: DoctorLimits) -> list[float] | None:
    start = _start(rows, "length")
    return None if start is None else [0.0, limits.length_factor * start]


def _reward(rows: Sequence[dict[str, Any]], _: DoctorLimits) -> list[float] | None:
    """From where it began up to REWARD_RISE more; None for a reward function, whose unit is its own."""
    if "reward_function" in rows[-1]:
        return None
    start = _start(rows, "reward")
    return None if start is None else [start, start + REWARD_RISE]


_RULES: dict[str, Callable[[Sequence[dict[str, Any]], DoctorLimits], list[float] | None]] = {
    "reward": _reward,
    "kl": _kl,
    "entropy": _entropy,
    "length": _length,
    "ended_share": lambda _, limits: [limits.ended_share, 1.0],
}


def _start(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    first = [row[name] for row in rows[:3] if _number(row.get(name))]
    return statistics.fmean(first) if first else None


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- plans ----------------------------------------------------------------------------------------------------------


def _plan(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / "plan.json", PLAN_FORMAT) if (folder / "plan.json").is_file() else {}
    except ZigguratError:
        return {}


def _planned(plan: dict[str, Any]) -> dict[str, int]:
    """Steps of each stage of the plan."""
    work = plan.get("work") or {}
    known = {name: int(work.get(f"{name}_steps") or 0) for name in STAGES}
    return {name: steps for name, steps in known.items() if steps or name == "reward"} if work else {}


def _left(plan: dict[str, Any], stages: Sequence[StageView]) -> float | None:
    """Seconds to the end of the last stage: of the running one by its pace, of the others by what the plan costs."""
    running = [stage.left_s for stage in stages if stage.state == "running" and stage.left_s is not None]
    if not running:
        return None
    costs = plan.get("costs_s") or {}
    waiting = sum(
        float(costs.get(stage.name.rpartition("-")[0], 0.0)) for stage in stages if stage.state == "waiting"
    )
    return sum(running) + waiting


def _steps_of(run: Run) -> int | None:
    train = (run.config or {}).get("train")
    return train.get("steps") if isinstance(train, dict) else None


def _order(stage: StageView) -> tuple[int, int, str]:
    name, _, number = stage.name.rpartition("-")
    place = STAGES.index(name) if name in STAGES else len(STAGES)
    rounds = int(number) if number.isdecimal() else 0
    return (place if place < 2 else 2, rounds if place >= 2 else 0, f"{place}{stage.name}")


def _opened(path: Path) -> Run:
    return Run.open(path)


def _changed(path: Path) -> float:
    metrics = path / "metrics.jsonl"
    try:
        return (metrics if metrics.exists() else path).stat().st_mtime
    except OSError:
        return 0.0
