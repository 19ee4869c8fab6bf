"""Run folders survive kills: torn checkpoints, locks, cut lines, atomic writes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from ziggurat import checkpoint_folders
from ziggurat.checkpoint_folders import COMPLETE
from ziggurat.errors import RunError
from ziggurat.files import atomic_write_text, sha256_file
from ziggurat.lineage import base_manifest, data_entry
from ziggurat.places import all_runs, find_run, model_folder, next_run_path
from ziggurat.runs import Run, remove_run
from ziggurat.settings import Config, resolve

CONFIG = "steps: 3  # default\ntrain:\n  lr: 0.1  # --set\n"


def begin(path: Path, **options: Any) -> Run:
    arguments = {
        "stage": "sft",
        "config_yaml": CONFIG,
        "manifest": base_manifest("sft", parent=None, data=[], seed=1),
    }
    return Run.create(path, **{**arguments, **options})


def writer(text: str = "weights") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
        (folder / "model" / "model.safetensors").write_text(text)

    return write


# --- beginning, resuming, locking ---


def test_a_new_run_writes_its_configuration_and_lineage(tmp_path: Path) -> None:
    with begin(tmp_path / "r") as run:
        assert run.config == {"steps": 3, "train": {"lr": 0.1}}
        assert {"stage", "parent", "data", "seed", "code", "machine", "started_utc"} <= run.manifest.keys()
        assert not run.finished


def test_an_existing_run_is_neither_continued_nor_replaced_unasked(tmp_path: Path) -> None:
    begin(tmp_path / "r").close()
    with pytest.raises(RunError, match="--resume .* --overwrite"):
        begin(tmp_path / "r")


def test_overwrite_empties_the_run(tmp_path: Path) -> None:
    with begin(tmp_path / "r") as run:
        run.log_metrics({"step": 1})
        run.save_checkpoint(1, writer())
    with begin(tmp_path / "r", overwrite=True) as run:
        assert run.read_metrics() == []
        assert run.latest_checkpoint() is None


def test_a_folder_that_is_no_run_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(RunError, match="not empty and is not a run"):
            begin(tmp_path, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_resume_with_other_settings_names_the_difference(tmp_path: Path) -> None:
    begin(tmp_path / "r").close()
    with pytest.raises(RunError, match=r"train\.lr was 0\.1, now 0\.2"):
        begin(tmp_path / "r", config_yaml=CONFIG.replace("0.1", "0.2"), resume=True)
    begin(
        tmp_path / "r", config_yaml=CONFIG.replace("--set", "recipe"), resume=True
    ).close()  # a source may change


def test_resume_of_another_stages_run_is_refused(tmp_path: Path) -> None:
    begin(tmp_path / "r").close()
    with pytest.raises(RunError, match="is a sft run, not ppo"):
        begin(tmp_path / "r", stage="ppo", manifest={}, resume=True)


def test_resume_of_nothing_starts_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(tmp_path / "r", resume=True).close()
    assert "nothing to resume" in capsys.readouterr().err


def test_a_run_is_locked_while_it_runs_and_free_after_a_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "r"
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from ziggurat.runs import Run
        run = Run.create(Path({str(path)!r}), stage="sft", config_yaml={CONFIG!r}, manifest={{}})
        run.log_metrics({{"step": 1}})
        run._metrics.write('{{"step": 2, "lo'); run._metrics.flush()
        print("ready", flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert Run.open(path).locked
        with pytest.raises(RunError, match=f"in use by process {process.pid}"):
            begin(path, resume=True)
        with pytest.raises(RunError, match="in use"):
            remove_run(path)
        assert Run.open(path).read_metrics() == [{"step": 1}]  # the half line is not an error for a reader
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not Run.open(path).locked
    with begin(path, resume=True) as run:
        run.log_metrics({"step": 2})
        assert run.read_metrics() == [{"step": 1}, {"step": 2}]


def test_a_closed_run_refuses_to_write_and_may_be_closed_again(tmp_path: Path) -> None:
    run = begin(tmp_path / "r")
    run.finish({"loss": 1.5})
    run.close()
    with pytest.raises(RuntimeError, match="closed"):
        run.log_metrics({"step": 1})
    assert run.report == {"loss": 1.5}
    assert run.finished


def test_wall_time_adds_up_over_resumes(tmp_path: Path) -> None:
    for _ in range(2):
        with begin(tmp_path / "r", resume=True):
            time.sleep(0.02)
    assert Run.open(tmp_path / "r").manifest["wall_s"] >= 0.04


# --- metrics ---


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    with begin(tmp_path / "r") as run:
        for step in (1, 2, 3):
            run.log_metrics({"step": step})
        run.truncate_metrics(2)
        run.log_metrics({"step": 3, "again": True})
        assert run.read_metrics() == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_metrics_hold_plain_json_numbers(tmp_path: Path) -> None:
    with begin(tmp_path / "r") as run:
        run.log_metrics(
            {"step": 1, "nan": float("nan"), "np": numpy.float32(0.5), "list": numpy.array([1, 2])}
        )
    line = (tmp_path / "r" / "metrics.jsonl").read_text()
    assert json.loads(line) == {"step": 1, "nan": None, "np": 0.5, "list": [1, 2]}


# --- checkpoints ---


def test_the_last_two_and_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    with begin(tmp_path / "r") as run:
        for step in range(1, 7):
            run.save_checkpoint(step, writer(), best=step == 2)
        assert [p.name for p in run.checkpoints()] == ["step-000002", "step-000005", "step-000006"]
        assert run.best_checkpoint() == run.checkpoints()[0]
        assert run.latest_checkpoint() == run.checkpoints()[-1]


def test_checkpoints_are_ordered_by_number_not_by_name(tmp_path: Path) -> None:
    with begin(tmp_path / "r") as run:
        for step in (999_999, 1_000_000):
            run.save_checkpoint(step, writer())
        assert run.latest_checkpoint() == run.checkpoints_path / "step-1000000"


@pytest.mark.parametrize("damage", ["no marker", "missing file", "short file", "unreadable marker"])
def test_a_torn_checkpoint_is_never_loaded_the_one_before_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    with begin(tmp_path / "r") as run:
        good, torn = run.save_checkpoint(1, writer()), run.save_checkpoint(2, writer(), best=True)
        weights = torn / "model" / "model.safetensors"
        if damage == "no marker":
            (torn / COMPLETE).unlink()
        elif damage == "missing file":
            weights.unlink()
        elif damage == "short file":
            os.truncate(weights, 3)
        else:
            (torn / COMPLETE).write_text('{"step"')
        assert run.latest_checkpoint() == good
        assert run.best_checkpoint() is None
        assert "skipped a torn checkpoint" in capsys.readouterr().err
        with pytest.raises(RunError, match="torn checkpoint"):
            model_folder(str(torn))
        with pytest.raises(RunError, match="torn checkpoint"):
            model_folder(str(torn / "model"))


def test_a_checkpoint_whose_writing_fails_leaves_nothing_and_keeps_the_last(tmp_path: Path) -> None:
    def fill_the_disk(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError(errno.ENOSPC, "No space left on device")

    with begin(tmp_path / "r") as run:
        first = run.save_checkpoint(1, writer())
        with pytest.raises(OSError, match="No space"):
            run.save_checkpoint(2, fill_the_disk)
        assert run.latest_checkpoint() == first
        assert [p.name for p in run.checkpoints_path.iterdir()] == ["step-000001"]


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    """SIGKILL at the moment before COMPLETE: the folder must not be found under its final name."""
    path = tmp_path / "r"
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from ziggurat.runs import Run
        run = Run.create(Path({str(path)!r}), stage="sft", config_yaml={CONFIG!r}, manifest={{}})
        run.save_checkpoint(1, lambda folder: (folder / "w").write_text("one") and None)
        def die(folder):
            (folder / "w").write_text("two")
            os.kill(os.getpid(), signal.SIGKILL)
        run.save_checkpoint(2, die)
    """)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    with begin(path, resume=True, manifest={}) as run:
        latest = run.latest_checkpoint()
        assert latest is not None
        assert (latest / "w").read_text() == "one"
        run.save_checkpoint(2, lambda folder: (folder / "w").write_text("two") and None)
        assert sorted(p.name for p in run.checkpoints_path.iterdir()) == ["step-000001", "step-000002"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    with begin(tmp_path / "r") as run:
        run.save_checkpoint(1, writer("old"))
        again = run.save_checkpoint(1, writer("new"))
        assert (again / "model" / "model.safetensors").read_text() == "new"


def test_the_marker_is_written_after_everything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = checkpoint_folders.write_json

    def spy(path: str | Path, document: dict[str, Any], version: int) -> None:
        if Path(path).name == COMPLETE:
            seen.extend(sorted(p.name for p in Path(path).parent.rglob("*")))
        original(path, document, version)

    monkeypatch.setattr(checkpoint_folders, "write_json", spy)
    with begin(tmp_path / "r") as run:
        run.save_checkpoint(1, writer())
    assert seen == ["config.json", "model", "model.safetensors"]


def test_a_failed_rewrite_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "manifest.json"
    atomic_write_text(target, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(os, "fsync", full)
        atomic_write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


# --- names and places ---


def made(path: Path, *, model: bool = True) -> Path:
    with begin(path) as run:
        if model:
            run.save_model(lambda folder: (folder / "config.json").write_text("{}") and None)
        run.finish({})
    return path


def test_runs_are_numbered_and_the_name_without_a_number_is_the_latest(ziggurat_home: Path) -> None:
    assert next_run_path("town", "ppo") == ziggurat_home / "runs" / "town" / "ppo-1"
    for n in (1, 2, 10):
        made(ziggurat_home / "runs" / "town" / f"ppo-{n}")
    assert next_run_path("town", "ppo").name == "ppo-11"
    assert find_run("town/ppo").name == "ppo-10"
    assert find_run("town/ppo-2").name == "ppo-2"
    assert model_folder("town/ppo") == ziggurat_home / "runs/town/ppo-10/model"
    assert len(all_runs()) == 3


def test_an_unknown_run_is_answered_with_the_nearest_name(ziggurat_home: Path) -> None:
    made(ziggurat_home / "runs" / "town" / "ppo-1")
    with pytest.raises(RunError, match='no run or folder "town/pop-1". Did you mean "town/ppo-1"'):
        find_run("town/pop-1")
    with pytest.raises(RunError, match="is a ladder; name one of its runs: town/ppo-1"):
        find_run("town")


@pytest.mark.parametrize("name", ["../x", "", "..", "a/b"])
def test_a_ladders_name_stays_inside_the_home(name: str) -> None:
    with pytest.raises(RunError, match="cannot name a ladder"):
        next_run_path(name, "sft")


def test_a_model_folder_may_be_a_path_a_run_or_a_checkpoint(tmp_path: Path) -> None:
    foreign = tmp_path / "hf"
    foreign.mkdir()
    (foreign / "config.json").write_text("{}")
    assert model_folder(foreign) == foreign
    with begin(tmp_path / "r") as run:
        checkpoint = run.save_checkpoint(3, writer())
        assert model_folder(checkpoint) == checkpoint / "model"
    with pytest.raises(
        RunError, match=r"no model yet; run it again with --resume, or name its checkpoint .*step-000003"
    ):
        model_folder(tmp_path / "r")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(RunError, match="holds no model"):
        model_folder(tmp_path / "nothing")


def test_removing_takes_the_folder_and_only_runs(tmp_path: Path) -> None:
    remove_run(made(tmp_path / "r"))
    assert not (tmp_path / "r").exists()
    with pytest.raises(RunError, match="not a run folder"):
        remove_run(tmp_path)


def test_lineage_reaches_back_to_the_first_parent(tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text("{}\n")
    entry = data_entry(data, 1)
    assert (
        entry["sha256"] == "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    )  # sha256sum's
    assert entry["sha256"] == sha256_file(data)
    base = tmp_path / "base"
    with begin(
        base, stage="pretrain", manifest=base_manifest("pretrain", parent=None, data=[entry], seed=5)
    ) as run:
        run.save_model(lambda folder: (folder / "model.safetensors").write_text("w") and None)
    sft = tmp_path / "sft"
    begin(sft, manifest=base_manifest("sft", parent=base, data=[], seed=6)).close()
    parent = base_manifest("ppo", parent=sft, data=[], seed=7)["parent"]
    assert (parent["stage"], parent["seed"]) == ("sft", 6)
    assert parent["parent"]["data"] == [entry]
    assert list(parent["parent"]["weights_sha256"]) == ["model.safetensors"]
    assert base_manifest("sft", parent=base / "model", data=[], seed=6)["parent"]["stage"] == "pretrain"


class Before(Config):
    steps: int = 3


class Now(Config):
    steps: int = 3
    added: int = 1


def test_a_setting_that_was_added_since_does_not_stop_a_resume(tmp_path: Path) -> None:
    begin(tmp_path / "r", config_yaml=resolve(Before)).close()
    begin(tmp_path / "r", config_yaml=resolve(Now), resume=True).close()
    with pytest.raises(RunError, match=r"steps was 3, now 4"):
        begin(tmp_path / "r", config_yaml=resolve(Now, ("--set", {"steps": 4})), resume=True)
    with pytest.raises(RunError, match=r"added was 1, now 2"):
        begin(tmp_path / "r", config_yaml=resolve(Now, ("--set", {"added": 2})), resume=True)


def test_a_run_may_be_resumed_on_another_device(tmp_path: Path) -> None:
    """device and compile name what computes, not what is computed."""
    begun = "train:\n  device: auto\n  compile: auto\n  steps: 4\n"
    Run.create(tmp_path / "r", stage="t", config_yaml=begun, manifest={}).close()
    other = begun.replace("device: auto", "device: cpu").replace("compile: auto", "compile: 'off'")
    Run.create(tmp_path / "r", stage="t", config_yaml=other, manifest={}, resume=True).close()
    with pytest.raises(RunError, match="train.steps was 4, now 5"):
        Run.create(tmp_path / "r", stage="t", config_yaml=other.replace("4", "5"), manifest={}, resume=True)
