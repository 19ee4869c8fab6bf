"""Which function proves which part. Parts 3 to 5 share the town's first release."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from held_out import Sheet, TownHeldOut
from hostile import ARMS, hostile
from kills import kills
from lines import Line, Plan
from parts import TOWN_PROMPTS, real, town, town_line, town_plan
from spoiled import gates
from tastes import TownTaste


def hostile_part(options: argparse.Namespace) -> dict[str, Any]:
    taste = TownTaste(options.town)
    held = TownHeldOut(taste, options.held_out or TOWN_PROMPTS, watched=40)

    @contextmanager
    def opened(name: str, seed: int, plan: Plan) -> Iterator[Line]:
        with town_line(options, taste, name, seed, plan) as (line, _):
            yield line

    def sheet(name: str, line: Line) -> Sheet:
        return held.sheet(name, line.loop.model_of(line.steps[-1].turn))

    seeds = range(options.seed, options.seed + options.seeds)
    arms = ARMS[:3] if options.small else ARMS
    return {**hostile(seeds, opened, sheet, town_plan(options), arms), "plan": vars(options)}


def gate_part(options: argparse.Namespace) -> dict[str, Any]:
    taste, plan = TownTaste(options.town), town_plan(options)
    plan = replace(plan, build=("--set", "held_out_people=0.3"))
    with town_line(options, taste, f"gate-{options.seed}", options.seed, plan) as (line, _):
        line.people(["honest"] * plan.voters)
        line.vote(0)
        folder = line.loop.located(line.loop.build(*plan.build)["path"])
        learned, held_out = folder / "comparisons.jsonl", folder / "held-out-comparisons.jsonl"
        found = gates(line, records(learned), held_out)
    return {"candidates": found, "seed": options.seed, "plan": vars(options)}


def kills_part(options: argparse.Namespace) -> dict[str, Any]:
    """The votes of people as ever; then the server ends, and the commands are killed."""
    taste, plan = TownTaste(options.town), town_plan(options)
    with town_line(options, taste, f"kills-{options.seed}", options.seed, plan) as (line, _):
        line.people(["honest"] * plan.voters)
        line.vote(0)
        dataset = line.loop.build()
    method = "dpo" if options.small else "rlhf"  # one phase, or two: a reward model and PPO
    more = ["--method", method, "--trainable", plan.trainable, "--seed", str(options.seed), *plan.turn]
    return {**kills(line.loop, dataset, *more), "seed": options.seed}


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in file.read_text(encoding="utf-8").splitlines()]


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "town": town,
    "real": real,
    "hostile": hostile_part,
    "gate": gate_part,
    "kills": kills_part,
}
