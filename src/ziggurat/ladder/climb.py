"""A climb of all four stages: what the town's ladder and the poet's both keep of themselves, and do alike.

The stages themselves are in `pretrain.py`, `sft.py`, `reward.py` and `ppo.py`; what a climb feeds them, and how it is
examined, is `town/` and `verse/`.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ziggurat.console import human_time
from ziggurat.errors import RunError
from ziggurat.evaluation.plots import Series, line_plot
from ziggurat.evaluation.report import Table
from ziggurat.evaluation.statistics import Interval
from ziggurat.files import read_json
from ziggurat.ladder.plan import Speeds, Work
from ziggurat.memory import give_back_freed_memory
from ziggurat.model.hub import load_model
from ziggurat.model.transformer import Transformer
from ziggurat.places import model_folder
from ziggurat.records import Comparison
from ziggurat.runs import Run
from ziggurat.stages.comparison_batches import render_comparisons
from ziggurat.stages.judge import Judge
from ziggurat.stages.report_card import score_comparisons
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.precision import choose_dtype

PLAN_FORMAT = 1
"""Version of plan.json."""


@dataclass(kw_only=True)
class Climb:
    """What a climb has made so far."""

    folder: Path
    work: Work
    seed: int
    recipe: dict[str, Any]
    speeds: Speeds | None = None
    """Measured where the plan was made; a resumed climb has none."""
    runs: dict[str, Path] = field(default_factory=dict)
    """pretrain, sft, reward-1, ppo-1, reward-2, ..."""
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    """Bytes of memory: the most that was held up to the end of the stage, where it ran in this process."""
    learned: list[Comparison] = field(default_factory=list)
    """Comparisons of all rounds so far, those of the report card left out."""
    card: dict[str, Any] = field(default_factory=dict)
    true_kinds: dict[str, Interval] = field(default_factory=dict)
    """The last reward model's accuracy against the noise-free taste, by kind of pair."""

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Adds the seconds inside to the stage's, and notes the memory."""
        started = time.perf_counter()
        yield
        gc.collect()
        give_back_freed_memory()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
        self.peaks[stage] = self.peak_memory_bytes

    @property
    def policy(self) -> Path:
        """The newest model that answers."""
        return next(self.runs[name] for name in reversed(list(self.runs)) if name.startswith(("ppo", "sft")))

    @property
    def peak_memory_bytes(self) -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def settings(self, stage: str, steps: int | None = None, **more: Any) -> tuple[str, dict[str, Any]]:
        """The recipe's layer of a stage of steps, with their planned number and the seed."""
        layer = {**self.recipe[stage], **more}
        train = {
            **layer.get("train", {}),
            "seed": self.seed,
            "checkpoint_every_steps": max(200, (steps or 0) // 3),
        }
        if steps is not None:
            train |= {"steps": steps, "warmup_steps": min(train.get("warmup_steps", 0), steps // 4)}
        return "recipe", {**layer, "train": train}

    def ppo_settings(self) -> tuple[str, dict[str, Any]]:
        """The recipe's layer of stage 4, with the planned amounts and the seed."""
        layer, steps = self.recipe["ppo"], self.work.ppo_steps
        train = {**layer.get("train", {}), "steps": steps, "seed": self.seed}
        train["warmup_steps"] = min(train.get("warmup_steps", 0), steps)
        return "recipe", {**layer, "rollouts_per_step": self.work.rollouts_per_step, "train": train}


def frozen_plan(folder: Path) -> dict[str, Any]:
    """The plan of a climb that is to be resumed."""
    plan_file = folder / "plan.json"
    if not plan_file.is_file():
        raise RunError(f"{folder} has no climb to resume; start one without --resume.")
    return read_json(plan_file, PLAN_FORMAT)


def describe_plan(
    climb: Climb, costs: Callable[[Work, Speeds], dict[str, float]], sampled: str
) -> list[tuple[str, str, str]]:
    """(stage, what it does, about how long) of the plan, for people. `sampled`: "prompts x {} completions"."""
    work = climb.work
    cost = costs(work, climb.speeds) if climb.speeds else {}
    amounts = {
        "pretrain": f"{work.pretrain_steps:,} steps of {work.step_tokens:,} tokens",
        "sft": f"{work.sft_steps:,} steps of {work.step_tokens:,} tokens",
        "sample": f"{work.rounds} x {work.prompts_to_rank:,} {sampled.format(work.completions)}",
        "reward": f"{work.rounds} x all comparisons",
        "ppo": f"{work.rounds} x {work.ppo_steps} steps of {work.rollouts_per_step} rollouts",
    }
    return [
        (stage, what, human_time(cost[stage]) if stage in cost else "") for stage, what in amounts.items()
    ]


def cost_table(climb: Climb, *, beside: Sequence[str] = ()) -> Table:
    """Time and memory by stage. `beside`: what the clock was kept on that is no part of the climb itself."""
    gibibytes = {stage: f"{peak / 2**30:.2f} GiB" for stage, peak in climb.peaks.items()}
    rows = [[stage, human_time(s), gibibytes.get(stage, "–")] for stage, s in climb.seconds.items()]
    total = sum(s for stage, s in climb.seconds.items() if stage not in beside)
    rows += [
        ["four stages with rounds and files" if beside else "all told", human_time(total), ""],
        ["peak memory", "", f"{climb.peak_memory_bytes / 2**30:.2f} GiB"],
    ]
    return Table("What it cost", ["", "time", "memory, the most so far"], rows)


def stage_plots(climb: Climb) -> list[str]:
    """The curves of every stage, as SVG."""
    plots = []
    for name, path in climb.runs.items():
        rows = Run.open(path).read_metrics()
        for key in ("loss", "reward", "kl", "gold"):
            points = [(r["step"], r[key]) for r in rows if isinstance(r.get(key), int | float)]
            if points:
                line = Series(key, [float(x) for x, _ in points], [float(y) for _, y in points])
                plots.append(line_plot([line], title=f"{name}: {key}"))
    return plots


@dataclass(frozen=True)
class Policy:
    """A run's model, ready to answer."""

    model: Transformer
    tokenizer: Tokenizer
    template: ChatTemplate


def load_policy(run: Path) -> Policy:
    folder = model_folder(run)
    tokenizer = Tokenizer.load(folder)
    return Policy(load_model(folder, dtype=choose_dtype("auto")[0]), tokenizer, ChatTemplate(tokenizer))


def score_held_out(run: Path, held: Sequence[Comparison]) -> list[list[float]]:
    """A reward model's scores of every completion, by comparison."""
    judge = Judge.load(run)
    scored = render_comparisons(held, judge.template, judge.context)
    return score_comparisons(judge.model, scored, judge.tokenizer.pad_id)
