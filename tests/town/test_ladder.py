"""The whole ladder, thin and true: four stages, a round, the exam and the report, through the command a user types."""

import json
import shutil
from dataclasses import replace

import pytest

from ziggurat.cli.main import run
from ziggurat.errors import UsageError
from ziggurat.ladder.plan import SMALLEST, Speeds, Work, costs, fit, parse_budget
from ziggurat.places import runs_home
from ziggurat.town.climb import Climb, load_recipe, reference_work
from ziggurat.town.ladder import climb_stages
from ziggurat.town.people import build_town

REFERENCE = Work(3000, 500, 2, 1500, 4, 30, 256)
SPEEDS = Speeds(train_step_s=0.1, train_token_s=1e-4, forward_token_s=3e-5, completion_s=2e-3)


def test_budgets_are_read_with_their_unit():
    assert parse_budget("90s") == 90
    assert parse_budget("2m") == 120
    assert parse_budget("1.5h") == 5400
    for bad in ("10", "m", "-3m", "ten minutes"):
        with pytest.raises(UsageError, match="10m"):
            parse_budget(bad)


def test_a_plan_costs_what_its_budget_allows_and_a_longer_one_does_more():
    short, long = (fit(REFERENCE, SPEEDS, seconds) for seconds in (300, 900))
    assert 280 < sum(costs(short, SPEEDS).values()) <= 300
    assert 880 < sum(costs(long, SPEEDS).values()) <= 900
    assert long.pretrain_steps > short.pretrain_steps
    assert long.ppo_steps > short.ppo_steps


def test_a_policy_of_which_a_part_learns_costs_less():
    """By hand, of a conversation's tokens: all blocks 1.5 trained and 2 read; a sixth of them 0.67 and 1.17."""
    whole = Work(1, 1, 1, 1, 1, 10, 100, critic_body_learns=False)
    part = replace(whole, policy_share=1 / 6)
    saved = costs(whole, SPEEDS)["ppo"] - costs(part, SPEEDS)["ppo"]
    assert saved == pytest.approx(1000 * 2.7 * 34 * (5 / 6 * 1e-4 + 5 / 6 * 3e-5))


def test_no_budget_is_too_small_for_a_ladder():
    assert fit(REFERENCE, SPEEDS, 1.0) == fit(REFERENCE, SPEEDS, 2.0)
    assert fit(REFERENCE, SPEEDS, 1.0).pretrain_steps == SMALLEST.pretrain_steps


def test_dry_run_prints_the_plan_and_writes_nothing(capsys):
    assert run(["ladder", "--budget", "2m", "--dry-run"]) == 0
    assert "pretrain" in capsys.readouterr().err
    assert not (runs_home() / "town").exists()


def test_a_climb_that_was_interrupted_goes_on(tmp_path):
    """The same completions are ranked again, so what was begun with them is taken up and not refused."""
    recipe = load_recipe()
    work = replace(reference_work(recipe), pretrain_steps=8, sft_steps=4, prompts_to_rank=128, ppo_steps=1)

    def climb():
        small = replace(work, rollouts_per_step=8)
        return Climb(town=build_town(1), folder=tmp_path / "town", work=small, seed=3, recipe=recipe)

    first = climb()
    climb_stages(first)
    before = (first.folder / "data" / "comparisons-1.jsonl").read_bytes()
    shutil.rmtree(first.runs["ppo-1"])
    again = climb()
    climb_stages(again, resume=True)
    assert (first.folder / "data" / "comparisons-1.jsonl").read_bytes() == before
    assert (again.runs["ppo-1"] / "model" / "config.json").is_file()


@pytest.mark.timeout(900)
def test_the_ladder_climbs_all_four_stages_and_reports(capsys):
    """`ziggurat ladder --budget 2m`: every stage leaves its model, and each has learned what it is for.

    The bounds are far below what two minutes give, and far above an untrained model: base 8 bits per byte, a reward
    model 0.5, a sum 0.
    """
    assert run(["ladder", "--budget", "2m", "--no-serve", "--controls"]) == 0
    folder = runs_home() / "town"
    for stage in ("pretrain-1", "sft-1", "reward-1", "ppo-1"):
        assert (folder / stage / "model" / "config.json").is_file()
        assert (folder / stage / "report.html").is_file()
    report = json.loads((folder / "exam" / "report.json").read_text())
    assert report["bits_per_byte"]["base"] < 2.0
    assert report["exam"]["sft"]["all"]["language"]["value"] > 0.8
    assert report["exam"]["sft"]["all"]["improper_refused"]["value"] > 0.5
    assert report["reward_card"]["pairs"]["value"] > 0.6
    sft, longer, best = (report["exam"][name]["all"] for name in ("sft", "sft_longer", "best_of"))
    assert sft not in (longer, best), "the controls are other models"
    assert longer != best
    assert {"exam", "controls"} < report["seconds"].keys()
    assert {gate["stage"] for gate in report["gates"]} == {"base", "sft", "reward", "ppo"}
    html = (folder / "exam" / "report.html").read_text()
    assert "Asked at every stage" in html
    assert "<svg" in html
    printed = capsys.readouterr().out
    assert "The final exam" in printed
    assert "best of four" in printed
    assert "gates pass" in printed
    assert (
        run(["ladder", "--budget", "2m", "--no-serve"]) == 2
    )  # an earlier climb is never overwritten silently
