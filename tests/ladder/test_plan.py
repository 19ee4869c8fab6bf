"""From a budget to amounts of work."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ziggurat.errors import UsageError
from ziggurat.ladder.climb import Climb, shortfall
from ziggurat.ladder.plan import (
    SMALLEST,
    Lengths,
    Speeds,
    Work,
    costs,
    fit,
    measure_speeds,
    parse_budget,
    reference_work,
)
from ziggurat.model.config import ModelConfig
from ziggurat.town.world import TownWorld, load_recipe

REFERENCE = Work(3000, 500, 2, 1500, 4, 30, 256)
SPEEDS = Speeds(train_step_s=0.1, train_token_s=1e-4, forward_token_s=3e-5, completion_s=2e-3)


def test_budgets_are_read_with_their_unit() -> None:
    assert parse_budget("90s") == 90
    assert parse_budget("2m") == 120
    assert parse_budget("1.5h") == 5400
    for bad in ("10", "m", "-3m", "ten minutes"):
        with pytest.raises(UsageError, match="10m"):
            parse_budget(bad)


def test_a_plan_costs_what_its_budget_allows_and_a_longer_one_does_more() -> None:
    short, long = (fit(REFERENCE, SPEEDS, seconds) for seconds in (300, 900))
    assert 280 < sum(costs(short, SPEEDS).values()) <= 300
    assert 880 < sum(costs(long, SPEEDS).values()) <= 900
    assert long.pretrain_steps > short.pretrain_steps
    assert long.ppo_steps > short.ppo_steps


@pytest.mark.parametrize("context", [8, 48])
def test_speeds_are_measured_within_a_short_context(context: int) -> None:
    """A world with a context below 128 stopped with a ValueError of the model."""
    shape = {"layers": 1, "d_model": 16, "heads": 2, "kv_heads": 1, "d_head": 8, "d_ff": 24}
    speeds = measure_speeds(
        ModelConfig(vocab_size=64, context=context, **shape), step_tokens=96, seconds=0.01
    )
    assert all(seconds > 0 for seconds in asdict(speeds).values())


def test_a_policy_of_which_a_part_learns_costs_less() -> None:
    """By hand, of a conversation's tokens: all blocks 1.5 trained and 2 read; a sixth of them 0.67 and 1.17."""
    whole = Work(1, 1, 1, 1, 1, 10, 100, critic_body_learns=False)
    part = replace(whole, policy_share=1 / 6)
    saved = costs(whole, SPEEDS)["ppo"] - costs(part, SPEEDS)["ppo"]
    assert saved == pytest.approx(1000 * 2.7 * 34 * (5 / 6 * 1e-4 + 5 / 6 * 3e-5))


def test_costs_follow_a_worlds_lengths() -> None:
    """By hand: a conversation twice as long doubles the tokens of reward, an answer twice as long its sampling."""
    work = Work(1, 1, 1, 100, 4, 10, 100)
    once, twice = (costs(work, SPEEDS, lengths) for lengths in (Lengths(34, 14), Lengths(68, 28)))
    assert twice["sample"] - 1.0 == pytest.approx(2 * (once["sample"] - 1.0))
    assert twice["reward"] - 8.0 == pytest.approx(2 * (once["reward"] - 8.0))
    assert twice["ppo"] - 5.0 == pytest.approx(2 * (once["ppo"] - 5.0))
    assert twice["sft"] == once["sft"]


def test_a_stage_that_is_left_out_gives_its_time_to_the_others() -> None:
    whole, without = fit(REFERENCE, SPEEDS, 300), fit(REFERENCE, SPEEDS, 300, stages=("pretrain", "sft"))
    assert without.pretrain_steps > whole.pretrain_steps
    assert set(costs(without, SPEEDS, stages=("pretrain", "sft"))) == {"pretrain", "sft"}


def test_amounts_never_pass_the_most_that_is_sensible() -> None:
    assert fit(REFERENCE, SPEEDS, 1e9, most=1.0) == REFERENCE


def test_no_budget_is_too_small_for_a_ladder() -> None:
    assert fit(REFERENCE, SPEEDS, 1.0) == fit(REFERENCE, SPEEDS, 2.0)
    assert fit(REFERENCE, SPEEDS, 1.0).pretrain_steps == SMALLEST.pretrain_steps


def test_the_recipe_says_what_part_of_the_policy_learns() -> None:
    assert reference_work(load_recipe(), 6).policy_share == pytest.approx(2 / 6)
    assert reference_work({**load_recipe(), "ppo": {}, "reward": {}}, 6).policy_share == 1.0


def test_a_plan_of_less_than_half_the_recipe_is_said_with_the_time_that_all_of_it_takes() -> None:
    """`make demo` on a busy machine made models that know nothing, and no line of its plan said so."""
    world = TownWorld(1)
    recipe = world.recipe(540.0)
    whole = reference_work(recipe, world.model_config(recipe).layers)
    few = replace(whole, pretrain_steps=whole.pretrain_steps // 4, sft_steps=whole.sft_steps // 4)
    climb = Climb(world=world, folder=Path("c"), work=few, seed=0, recipe=recipe, speeds=SPEEDS)
    said = shortfall(climb)
    assert "25% of the recipe's steps" in said
    minutes = sum(costs(whole, SPEEDS, world.lengths).values()) // 60
    assert f"{minutes:.0f}m " in said
    assert shortfall(replace(climb, work=whole)) == ""
