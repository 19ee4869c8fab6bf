"""A climb of the town: its recipe, its plan, frozen before the first step, and what it has made so far.

`ladder.py` climbs the stages, `finals.py` holds the exam, `ladder_report.py` tells of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import yaml

from ziggurat.files import atomic_write_text
from ziggurat.ladder import climb as climbing
from ziggurat.ladder.plan import Speeds, Work, costs, fit, measure_speeds
from ziggurat.model.config import ModelConfig
from ziggurat.places import ladder_folder, make_room
from ziggurat.town.people import Town, build_town


def load_recipe() -> dict[str, Any]:
    """The town's settings (`recipe.yaml`)."""
    recipe: dict[str, Any] = yaml.safe_load(
        files("ziggurat.town").joinpath("recipe.yaml").read_text(encoding="utf-8")
    )
    return recipe


def reference_work(recipe: Mapping[str, Any]) -> Work:
    layers, policy = recipe["model"]["layers"], recipe["ppo"]["policy"].get("trainable", "all")
    last = int(policy.removeprefix("last:")) if policy.startswith("last:") else layers
    return Work(
        **recipe["work"],
        step_tokens=recipe["pretrain"]["batch_tokens"],
        reward_body_learns=recipe["reward"]["train"].get("trainable", "all") == "all",
        critic_body_learns=recipe["ppo"]["critic"].get("trainable", "all") == "all",
        policy_share=min(last, layers) / layers,
    )


def reference_cost() -> tuple[float, float]:
    """(seconds that the recipe's plan would take here, tokens trained per second in stage 1), measured now."""
    recipe = load_recipe()
    speeds = town_speeds(recipe)
    work = reference_work(recipe)
    return sum(costs(work, speeds).values()), work.step_tokens / speeds.train_step_s


def town_speeds(recipe: Mapping[str, Any]) -> Speeds:
    """What this machine does in a second, at the town's shape."""
    pretrain = recipe["pretrain"]
    return measure_speeds(
        model_config(recipe), step_tokens=pretrain["batch_tokens"], early_exit=pretrain["early_exit"]
    )


def model_config(recipe: Mapping[str, Any]) -> ModelConfig:
    return ModelConfig(**recipe["model"], vocab_size=recipe["vocabulary"])


@dataclass(kw_only=True)
class Climb(climbing.Climb):
    """A climb of one town."""

    town: Town


def begin(
    town_seed: int,
    budget_s: float,
    *,
    seed: int = 0,
    name: str = "town",
    fixed_plan: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    keep: bool = True,
) -> Climb:
    """The town and the plan, frozen in the ladder's folder (`keep`); nothing is trained.

    A resumed climb reads its plan back, so that what it does never depends on how fast the machine is today.
    """
    recipe = load_recipe()
    folder = ladder_folder(name)
    if resume:
        plan = climbing.frozen_plan(folder)
        return Climb(
            town=build_town(plan["town"]),
            folder=folder,
            work=Work(**plan["work"]),
            seed=plan["seed"],
            recipe=plan["recipe"],
        )
    if keep:
        make_room(folder, overwrite=overwrite)
    speeds = town_speeds(recipe)
    reference = reference_work(recipe)
    climb = Climb(
        town=build_town(town_seed),
        folder=folder,
        work=reference if fixed_plan else fit(reference, speeds, budget_s),
        seed=seed,
        recipe=recipe,
        speeds=speeds,
    )
    if keep:
        folder.mkdir(parents=True, exist_ok=True)
        plan = {
            "town": town_seed,
            "seed": seed,
            "work": asdict(climb.work),
            "speeds": asdict(speeds),
            "recipe": recipe,
        }
        atomic_write_text(folder / "plan.json", json.dumps(plan, indent=1))
    return climb


def describe_plan(climb: Climb) -> list[tuple[str, str, str]]:
    """(stage, what it does, about how long) of the plan, for people."""
    return climbing.describe_plan(climb, costs, "prompts x {} completions")
