"""`ziggurat runs compare`, entered by the command line."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from ziggurat.cli.main import run as ziggurat
from ziggurat.runs import Run


def made(
    home: Path, name: str, *, seed: int = 0, lr: float = 0.1, loss: float = 1.0, report: Any = None
) -> None:
    """A run of 40 steps whose loss falls to `loss`, with noise of the seed."""
    chance = random.Random(seed)
    config = f"lr: {lr}\ntrain:\n  seed: {seed}\n"
    with Run.create(
        home / "runs" / "own" / name, stage="sft", config_yaml=config, manifest={"seed": seed, "data": []}
    ) as run:
        for step in range(1, 41):
            noise = chance.gauss(0, 0.01)
            run.log_metrics({"step": step, "loss": loss + 1 / step + noise, "extra": step})
        run.finish(report or {})


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert ziggurat(["runs", "compare", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_two_runs_differ_by_their_paired_steps(
    ziggurat_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have the same noise at each step, so only pairing gives the exact difference of 0.5 without any width."""
    made(ziggurat_home, "sft-1", lr=0.1, loss=1.0)
    made(ziggurat_home, "sft-2", lr=0.2, loss=1.5)
    found = compared(capsys, "own/sft-1", "own/sft-2")
    assert found["settings"] == {"lr": {"own/sft-1": 0.1, "own/sft-2": 0.2}}
    change = found["groups"][1]["curves"]["loss"]["minus_first"]
    assert (change["value"], change["low"], change["high"]) == pytest.approx((0.5, 0.5, 0.5), abs=1e-9)
    assert change["n"] == 20
    found = compared(capsys, "own/sft-1", "own/sft-2", "--last", "5", "--field", "extra")
    assert found["groups"][0]["curves"].keys() == {"extra"}
    assert found["groups"][0]["curves"]["extra"]["mean_of_last_rows"]["value"] == 38  # of 36 to 40


def test_runs_that_differ_only_in_their_seed_are_one_group_with_an_interval_over_seeds(
    ziggurat_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: final losses 1.0, 1.1 and 1.2 have mean 1.1 (with 1/step added) and t(2) s / sqrt(3) = 0.2484."""
    for number in (1, 2, 3):
        made(ziggurat_home, f"sft-{number}", seed=number, loss=0.9 + number / 10)
        made(ziggurat_home, f"dpo-{number}", seed=number, lr=0.3, loss=0.4 + number / 10)
    names = [f"own/{stage}-{number}" for stage in ("sft", "dpo") for number in (1, 2, 3)]
    found = compared(capsys, *names)
    assert [len(group["runs"]) for group in found["groups"]] == [3, 3]
    figure = found["groups"][0]["curves"]["loss"]["mean_of_last_rows"]
    over_steps = math.fsum(1 / step for step in range(21, 41)) / 20
    assert figure["value"] == pytest.approx(1.1 + over_steps, abs=0.01)
    assert figure["high"] - figure["value"] == pytest.approx(0.2484, abs=0.02)
    change = found["groups"][1]["curves"]["loss"]["minus_first"]
    assert change["n"] == 3
    assert change["value"] == pytest.approx(-0.5, abs=1e-9), "seeds are paired, so their noise cancels"


def test_one_common_step_gives_a_difference_without_an_interval(
    ziggurat_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, loss in (("sft-1", 1.0), ("sft-2", 1.5)):
        path = ziggurat_home / "runs" / "own" / name
        with Run.create(path, stage="sft", config_yaml=f"lr: {loss}\n", manifest={"data": []}) as run:
            run.log_metrics({"step": 1, "loss": loss})
    change = compared(capsys, "own/sft-1", "own/sft-2")["groups"][1]["curves"]["loss"]["minus_first"]
    assert change == {"value": 0.5, "low": None, "high": None, "n": 1, "clusters": 1}


def test_figures_of_reports_stand_side_by_side(
    ziggurat_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy = {"value": 0.75, "low": 0.7, "high": 0.8, "n": 100, "clusters": 50}
    made(ziggurat_home, "sft-1", report={"numbers": {"loss": 1.25}, "card": {"pairs": accuracy}})
    made(ziggurat_home, "sft-2", lr=0.2, report={"numbers": {"loss": 1.5}})
    assert ziggurat(["runs", "compare", "own/sft-1", "own/sft-2"]) == 0
    printed = capsys.readouterr().out
    assert "0.75 [0.7, 0.8]" in printed
    assert "1.25" in printed
    assert "█" in printed, "the curve in one line"
    figures = compared(capsys, "own/sft-1", "own/sft-2")["figures"]
    assert figures["numbers.loss"] == {"own/sft-1": 1.25, "own/sft-2": 1.5}
    assert figures["card.pairs"]["own/sft-2"] is None


def test_the_page_draws_every_curve_of_every_run(ziggurat_home: Path, tmp_path: Path) -> None:
    made(ziggurat_home, "sft-1")
    made(ziggurat_home, "sft-2", lr=0.2)
    page = tmp_path / "compare.html"
    assert ziggurat(["runs", "compare", "own/sft-1", "own/sft-2", "--html", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("<polyline") == 4, "two runs, two curves"
    assert "own/sft-2: last" in html


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["own/sft-1"], "at least two different runs"),
        (["own/sft-1", "own/sft-1"], "at least two different runs"),
        (["own/sft-1", "own/sft-2", "--field", "los"], 'no metric|has a metric "los".*Did you mean "loss"'),
        (["own/sft-1", "own/sft-3"], "no run or folder"),
    ],
)
def test_what_cannot_be_compared_is_answered_in_one_sentence(
    ziggurat_home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    import re

    made(ziggurat_home, "sft-1")
    made(ziggurat_home, "sft-2", lr=0.2)
    assert ziggurat(["runs", "compare", *arguments]) == 2
    assert re.search(sentence, capsys.readouterr().err)
