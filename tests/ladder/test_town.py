"""The town's ladder through the command a user types: four stages, the exam, the controls, the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ziggurat.cli.main import run
from ziggurat.places import runs_home
from ziggurat.runs import Run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_ladder_climbs_all_four_stages_and_reports(capsys: pytest.CaptureFixture[str]) -> None:
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
    assert report["format_version"] == 2
    assert report["bits_per_byte"]["base"] < 2.0
    assert report["exam"]["sft"]["all"]["language"]["value"] > 0.8
    assert report["exam"]["sft"]["all"]["improper_refused"]["value"] > 0.5
    assert report["reward_card"]["pairs"]["value"] > 0.6
    sft, longer, best = (report["exam"][name]["all"] for name in ("sft", "sft_longer", "best_of"))
    assert sft not in (longer, best), "the controls are other models"
    control = Run.open(folder / "control-sft-1")
    assert Path(control.manifest["parent"]["path"]).is_relative_to((folder / "sft-1").resolve())
    ppo_row, sft_row = (Run.open(folder / name).read_metrics()[-1] for name in ("ppo-1", "sft-1"))
    paid = ppo_row["elapsed_s"] * sft_row["step"] / sft_row["elapsed_s"]
    assert control.read_metrics()[-1]["step"] == max(1, round(paid)), "as many steps as PPO's time pays for"
    assert {"exam", "controls"} < report["seconds"].keys()
    assert {target["stage"] for target in report["targets"]} == {"base", "sft", "reward", "ppo"}
    assert {row["lang"] for row in json.loads((folder / "examples.json").read_text())} == {"en", "zh"}
    html = (folder / "exam" / "report.html").read_text()
    assert "Asked at every stage" in html
    assert "<svg" in html
    printed = capsys.readouterr().out
    assert "The final exam" in printed
    assert "best of four" in printed
    assert "targets met" in printed
    # an earlier climb is never overwritten silently
    assert run(["ladder", "--budget", "2m", "--no-serve"]) == 2
