"""What serves before the first turn: an SFT model of the town, made once, or the embedded real model.

The town's is the ladder's own stages 1 and 2 with the recipe's settings and fewer steps (`--first`), so that a proof
needs minutes; it is kept in $ZIGGURAT_HOME/flywheel-proof and copied into the home of every arm. No comparison and no
honest pass beyond the demonstrations' 2 % has been taught yet: it invents what no text states.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ziggurat.home import ziggurat_home
from ziggurat.ladder.climb import Climb, write_plan
from ziggurat.ladder.plan import reference_work
from ziggurat.ladder.stages import gather, pretrain, sft
from ziggurat.places import models_home
from ziggurat.runs import Run
from ziggurat.town.world import TownWorld

PROOF = "flywheel-proof"
LADDER, STAGE_2 = "town", "sft-1"


def proof_folder() -> Path:
    return ziggurat_home() / PROOF


def arm_home(name: str, *, fresh: bool = True) -> Path:
    """An empty home of its own below $ZIGGURAT_HOME."""
    home = proof_folder() / name
    if fresh and home.exists():
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    return home


@contextmanager
def inside(home: Path) -> Iterator[None]:
    """What this process does goes to that home."""
    before = os.environ.get("ZIGGURAT_HOME")
    os.environ["ZIGGURAT_HOME"] = str(home)
    try:
        yield
    finally:
        if before is None:
            del os.environ["ZIGGURAT_HOME"]
        else:
            os.environ["ZIGGURAT_HOME"] = before


def town_sft(town: int, seed: int, pretrain_steps: int, sft_steps: int) -> Path:
    """The home that holds the town's SFT run; made where it is not there yet, gone on with where it was cut."""
    home = proof_folder() / f"town-{town}-seed-{seed}-{pretrain_steps}-{sft_steps}"
    folder = home / "runs" / LADDER
    with inside(home):
        if (folder / STAGE_2 / "report.json").is_file():
            return home
        world = TownWorld(town)
        recipe = world.recipe(0.0)
        layers = world.model_config(recipe).layers
        work = replace(reference_work(recipe, layers), pretrain_steps=pretrain_steps, sft_steps=sft_steps)
        climb = Climb(world=world, folder=folder, work=work, seed=seed, recipe=recipe)
        resume = (folder / "plan.json").is_file()
        write_plan(climb)
        made = gather(climb)
        pretrain(climb, made, resume)
        sft(climb, made, resume)
    return home


def seconds_of(home: Path) -> float:
    """What stages 1 and 2 took."""
    runs = [home / "runs" / LADDER / stage for stage in ("pretrain-1", STAGE_2)]
    return sum(float(Run.open(run).read_metrics()[-1]["elapsed_s"]) for run in runs)


def settle_town(home: Path, made: Path) -> str:
    """Copy the run and its parent into an arm's home; the name to serve."""
    shutil.copytree(made / "runs" / LADDER, home / "runs" / LADDER, dirs_exist_ok=True)
    return f"{LADDER}/{STAGE_2}"


def settle_real(home: Path, model: str = "smollm2") -> str:
    """Let an arm's home see the model of this one."""
    there = models_home() / model
    if not (there / "config.json").is_file():
        raise SystemExit(f"{there} is not there; fetch it with `ziggurat models get {model}`.")
    (home / "models").mkdir(parents=True, exist_ok=True)
    link = home / "models" / model
    if not link.exists():
        link.symlink_to(there.resolve(), target_is_directory=True)
    return model
