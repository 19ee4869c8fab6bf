"""`--seeds N`: runs of consecutive seeds, their comparison, and what `--resume` does with them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ziggurat.cli.main import run
from ziggurat.stages import pretrain as stage1

SETS = ["model=tiny", "tokenizer=300", "context=16", "batch_tokens=64", "train.steps=2", "train.threads=1"]


def arguments(text: Path, *more: str) -> list[str]:
    sets = [part for item in SETS for part in ("--set", item)]
    return ["pretrain", "--data", str(text), *sets, *more]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("The canal was dug by hand. " * 100)
    return path


def seed(path: Path) -> int:
    return int(json.loads((path / "manifest.json").read_text())["seed"])


def written(path: Path) -> str:
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["finished_utc"]
    return str(manifest["finished_utc"]) + (path / "metrics.jsonl").read_text()


def test_seeds_repeat_a_stage_and_print_means_with_intervals_over_the_seeds(
    text: Path, ziggurat_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(text, "--seeds", "2", "--set", "train.seed=5")) == 0
    printed = capsys.readouterr()
    runs = [ziggurat_home / "runs" / "own" / f"pretrain-{n}" for n in (1, 2)]
    assert [seed(path) for path in runs] == [5, 6]
    assert len({(path / "model" / "model.safetensors").read_bytes() for path in runs}) == 2
    assert "own/pretrain-1 and 1 more seed" in " ".join(printed.out.split())
    assert re.search(r"loss +own/pretrain-1 .* [\d.]+ \[[\d.]+, [\d.]+\]", printed.out), printed.out
    assert "Seed 6, 2 of 2" in printed.err


@pytest.mark.parametrize("to_a_folder", [True, False])
def test_resumed_seeds_skip_finished_runs_and_go_on_with_the_others(
    text: Path,
    tmp_path: Path,
    ziggurat_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    to_a_folder: bool,
) -> None:
    """The second run is interrupted before its first step; the third has not begun."""
    where = ["--out", str(tmp_path / "out")] if to_a_folder else []
    names = ("seed-0", "seed-1", "seed-2") if to_a_folder else ("pretrain-1", "pretrain-2", "pretrain-3")
    folder = tmp_path / "out" if to_a_folder else ziggurat_home / "runs" / "own"
    first, second, third = (folder / name for name in names)
    finish = stage1.finish

    def interrupted(given: object, *rest: object, **named: object) -> None:
        if getattr(given, "path", None) == second:
            raise KeyboardInterrupt
        finish(given, *rest, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(stage1, "finish", interrupted)
        assert run(arguments(text, "--seeds", "3", *where)) == 130
    before = written(first)
    assert not third.exists()
    capsys.readouterr()
    again = ["pretrain", "--seeds", "3", "--resume", *where]
    assert run(again if to_a_folder else arguments(text, "--seeds", "3", "--resume")) == 0
    assert written(first) == before
    assert [seed(path) for path in (first, second, third)] == [0, 1, 2]
    assert written(second)
    assert written(third)
    printed = capsys.readouterr()
    assert "and 2 more seeds" in " ".join(printed.out.split())
    assert "Seed 0," not in printed.err


def test_seeds_that_cannot_be_resumed_are_one_sentence(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(text)) == 0  # own/pretrain-1, of seed 0
    capsys.readouterr()
    assert run(arguments(text, "--seeds", "2", "--resume", "--set", "train.seed=3")) == 2
    assert "No run of own/pretrain has the seed 3" in " ".join(capsys.readouterr().err.split())
    assert run(arguments(text, "--set", "train.seed=9")) == 0  # own/pretrain-2
    capsys.readouterr()
    assert run(arguments(text, "--seeds", "2", "--resume")) == 2
    assert "pretrain-2 is a run of the seed 9" in " ".join(capsys.readouterr().err.split())
    assert run(arguments(text, "--seeds", "1")) == 2


def test_a_dry_run_of_seeds_names_every_folder_and_writes_nothing(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(arguments(text, "--seeds", "3", "--out", str(out), "--dry-run")) == 0
    assert f"{out}/seed-0, {out}/seed-1, {out}/seed-2" in capsys.readouterr().out
    assert not out.exists()
