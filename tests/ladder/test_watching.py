"""Climbs and runs as another process sees them, from their files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ziggurat.errors import TrainingError
from ziggurat.files import drop_lock, is_locked, take_lock
from ziggurat.ladder import watching
from ziggurat.runs import Run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path))
    return tmp_path


def begun(home: Path, name: str, stage: str, steps: int = 100, **config: Any) -> Run:
    text = json.dumps({"train": {"steps": steps}, **config})  # JSON is YAML
    return Run.create(home / "runs" / name, stage=stage, config_yaml=text, manifest={})


def test_without_runs_there_is_nothing_to_watch(home: Path) -> None:
    assert watching.climbs() == []


def test_a_running_run_has_its_step_and_the_time_left(home: Path) -> None:
    with begun(home, "own/sft-1", "sft") as run:
        for step in range(11):
            run.log_metrics({"step": step, "loss": 5.0 - step / 10, "elapsed_s": 2.0 * step})
        run.note(4, "sample", "'Hello' -> 'Hi'")
        (climb,) = watching.climbs()
        (stage,) = climb.stages
        assert (climb.state, stage.state, stage.step, stage.steps) == ("running", "running", 10, 100)
        assert stage.left_s == pytest.approx(2.0 * 90, abs=5)  # less what has passed since the last row
        view = watching.view(run.path)
        assert view["series"]["loss"][:2] == [[0, 5.0], [1, 4.9]]
        assert view["samples"] == [{"step": 4, "text": "'Hello' -> 'Hi'"}]
    (climb,) = watching.climbs()
    assert climb.state == "stopped"


def test_the_bands_of_ppo_are_the_doctors_limits_in_this_run(home: Path) -> None:
    with begun(home, "own/ppo-1", "ppo", doctor={"kl_factor": 2.0}) as run:
        for step in range(4):
            run.log_metrics(
                {"step": step, "reward": 0.1, "kl": 1.0, "kl_target": 6.0, "entropy": 2.0, "length": 10.0}
            )
        bands = watching.view(run.path)["bands"]
    assert bands["kl"] == [0.0, 12.0]
    assert bands["entropy"] == [pytest.approx(0.3), pytest.approx(3.0)]
    assert bands["reward"] == [pytest.approx(0.1), pytest.approx(0.1 + watching.REWARD_RISE)]


def test_the_reward_of_a_function_has_no_known_healthy_values(home: Path) -> None:
    with begun(home, "own/ppo-1", "ppo") as run:
        for step in range(4):
            run.log_metrics({"step": step, "reward": 40.0, "reward_function": 40.0, "kl": 1.0})
        view = watching.view(run.path)
    assert view["series"]["reward"][-1] == [3, 40.0]
    assert "reward" not in view["bands"]


def test_a_run_that_ended_with_an_error_is_failed_with_its_sentence_until_it_is_resumed(home: Path) -> None:
    sentence = "step 12: the loss is not finite; lower train.lr."
    with pytest.raises(TrainingError), begun(home, "own/sft-1", "sft") as run:
        run.log_metrics({"step": 11, "loss": 2.0})
        raise TrainingError(sentence)
    (climb,) = watching.climbs()
    (stage,) = climb.stages
    assert (climb.state, stage.state, stage.error) == ("failed", "failed", sentence)
    with Run.create(
        run.path, stage="sft", config_yaml=(run.path / "config.yaml").read_text(), manifest={}, resume=True
    ):
        (climb,) = watching.climbs()
        assert (climb.state, climb.stages[0].error) == ("running", None)
    (climb,) = watching.climbs()
    assert (climb.state, climb.stages[0].error) == ("stopped", None)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_a_run_that_was_stopped_has_not_failed(home: Path, end: type[BaseException]) -> None:
    with pytest.raises(end), begun(home, "own/sft-1", "sft"):
        raise end
    (climb,) = watching.climbs()
    assert (climb.state, climb.stages[0].state) == ("stopped", "stopped")


def test_a_bug_is_named_beside_what_it_says(home: Path) -> None:
    with pytest.raises(ZeroDivisionError), begun(home, "own/sft-1", "sft"):
        raise ZeroDivisionError("division by zero")
    assert watching.climbs()[0].stages[0].error == "ZeroDivisionError: division by zero"


def test_a_planned_climb_shows_the_stages_that_wait(home: Path) -> None:
    folder = home / "runs" / "town"
    folder.mkdir(parents=True)
    work = {"pretrain_steps": 50, "sft_steps": 20, "ppo_steps": 8}
    plan = {
        "format_version": 2,
        "world": {"name": "town"},
        "work": work,
        "costs_s": {"sft": 30.0, "ppo": 60.0, "reward": 10.0},
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    with begun(home, "town/pretrain-1", "pretrain", steps=50) as run:
        run.log_metrics({"step": 0, "loss": 5.0, "elapsed_s": 0.0})
        run.log_metrics({"step": 10, "loss": 4.0, "elapsed_s": 10.0})
        climb = watching.climb(folder)
        assert climb is not None
        shown = [(stage.name, stage.state, stage.steps) for stage in climb.stages]
        assert shown == [
            ("pretrain-1", "running", 50), ("sft-1", "waiting", 20),
            ("reward-1", "waiting", 0), ("ppo-1", "waiting", 8),
        ]  # fmt: skip
        assert climb.left_s == pytest.approx(40 + 100, abs=5)
    assert climb.world == "town"


def test_between_two_runs_the_climbs_own_lock_says_that_it_goes_on(home: Path) -> None:
    folder = home / "runs" / "town"
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps({"format_version": 2, "world": {}, "work": {}}))
    lock = take_lock(folder)
    assert [climb.state for climb in watching.climbs()] == ["running"]
    drop_lock(lock)
    assert [climb.state for climb in watching.climbs()] == ["stopped"]


def test_the_lock_of_a_killed_process_is_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from ziggurat.files import take_lock\n"
        "lock = take_lock(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"locked\n"
    assert is_locked(tmp_path)
    child.kill()
    child.communicate()
    assert not is_locked(tmp_path)
    (tmp_path / "lock").write_text(f"{os.getpid()}\n")
    os.utime(tmp_path / "lock", (0, 0))  # written before this process began: by another one of its number
    assert not is_locked(tmp_path)


def test_a_long_curve_is_thinned_out() -> None:
    points = watching.thinned([(step, float(step)) for step in range(10_000)])
    assert len(points) == watching.POINTS
    assert points[-1][0] == 9999
    assert points[0][1] == pytest.approx(12.0)


def test_notes_after_the_last_row_go_when_a_run_is_resumed(home: Path) -> None:
    with begun(home, "own/sft-1", "sft") as run:
        for step in (0, 1, 2):
            run.log_metrics({"step": step})
            run.note(step, "sample", str(step))
        run.truncate_metrics(1)
        assert [note["step"] for note in run.read_notes()] == [0, 1]
