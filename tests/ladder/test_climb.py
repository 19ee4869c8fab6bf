"""A climb: its files, its frozen plan, resuming it, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.ladder.conftest import town_climb

from ziggurat import memory
from ziggurat.cli.main import run
from ziggurat.errors import RunError
from ziggurat.files import sha256_file
from ziggurat.ladder import climb as climbing
from ziggurat.ladder.climb import Climb, begin, read_plan
from ziggurat.ladder.stages import climb_stages, gather, pretrain
from ziggurat.places import runs_home
from ziggurat.town.world import TownWorld, load_recipe

RECORDED = {
    "documents.jsonl": "0acbdef315fc3ecc54fd4e1fbb3a43295271aaf7d07f971f14241c426bbb578a",
    "held-out.jsonl": "ad21def8a6bc558cc48144e3a58581709da1d6792e2ba09dbf8c9852949ef5e9",
    "demonstrations.jsonl": "ff8264fefade2ddf0c22700c9f50bc6e78b618fb095aec6c8b011192906a0591",
}
"""SHA-256 of what town 1 writes for this plan; changes only with the town's content (last: first words)."""


def test_the_towns_data_files_are_those_of_before(tiny_town: Climb) -> None:
    found = {name: sha256_file(tiny_town.folder / "data" / name) for name in RECORDED}
    assert found == RECORDED


def test_every_stage_leaves_its_model_and_its_settings(tiny_town: Climb) -> None:
    assert list(tiny_town.runs) == ["pretrain", "sft", "reward-1", "ppo-1"]
    for path in tiny_town.runs.values():
        assert (path / "model" / "config.json").is_file()
        assert "seed: 3" in (path / "config.yaml").read_text()
    assert {"files", "pretrain", "sft", "sample", "reward", "ppo"} <= tiny_town.seconds.keys()
    assert tiny_town.card["labelling_ceiling"] > 0.8
    assert tiny_town.true_kinds


def test_a_climb_killed_between_two_stages_goes_on(tiny_town: Climb) -> None:
    """The same completions are ranked again, so the reward run is taken up; PPO ends with the same bytes."""
    weights = tiny_town.runs["ppo-1"] / "model" / "model.safetensors"
    comparisons = tiny_town.folder / "data" / "comparisons-1.jsonl"
    before = weights.read_bytes(), comparisons.read_bytes()
    shutil.rmtree(tiny_town.runs["ppo-1"])
    comparisons.unlink()
    climb_stages(town_climb(tiny_town.folder), resume=True)
    assert (weights.read_bytes(), comparisons.read_bytes()) == before


@pytest.mark.slow
def test_stage_1_is_resumed_after_the_home_was_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokenizer, a setting, was an absolute path: "begun with another configuration"."""
    old, new = tmp_path / "old", tmp_path / "new"
    monkeypatch.setenv("ZIGGURAT_HOME", str(old))
    climb = town_climb(old / "runs" / "town")
    made = gather(climb)
    pretrain(climb, made)
    old.rename(new)
    monkeypatch.setenv("ZIGGURAT_HOME", str(new))
    again = town_climb(new / "runs" / "town")
    pretrain(again, made, resume=True)
    assert again.runs["pretrain"] == new / "runs" / "town" / "pretrain-1"
    assert "$ZIGGURAT_HOME/runs/town/data/tokenizer" in (again.runs["pretrain"] / "config.yaml").read_text()


def test_a_plan_is_frozen_and_read_back(tiny_town: Climb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIGGURAT_HOME", str(tiny_town.folder.parent / "no-home"))
    monkeypatch.setattr(climbing, "ladder_folder", lambda _: tiny_town.folder)
    again = begin(TownWorld(1), 1.0, resume=True)
    assert (again.work, again.seed, again.recipe) == (tiny_town.work, 3, tiny_town.recipe)
    with pytest.raises(RunError, match="other data"):
        begin(TownWorld(2), 1.0, resume=True)


def test_plans_of_before_are_read(tmp_path: Path, tiny_town: Climb) -> None:
    """Version 1 of plan.json: the town's names the town, verse's the hash of the poems."""
    old = {"town": 7, "seed": 1, "work": asdict(tiny_town.work), "recipe": load_recipe(), "speeds": {}}
    (tmp_path / "plan.json").write_text(json.dumps(old))
    assert read_plan(tmp_path)["world"] == {
        "name": "town",
        "data": None,
        "town": 7,
        "base": None,
        "scaling": None,
    }
    assert read_plan(tmp_path)["fingerprint"] == TownWorld(7).fingerprint
    verse = {"data_sha256": "ab", "seed": 1, "work": {}, "recipe": {"temperature": 0.8, "ppo": {}}}
    (tmp_path / "plan.json").write_text(json.dumps(verse))
    assert read_plan(tmp_path)["world"]["name"] == "verse"
    assert read_plan(tmp_path)["recipe"]["ppo"] == {"temperature": 0.8}


def test_dry_run_prints_the_plan_and_writes_nothing(
    known_speeds: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ladder", "--budget", "2m", "--dry-run"]) == 0
    assert "pretrain" in capsys.readouterr().err
    assert not (runs_home() / "town").exists()


def test_nothing_to_resume_and_unknown_worlds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ladder", "--resume"]) == 2
    assert "no climb to resume" in capsys.readouterr().err
    assert run(["ladder", "--world", "atlantis"]) == 2
    assert "town, verse" in capsys.readouterr().err
    assert run(["ladder", "--base", "x"]) == 2
    assert '--base is not used by the world "town"' in capsys.readouterr().err


@pytest.mark.parametrize(("platform", "peak"), [("linux", 2048), ("darwin", 2)])
def test_peak_memory_is_in_bytes_on_every_system(
    platform: str, peak: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory.sys, "platform", platform)
    monkeypatch.setattr(memory.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=2))
    assert memory.peak_memory_bytes() == peak
