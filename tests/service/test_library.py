"""From names to models: ladders by name, cards from folders, example questions from files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ziggurat.errors import DataError
from ziggurat.service import library


def make_run(home: Path, name: str, *, finished: bool = True) -> Path:
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"stage": name.split("/")[1].rpartition("-")[0]}))
    if finished:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
    return folder


def test_a_ladder_stands_for_its_latest_finished_stages_bottom_first(ziggurat_home: Path) -> None:
    for name in ("town/ppo-1", "town/ppo-2", "town/reward-1", "town/sft-1", "town/pretrain-1"):
        make_run(ziggurat_home, name)
    make_run(ziggurat_home, "town/ppo-3", finished=False)
    assert library.expand(["town"]) == ["town/pretrain-1", "town/sft-1", "town/ppo-2"]
    assert library.expand(["town/sft", "./elsewhere"]) == ["town/sft", "./elsewhere"]


def test_runs_are_shown_by_name_and_other_folders_by_path(ziggurat_home: Path, tmp_path: Path) -> None:
    assert library.run_name(make_run(ziggurat_home, "town/sft-1")) == "town/sft-1"
    assert library.run_name(tmp_path) == str(tmp_path)


def test_parameters_are_counted_over_all_weight_files(tmp_path: Path) -> None:
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float32)}, tmp_path / "one.safetensors")
    save_file({"c": np.zeros((5, 5), np.float32)}, tmp_path / "two.safetensors")
    assert library._parameters(tmp_path) == 6 + 4 + 25
    assert library._parameters(tmp_path / "empty") is None


def test_examples_are_read_beside_the_runs(ziggurat_home: Path) -> None:
    folder = make_run(ziggurat_home, "town/sft-1")
    assert library.examples_beside([folder]) == []
    path = folder.parent / library.EXAMPLES_FILE
    path.write_text(json.dumps([{"text": "谁？", "lang": "zh", "kind": "known"}]))
    assert [example.text for example in library.examples_beside([folder])] == ["谁？"]
    path.write_text(json.dumps([{"txt": "?"}]))
    with pytest.raises(DataError, match=r"examples\.json, field 0\.text"):
        library.examples_beside([folder])
