"""What `town_stage.py` and `verse_stage.py` share: a climb of chosen stages, from the runs of a kept climb."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ziggurat.ladder import stages as ladder
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.plan import reference_work
from ziggurat.ladder.world import World
from ziggurat.places import ladder_folder, make_room
from ziggurat.settings import flatten, parse_sets

STAGES = ("pretrain", "sft", "reward", "ppo")


def arguments(description: str, climb: str) -> argparse.ArgumentParser:
    """The options of both; `climb`: the kept climb by default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--climb", default=climb, help="the kept climb that earlier stages are taken from")
    parser.add_argument("--name", default="trial", help="where this trial's runs go")
    parser.add_argument("--overwrite", action="store_true", help="remove an earlier trial of that name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="dotted, of recipe.yaml"
    )
    return parser


def begin(world: World, options: argparse.Namespace) -> Climb:
    """The trial's climb with the recipe's amounts; its earlier stages are those of the kept climb."""
    recipe = world.recipe(0.0)
    for key, value in flatten(parse_sets(options.set)).items():
        change(recipe, key, value)
    kept, folder = ladder_folder(options.climb), ladder_folder(options.name)
    if "pretrain" not in options.stages and not kept.is_dir():
        raise SystemExit(
            f"{kept} holds no climb to take earlier stages from; climb one or name it with --climb."
        )
    make_room(folder, overwrite=options.overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps({"stages": options.stages, "set": options.set}))
    work = reference_work(recipe, world.model_config(recipe).layers)
    climb = Climb(world=world, folder=folder, work=work, seed=options.seed, recipe=recipe)
    for stage in STAGES[: max(map(STAGES.index, options.stages))]:
        if stage not in options.stages and (run := kept / f"{stage}-1").exists():
            climb.runs["reward-1" if stage == "reward" else stage] = run
    return climb


def change(recipe: dict[str, Any], key: str, value: Any) -> None:
    """work.ppo_steps, 60"""
    *path, last = key.split(".")
    for part in path:
        recipe = recipe.setdefault(part, {})
    recipe[last] = value


def learn(climb: Climb, stages: list[str], made: ladder.Material) -> None:
    """Those of stages 1 to 3 that are tried."""
    if "pretrain" in stages:
        ladder.pretrain(climb, made)
    if "sft" in stages:
        ladder.sft(climb, made)
    if "reward" in stages:
        ladder.reward(climb, 1, ladder.rank(climb, 1), made)
