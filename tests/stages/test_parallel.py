"""Two processes (gloo) take the trajectory of one, save shards, and resume to the byte.

They are not equal to one process byte for byte: each adds up its own rows first, and torch multiplies matrices of other
shapes by other kernels, so sums are rounded in another order. In fp32 a loss then differs in its last bits (1e-6 of it)
and a weight by less than a hundredth of an update; Muon multiplies in bf16, where the same difference becomes 1e-3.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_runs
import torch
from safetensors.torch import load_file

from ziggurat.errors import RunError, UsageError
from ziggurat.model.hub import load_model
from ziggurat.models.export import export
from ziggurat.places import model_folder
from ziggurat.runs import Run
from ziggurat.stages.launch import run_path
from ziggurat.training.sharded_checkpoints import gather_module

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PROCESSES = 2
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 2e-5, 1e-4
FIELDS = {"loss", "grad_norm", "tokens", "val_loss", "reward", "kl", "value_loss", "policy_loss", "ptx_loss"}
FIELDS |= {"load_balance"}
MUON_LOSS_TOLERANCE, MUON_WEIGHT_TOLERANCE = 5e-3, 1e-2


@pytest.fixture(scope="module")
def two(letters_sft: Path, letters_reward: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs of `small_runs` in two processes."""
    out = tmp_path_factory.mktemp("two")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)]
    command = [sys.executable, *launch, small_runs.__file__, str(out), str(letters_sft), str(letters_reward)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=560
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.mark.parametrize("name", small_runs.RUNS)
def test_the_trajectory_is_that_of_one_process(
    name: str, two: Path, letters_sft: Path, letters_reward: Path, tmp_path: Path
) -> None:
    mine = Run.open(small_runs.go(name, tmp_path, letters_sft, letters_reward))
    theirs = Run.open(two / name)
    assert theirs.finished
    loose = "muon" in name
    rows = [mine.read_metrics(), theirs.read_metrics()]
    assert len(rows[0]) == len(rows[1])
    for a, b in zip(*rows, strict=True):
        for field in FIELDS & a.keys():
            rel = MUON_LOSS_TOLERANCE if loose else LOSS_TOLERANCE
            near = None if a[field] is None else pytest.approx(a[field], rel=rel, abs=1e-5)
            assert b[field] == near, (a["step"], field)
    file = "adapter_model.safetensors" if "lora" in name else "model.safetensors"
    ours, others = (load_file(run.model_path / file) for run in (mine, theirs))
    assert ours.keys() == others.keys()
    for key, weight in ours.items():
        furthest = float((weight - others[key]).abs().max())
        assert furthest < (MUON_WEIGHT_TOLERANCE if loose else WEIGHT_TOLERANCE), key
    moved = load_file(letters_sft / "model.safetensors") if name in ("sft", "dpo") else {}
    assert all(
        float((ours[key] - start).abs().max()) > 1e-3 for key, start in moved.items() if start.ndim > 1
    )


@pytest.mark.parametrize("name", small_runs.RESUMED)
def test_a_resumed_run_ends_with_the_same_bytes(name: str, two: Path) -> None:
    whole, again = Run.open(two / name), Run.open(two / "again" / name)
    assert again.finished
    a, b = (load_file(run.model_path / "model.safetensors") for run in (whole, again))
    assert all(torch.equal(a[key], b[key]) for key in a)
    clocks = ("_s", "per_s")
    for one, other in zip(whole.read_metrics(), again.read_metrics(), strict=True):
        assert {k: v for k, v in one.items() if not k.endswith(clocks)} == {
            k: v for k, v in other.items() if not k.endswith(clocks)
        }


def test_one_process_goes_on_from_what_two_saved(
    two: Path, letters_sft: Path, letters_reward: Path, tmp_path: Path
) -> None:
    import shutil

    for name in small_runs.RESUMED:
        shutil.copytree(two / name, tmp_path / name)
        again = small_runs.resume_from_the_middle(name, tmp_path, letters_sft, letters_reward)
        a, b = (load_file(run / "model" / "model.safetensors") for run in (two / name, again))
        assert max(float((a[key] - b[key]).abs().max()) for key in a) < WEIGHT_TOLERANCE


def test_shards_become_a_hugging_face_folder(two: Path, tmp_path: Path) -> None:
    last = max((two / "pretrain" / "checkpoints").glob("step-*"))
    assert (last / "shards" / ".metadata").is_file()
    assert len(list((last / "shards").glob("*.distcp"))) == PROCESSES
    with pytest.raises(RunError, match="is in shards; gather it with `ziggurat models export"):
        model_folder(last)
    export(str(last), "hf", tmp_path / "model")
    ours, theirs = (
        load_file(f / "model.safetensors") for f in (tmp_path / "model", two / "pretrain" / "model")
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert load_model(tmp_path / "model").config == load_model(two / "pretrain" / "model").config
    gather_module(max((two / "ppo" / "checkpoints").glob("step-*")), "critic", tmp_path / "critic")
    assert json.loads((tmp_path / "critic" / "config.json").read_text())["ziggurat"]["head"] == "reward"
    with pytest.raises(RunError, match="no shards of model"):
        gather_module(two / "dpo-lora" / "checkpoints" / "step-000004", "model", tmp_path / "x")


def test_only_process_0_writes_and_what_does_not_work_is_refused(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Run.open(two / "pretrain").read_metrics()
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert (two / "refused.txt").read_text().startswith("kto runs in one process; start it without torchrun")
    assert not (two / "kto").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="name it with --out"):
        run_path(None, "pretrain", ladder=None, base=None, resume=False)
