"""A tiny climb of each world, shared by the tests of a run; no speed is measured."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ziggurat.ladder import climb as climbing
from ziggurat.ladder import sizes
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.plan import Speeds, reference_work
from ziggurat.ladder.stages import climb_stages
from ziggurat.town.world import TownWorld, load_recipe

SPEEDS = Speeds(train_step_s=0.1, train_token_s=1e-4, forward_token_s=3e-5, completion_s=2e-3)
SMALL = {"layers": 2, "d_model": 64, "heads": 2, "kv_heads": 2, "d_head": 32, "d_ff": 128, "context": 256}


@pytest.fixture
def known_speeds(monkeypatch: pytest.MonkeyPatch) -> Speeds:
    """Plans are made for this machine instead of the one that runs the tests."""
    for module in (climbing, sizes):
        monkeypatch.setattr(module, "measure_speeds", lambda *_, **__: SPEEDS)
    return SPEEDS


def town_climb(folder: Path) -> Climb:
    recipe = copy.deepcopy(load_recipe())
    recipe |= {"model": SMALL, "demonstrations": 300}
    recipe["reward"] |= {"scale_samples": 8, "sample_tokens": 8, "train": {"lr_adam": 0.001}}
    recipe["ppo"] |= {"max_new_tokens": 8, "check_every_steps": 10}
    work = replace(
        reference_work(recipe, 2),
        pretrain_steps=8,
        sft_steps=4,
        prompts_to_rank=64,
        ppo_steps=1,
        rollouts_per_step=8,
    )
    return Climb(world=TownWorld(1), folder=folder, work=work, seed=3, recipe=recipe)


@pytest.fixture(scope="session")
def tiny_town(tmp_path_factory: pytest.TempPathFactory) -> Climb:
    """A finished climb of the town, too small to learn anything. A test that changes it puts the same bytes back."""
    os.environ.setdefault("ZIGGURAT_HOME", str(tmp_path_factory.mktemp("home")))
    climb = town_climb(tmp_path_factory.mktemp("climb") / "town")
    climbing.write_plan(climb)
    climb_stages(climb)
    return climb
