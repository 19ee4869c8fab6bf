"""`ziggurat runs` and `ziggurat env`, entered by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ziggurat.cli.main import run as ziggurat
from ziggurat.errors import RunError
from ziggurat.lineage import base_manifest
from ziggurat.runs import Run


@pytest.fixture
def finished(ziggurat_home: Path) -> Path:
    path = ziggurat_home / "runs" / "town" / "sft-1"
    manifest = base_manifest(
        "sft", parent=None, data=[{"path": "d.jsonl", "sha256": "0", "records": 3}], seed=7
    )
    with Run.create(path, stage="sft", config_yaml="steps: 3  # recipe\n", manifest=manifest) as run:
        run.log_metrics({"step": 3, "loss": 1.25})
        run.finish({"verdict": "good"})
    return path


def test_list_names_state_and_steps(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ziggurat(["runs", "list"]) == 0
    printed = capsys.readouterr().out
    assert "town/sft-1" in printed
    assert "finished" in printed
    assert ziggurat(["runs", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] | {"wall_s": 0, "started_utc": ""} == {
        "name": "town/sft-1",
        "stage": "sft",
        "state": "finished",
        "steps": 3,
        "wall_s": 0,
        "started_utc": "",
    }


def test_a_run_that_goes_on_is_running_and_one_left_behind_is_interrupted(
    ziggurat_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Run.create(ziggurat_home / "runs/a/ppo-1", stage="ppo", config_yaml="", manifest={}):
        ziggurat(["runs", "list", "--json"])
        assert json.loads(capsys.readouterr().out)[0]["state"] == "running"
    ziggurat(["runs", "list", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["state"] == "interrupted"


def test_a_run_that_ended_with_an_error_is_failed_and_says_why(
    ziggurat_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(RunError),
        Run.create(ziggurat_home / "runs/a/ppo-1", stage="ppo", config_yaml="", manifest={}),
    ):
        raise RunError("the reward model is gone; name another one with --reward.")
    ziggurat(["runs", "list", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["state"] == "failed"
    for shown in (["runs", "show", "a/ppo-1"], ["runs", "watch", "a", "--once"]):
        assert ziggurat(shown) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert "the reward model is gone; name another one with --reward." in printed


def test_show_prints_settings_lineage_and_metrics(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ziggurat(["runs", "show", "town/sft"]) == 0
    printed = capsys.readouterr().out
    for expected in (str(finished), "steps: 3  # recipe", "d.jsonl (3 records)", "loss 1.25", "7"):
        assert expected in printed
    assert ziggurat(["runs", "show", "town/sft-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == {"verdict": "good"}


def test_an_empty_home_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert ziggurat(["runs", "list"]) == 0
    assert "ziggurat ladder" in capsys.readouterr().out
    assert ziggurat(["runs", "show", "town/sft"]) == 2
    assert "There are no runs in" in capsys.readouterr().err


def test_rm_wants_the_number_and_a_yes(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ziggurat(["runs", "rm", "town/sft", "--yes"]) == 2
    assert "can mean several runs" in capsys.readouterr().err
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert ziggurat(["runs", "rm", "town/sft-1"]) == 1
    assert finished.exists()
    assert ziggurat(["runs", "rm", "town/sft-1", "--yes"]) == 0
    assert not finished.exists()


def test_path_can_be_used_in_a_shell(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ziggurat(["runs", "path", "town/sft"]) == 0
    assert capsys.readouterr().out == f"{finished}\n"


@pytest.mark.slow
def test_env_says_dtype_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert ziggurat(["env", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["dtype"].startswith(("bfloat16 (", "float32 ("))
    assert facts["packages"]["torch"]
    assert facts["cores"] >= 1
