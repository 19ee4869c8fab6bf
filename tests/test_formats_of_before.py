"""Files written before formats had a version are read, resumed and served, and newer ones are refused.

tests/fixtures/format-1 holds one small example of every file that commit 4294a72 wrote. These tests use public doors
only: the command line and the server.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from ziggurat.cli.main import run as ziggurat
from ziggurat.training.precision import choose_dtype

EXAMPLES = Path(__file__).parent / "fixtures" / "format-1" / "files.tar.gz"
MADE_IN = "/tmp/ziggurat-format-1"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before") / "home"
    with tarfile.open(EXAMPLES) as packed:
        packed.extractall(folder, filter="data")
    for path in folder.rglob("manifest.json"):
        path.write_text(path.read_text(encoding="utf-8").replace(MADE_IN, str(folder)), encoding="utf-8")
    return folder


@pytest.fixture
def home(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$ZIGGURAT_HOME with the examples, to be read only; a test that writes uses `copied`."""
    monkeypatch.setenv("ZIGGURAT_HOME", str(unpacked))
    return unpacked


@pytest.fixture
def copied(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    shutil.copytree(unpacked, folder)
    monkeypatch.setenv("ZIGGURAT_HOME", str(folder))
    return folder


@pytest.fixture(scope="module")
def expected(unpacked: Path) -> dict[str, Any]:
    """What the code that wrote the examples said of them."""
    found: dict[str, Any] = json.loads((unpacked / "expected.json").read_text(encoding="utf-8"))
    return found


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_old_runs_are_listed_and_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ziggurat(["runs", "list", "--json"]) == 0
    states = {one["name"]: (one["stage"], one["state"]) for one in json.loads(capsys.readouterr().out)}
    assert states["old/doubt-1"] == ("reward", "finished")
    assert states["old/still-cut"] == ("ppo", "interrupted")
    assert len(states) == 14
    assert ziggurat(["runs", "show", "old/ppo-1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["report"]["stage"] == "ppo"
    assert shown["manifest"]["parent"]["stage"] == "sft"
    assert ziggurat(["runs", "compare", "old/ppo-1", "old/sft-1", "--json"]) == 0


@pytest.mark.parametrize(
    ("stage", "name"), [("pretrain", "pretrain"), ("sft", "sft"), ("reward", "reward"), ("reward", "doubt")]
)
def test_an_old_unfinished_run_is_resumed_and_ends_as_the_whole_run_did(
    copied: Path, stage: str, name: str
) -> None:
    cut, whole = (copied / "runs" / "old" / f"{name}-{end}" for end in ("cut", "1"))
    parent = ["--sft", "old/sft-1"] if stage == "reward" else []
    assert ziggurat([stage, *parent, "--resume", "--out", str(cut)]) == 0
    # the old code numbered a row after its update, today it describes the model before it; one more row ends a run
    assert [row["step"] for row in rows(cut)[1:]] == [row["step"] for row in rows(whole)]
    losses = [[row["loss"] for row in rows(run)] for run in (cut, whole)]
    assert losses[0][:-1] == pytest.approx(losses[1], rel=1e-3)
    assert (cut / "model" / "model.safetensors").is_file()
    for written in (
        "manifest.json",
        "report.json",
        "checkpoints/step-*/COMPLETE",
        "checkpoints/*/state.json",
    ):
        newest = sorted(cut.glob(written))[-1]
        assert json.loads(newest.read_text(encoding="utf-8"))["format_version"] >= 1


@pytest.mark.parametrize(("name", "reward"), [("ppo", "reward-1"), ("still", "doubt-1")])
def test_an_old_unfinished_ppo_run_is_resumed(copied: Path, name: str, reward: str) -> None:
    cut = copied / "runs" / "old" / f"{name}-cut"
    before = rows(cut)
    arguments = ["--policy", "old/sft-1", "--reward", f"old/{reward}", "--resume", "--out", str(cut)]
    assert ziggurat(["ppo", *arguments]) == 0
    after = rows(cut)
    assert [row["step"] for row in after] == [0, 1, 2, 3, 4]
    assert after[1]["reward"] == before[1]["reward"]
    assert (cut / "model" / "model.safetensors").is_file()


def test_an_old_align_run_that_waits_for_ranks_goes_on(copied: Path) -> None:
    run = copied / "runs" / "old" / "align-1"
    waiting = (run / "round-1" / "to_rank.jsonl").read_text(encoding="utf-8").splitlines()
    ranked = []
    for line in waiting:
        row = json.loads(line)
        row["ranks"] = list(range(1, len(row["completions"]) + 1))
        ranked.append(json.dumps(row) + "\n")
    (run / "round-1" / "ranked.jsonl").write_text("".join(ranked), encoding="utf-8")
    assert ziggurat(["align", "--sft", "old/sft-1", "--resume", "--out", str(run)]) == 0
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert [one["comparisons"] for one in report["rounds"]] == [len(ranked)]


@pytest.mark.parametrize("run", ["old/pretrain-1", "old/sft-1", "town/ppo-1"])
def test_an_old_model_measures_as_before(
    home: Path, expected: dict[str, Any], run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [f"--{kind}={home / 'data' / file}.jsonl" for kind, file in (("text", "documents"),)]
    data.append(f"--demonstrations={home / 'data' / 'demonstrations.jsonl'}")
    assert ziggurat(["eval", run, *data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for part, numbers in expected[f"eval {run}"].items():
        assert {name: found[part][name] for name in numbers} == pytest.approx(numbers, rel=1e-3)


def test_an_old_plan_is_read_by_resume(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ziggurat(["ladder", "--name", "town-cut", "--resume", "--dry-run"]) == 0
    assert "4 steps" in capsys.readouterr().err


@pytest.fixture
def server(home: Path, tmp_path: Path) -> Iterator[str]:
    models = ["old/sft-1", "old/reward-1", "old/doubt-1", "town/ppo-1"]
    shutil.copy(home / "requests.jsonl", tmp_path / "requests.jsonl")
    options = ["--port", "0", "--keys", str(home / "keys.jsonl")]
    options += ["--moderation-classifier", str(home / "moderation")]
    options += ["--request-log", str(tmp_path / "requests.jsonl")]
    command = [sys.executable, "-m", "ziggurat", "serve", *models, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        yield next(word for word in process.stdout.readline().split() if word.startswith("http"))
        process.terminate()
        process.wait(30)


@pytest.mark.timeout(300)
def test_old_models_keys_and_classifiers_are_served(
    server: str, home: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    rounding = 1e-2 if choose_dtype()[0] == torch.float32 else 5e-2  # the answers were recorded in fp32
    secret = (home / "keys-secret.txt").read_text(encoding="utf-8").split()[0]
    with httpx.Client(base_url=server, timeout=60) as client:
        assert client.post("/score", json={}).status_code == 401
        client.headers["Authorization"] = f"Bearer {secret}"
        for asked in expected["served"]:
            reply = client.post(asked["path"], json=asked["body"])
            assert reply.status_code == 200, reply.text
            before, now = asked["answer"], reply.json()
            if asked["path"] == "/score":
                scores = [[one["score"] for one in answer["data"]] for answer in (now, before)]
                assert scores[0] == pytest.approx(scores[1], abs=rounding)
            elif asked["path"] == "/v1/moderations":
                flags = [[one["flagged"] for one in answer["results"]] for answer in (now, before)]
                assert flags[0] == flags[1] == [True, False]
            else:
                texts = [answer["choices"][0]["message"]["content"] for answer in (now, before)]
                assert texts[0] == texts[1]
    lines = (tmp_path / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["request_id"] == "req_5f0c"  # appended to, not replaced


def newer(path: Path) -> None:
    """Raise the version of a document, or of each line of a .jsonl file, to 99."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        path.write_text(f"format_version: 99\n{text}", encoding="utf-8")
        return
    documents = [text] if path.suffix != ".jsonl" else text.splitlines()
    raised = [json.dumps({**json.loads(one), "format_version": 99}) for one in documents]
    path.write_text("\n".join(raised) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("runs/old/sft-1/manifest.json", ["runs", "show", "old/sft-1"]),
        ("runs/old/sft-1/report.json", ["runs", "show", "old/sft-1"]),
        ("runs/old/sft-cut/config.yaml", ["sft", "--resume", "--out", "runs/old/sft-cut"]),
        ("runs/old/sft-cut/checkpoints/step-000002/COMPLETE", ["runs", "show", "old/sft-cut"]),
        (
            "runs/old/sft-cut/checkpoints/step-000002/state.json",
            ["sft", "--resume", "--out", "runs/old/sft-cut"],
        ),
        ("keys.jsonl", ["key", "new", "bob", "--file", "keys.jsonl"]),
        ("moderation/classifier.json", ["moderation", "check", "hello", "--classifier", "moderation"]),
        ("runs/town-cut/plan.json", ["ladder", "--name", "town-cut", "--resume", "--dry-run"]),
    ],
)
def test_a_file_of_a_newer_version_is_refused_in_one_sentence(
    copied: Path,
    file: str,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(copied)
    if file.endswith(("COMPLETE", "state.json")):
        path = copied / file
        size = path.stat().st_size
        newer(path)
        complete = path.with_name("COMPLETE")
        grown = path.stat().st_size
        if path != complete:  # so that the checkpoint is not taken for a torn one
            complete.write_text(complete.read_text().replace(f": {size}", f": {grown}"), encoding="utf-8")
    else:
        newer(copied / file)
    assert ziggurat(command) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert len(message) == 1
    for part in (Path(file).name, "format_version 99", "upgrade Ziggurat"):
        assert part in message[0]
