"""The town's ladder through the command a user types: four stages, the exam, the controls, the report."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ziggurat.cli.main import run
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.held_out import examine
from ziggurat.ladder.report import write_report
from ziggurat.places import runs_home
from ziggurat.town import controls, finals
from ziggurat.town.exam import Item, write_exam, write_first_words
from ziggurat.town.people import Town
from ziggurat.town.world import TownWorld, load_recipe

SMALLER = {"layers": 4, "d_model": 128, "heads": 4, "kv_heads": 4, "d_head": 32, "d_ff": 384, "context": 256}
STEP_TOKENS, DOCUMENTS = 768, 14
SFT = {"batch_tokens": STEP_TOKENS, "text_share": 0.1}
"""More of a step is demonstrations, and the peak rates are 2.5 times the recipe's: a small model learns from few."""


def shorter_recipe(*_: object) -> dict[str, Any]:
    """The town's, for a model and steps that one thread gets through."""
    recipe = load_recipe()
    rates = {name: 2.5 * recipe["sft"]["train"][name] for name in ("lr_matrix", "lr_adam")}
    return {
        **recipe,
        "model": SMALLER,
        "documents_per_step": DOCUMENTS,
        "pretrain": {**recipe["pretrain"], "batch_tokens": STEP_TOKENS},
        "sft": {**recipe["sft"], **SFT, "train": {**recipe["sft"]["train"], **rates}},
    }


def shorten_exam(monkeypatch: pytest.MonkeyPatch, items: int) -> None:
    """The final exam has so many items of each section and language."""

    def some(every: list[Item]) -> list[Item]:
        found: dict[tuple[str, str], list[Item]] = {}
        for item in every:
            found.setdefault((item.section, item.question.language), []).append(item)
        return [item for group in found.values() for item in group[:items]]

    def few(town: Town) -> list[Item]:
        return some(write_exam(town))

    def few_first_words(town: Town) -> list[Item]:
        return some(write_first_words(town))

    monkeypatch.setattr(finals, "write_exam", few)
    monkeypatch.setattr(finals, "write_first_words", few_first_words)


def test_the_exam_and_its_controls_are_reported(tiny_town: Climb, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four items of each section and language; every target is there, whatever it says of a model so small."""
    shorten_exam(monkeypatch, 4)
    monkeypatch.setattr(finals, "BITS_DOCUMENTS", 4)
    monkeypatch.setattr(controls, "TEXT_DOCUMENTS", 40)
    exam = examine(tiny_town)
    report = write_report(tiny_town, exam)
    first = [t for t in report["targets"] if t["name"].startswith("first words: ")]
    assert (len(report["targets"]), len(first)) == (80, 34)
    written = json.loads((tiny_town.folder / "exam" / "report.json").read_text())
    assert written["format_version"] == 2
    assert report["summary"].startswith(f"{sum(t['passed'] for t in report['targets'])} of 80 targets met")
    report = write_report(tiny_town, tiny_town.world.controls(tiny_town, exam))
    assert {"base_bare", "base_dialogue", "sft", "ppo", "sft_longer", "best_of"} == set(report["exam"])
    assert {"exam", "controls"} < report["seconds"].keys()
    folder = tiny_town.folder
    rows = [json.loads(row) for row in (folder / "exam" / "answers.jsonl").read_text().splitlines()]
    assert {"id", "model", "question", "answer", "verdict"} == set(rows[0])
    page = (folder / "exam" / "report.html").read_text()
    for part in ("The final exam (zh)", "Targets", "Asked at every stage", "Risk and coverage", "<svg"):
        assert part in page
    examples = json.loads((folder / "examples.json").read_text())
    assert {row["lang"] for row in examples} == {"en", "zh"}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_ladder_climbs_all_four_stages_and_reports(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ziggurat ladder --budget 2m`: every stage leaves its model, and each has learned what it is for.

    The bounds are far below what two minutes give, and far above an untrained model: base 8 bits per byte, a reward
    model 0.5, a sum 0. With the recipe's model and the whole exam one thread needed 700 s; so the model and its steps
    are smaller here, and 24 items of each section and language are asked.
    """
    monkeypatch.setattr(TownWorld, "recipe", shorter_recipe)
    shorten_exam(monkeypatch, 24)
    assert run(["ladder", "--budget", "2m", "--no-serve"]) == 0
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
    assert {target["stage"] for target in report["targets"]} == {"base", "sft", "reward", "ppo"}
    assert {row["lang"] for row in json.loads((folder / "examples.json").read_text())} == {"en", "zh"}
    html = (folder / "exam" / "report.html").read_text()
    assert "Asked at every stage" in html
    assert "<svg" in html
    printed = capsys.readouterr().out
    assert "The final exam" in printed
    assert "targets met" in printed
    # an earlier climb is never overwritten silently
    assert run(["ladder", "--budget", "2m", "--no-serve"]) == 2
