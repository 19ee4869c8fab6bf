"""One climb: its plan, frozen before the first step, its runs, and what they cost."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ziggurat.console import human_time
from ziggurat.dialogue.chat import Chat
from ziggurat.errors import RunError
from ziggurat.evaluation.statistics import Interval
from ziggurat.files import read_json, write_json
from ziggurat.ladder.plan import Speeds, Work, costs, fit, measure_speeds, reference_work
from ziggurat.ladder.watching import PLAN_FORMAT
from ziggurat.ladder.world import Options, World, left_out, stages_of
from ziggurat.memory import give_back_freed_memory, peak_memory_bytes
from ziggurat.places import ladder_folder, make_room
from ziggurat.records import Comparison

SAMPLES = 12
"""Examples of what the model writes that a stage shows, from its start to its end."""


@dataclass(kw_only=True)
class Climb:
    """The plan of a climb and what it has made so far."""

    world: World
    folder: Path
    work: Work
    seed: int
    recipe: dict[str, Any]
    speeds: Speeds | None = None
    """Measured where the plan was made; None in a resumed climb."""
    runs: dict[str, Path] = field(default_factory=dict)
    """pretrain, sft, reward-1, ppo-1, reward-2, ..."""
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    """Peak memory of this process in bytes, at the end of each stage."""
    learned: list[Comparison] = field(default_factory=list)
    """Comparisons of all rounds so far, without those of the report card."""
    judged: list[Comparison] = field(default_factory=list)
    """Comparisons of the last report card."""
    card: dict[str, Any] = field(default_factory=dict)
    """The last reward model's report card; empty without a reward model."""
    true_kinds: dict[str, Interval] = field(default_factory=dict)
    """The last reward model's accuracy against the noise-free taste, by kind of pair."""

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Adds the seconds inside to the stage's, and notes the peak memory."""
        started = time.perf_counter()
        yield
        gc.collect()
        give_back_freed_memory()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
        self.peaks[stage] = peak_memory_bytes()

    @property
    def start(self) -> str | Path:
        """The model before stage 2: stage 1's, else the base. Raises RunError where there is neither."""
        found = self.runs.get("pretrain") or self.world.options.base
        if found is None:
            raise RunError(f"{self.folder} has no stage-1 model yet; climb stage 1 first.")
        return found

    @property
    def answering(self) -> str | Path:
        """The model after stage 2, from which reward models start and to which KL is measured."""
        return self.runs.get("sft") or self.start

    @property
    def policy(self) -> str | Path:
        """The newest model that answers."""
        return next((self.runs[n] for n in reversed(list(self.runs)) if n.startswith("ppo")), self.answering)

    def examined(self) -> Iterator[tuple[str, Chat]]:
        """The models that sit the exam, each loaded in its turn: `base`, `sft` and `ppo`."""
        for name, run in (("base", self.start), ("sft", self.answering), ("ppo", self.policy)):
            yield name, Chat.load(run)

    def settings(self, stage: str, steps: int | None = None, **more: Any) -> tuple[str, dict[str, Any]]:
        """The recipe's layer of a stage of steps, with their planned number and the seed."""
        layer = {**self.recipe[stage], **more}
        train = {
            **layer.get("train", {}),
            "seed": self.seed,
            "checkpoint_every_steps": max(200, (steps or 0) // 3),
            "sample_every_steps": max(1, (steps or 0) // SAMPLES),
        }
        if steps is not None:
            train |= {"steps": steps, "warmup_steps": min(train.get("warmup_steps", 0), steps // 4)}
        return "recipe", {**layer, "train": train}

    def ppo_settings(self) -> tuple[str, dict[str, Any]]:
        """The recipe's layer of stage 4, with the planned amounts and the seed."""
        layer, steps = self.recipe["ppo"], self.work.ppo_steps
        train = {**layer.get("train", {}), "steps": steps, "seed": self.seed}
        train["warmup_steps"] = min(train.get("warmup_steps", 0), steps)
        train["sample_every_steps"] = max(1, steps // SAMPLES)
        return "recipe", {**layer, "rollouts_per_step": self.work.rollouts_per_step, "train": train}


def begin(
    world: World,
    budget_s: float,
    *,
    seed: int = 0,
    name: str | None = None,
    fixed_plan: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    keep: bool = True,
) -> Climb:
    """Make the plan and freeze it in the climb's folder (`keep`), or read it back (`resume`). Nothing is trained.

    `fixed_plan`: the recipe's amounts, whatever this machine's speed. Raises RunError where the folder is taken, or
    where there is nothing to resume, or other data than at the start.
    """
    folder = ladder_folder(world.name if name is None else name)
    if resume:
        return _continue(world, folder)
    if keep:
        make_room(folder, overwrite=overwrite)
    started = time.perf_counter()
    world.check()
    stages = stages_of(world)
    reading_s = time.perf_counter() - started
    recipe = world.recipe(budget_s)
    config = world.model_config(recipe)
    speeds = measure_speeds(config, step_tokens=recipe["pretrain"]["batch_tokens"])
    work = reference_work(recipe, config.layers)
    if not fixed_plan:
        left_s = max(1.0, budget_s - world.reserved_s)
        work = fit(
            work,
            speeds,
            left_s,
            lengths=world.lengths,
            stages=stages,
            smallest=world.smallest,
            most=world.most,
        )
    climb = Climb(world=world, folder=folder, work=work, seed=seed, recipe=recipe, speeds=speeds)
    climb.seconds["files"] = reading_s
    if keep:
        write_plan(climb)
    return climb


def write_plan(climb: Climb) -> None:
    """Freeze the plan in plan.json."""
    plan = {
        "world": asdict(climb.world.options),
        "fingerprint": climb.world.fingerprint,
        "seed": climb.seed,
        "work": asdict(climb.work),
        "speeds": asdict(climb.speeds) if climb.speeds else None,
        "recipe": climb.recipe,
        "costs_s": costs(climb.work, climb.speeds, climb.world.lengths, stages_of(climb.world))
        if climb.speeds
        else None,
    }
    climb.folder.mkdir(parents=True, exist_ok=True)
    write_json(climb.folder / "plan.json", plan, PLAN_FORMAT)


def read_plan(folder: Path) -> dict[str, Any]:
    """The frozen plan of a climb, of any version. Raises RunError where there is none."""
    plan_file = folder / "plan.json"
    plan = read_json(plan_file, PLAN_FORMAT) if plan_file.is_file() else {}
    if "town" in plan:  # version 1, of the town
        options = Options("town", town=plan["town"])
        plan |= {"world": asdict(options), "fingerprint": f"town {plan['town']}"}
    elif "data_sha256" in plan:  # version 1, of verse
        plan |= {"world": asdict(Options("verse")), "fingerprint": plan["data_sha256"]}
        plan["recipe"]["ppo"] = {"temperature": plan["recipe"]["temperature"], **plan["recipe"]["ppo"]}
    if "world" not in plan:
        raise RunError(f"{folder} has no climb to resume; start one without --resume.")
    return plan


def _continue(world: World, folder: Path) -> Climb:
    plan = read_plan(folder)
    if plan["fingerprint"] != world.fingerprint:
        raise RunError(
            f"{folder} was begun with other data than {world.name} has now; resume with the same data."
        )
    world.check()
    return Climb(
        world=world, folder=folder, work=Work(**plan["work"]), seed=plan["seed"], recipe=plan["recipe"]
    )


def describe_plan(climb: Climb) -> list[tuple[str, str, str]]:
    """(stage, what it does or why it is left out, about how long) of the plan, for people."""
    work, world = climb.work, climb.world
    missing, stages = left_out(world), stages_of(world)
    cost = costs(work, climb.speeds, world.lengths, stages) if climb.speeds else {}
    amounts = {
        "pretrain": f"{work.pretrain_steps:,} steps of {work.step_tokens:,} tokens",
        "sft": f"{work.sft_steps:,} steps of {work.step_tokens:,} tokens",
        "sample": f"{work.rounds} x {work.prompts_to_rank:,} prompts x {work.completions} completions",
        "reward": f"{work.rounds} x all comparisons",
        "ppo": f"{work.rounds} x {work.ppo_steps} steps of {work.rollouts_per_step} rollouts",
    }
    return [
        (
            stage,
            f"left out: {missing[stage]}" if stage in missing else what,
            human_time(cost[stage]) if stage in cost else "",
        )
        for stage, what in amounts.items()
    ]


def shortfall(climb: Climb) -> str:
    """One sentence where the plan does less than half of the recipe's steps on this machine; else ""."""
    recipe, world = climb.recipe, climb.world
    whole, stages = reference_work(recipe, world.model_config(recipe).layers), stages_of(world)

    def steps(work: Work) -> int:
        return work.pretrain_steps * ("pretrain" in stages) + work.sft_steps * ("sft" in stages)

    if not climb.speeds or steps(climb.work) >= steps(whole) / 2:
        return ""
    whole_s = sum(costs(whole, climb.speeds, world.lengths, stages).values()) + world.reserved_s
    return (
        f"This plan does {steps(climb.work) / steps(whole):.0%} of the recipe's steps, because this machine, as busy "
        f"as it is now, needs about {human_time(whole_s)} for all of them. The models will know little: give it that "
        f"time with --fixed-plan."
    )
