"""The stage commands by the users' door: a real process, killed for real, resumed to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ziggurat.cli.main import run

STEPS = 40
WALL = ("elapsed_s", "tokens_per_s")
WARM = ["--set", "train.warmup_steps=5000"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    texts = [{"text": f"The baker of house {i} sells bread {i} by the canal."} for i in range(80)]
    talks = [
        {
            "messages": [
                {"role": "user", "content": f"Who lives in house {i}?"},
                {"role": "assistant", "content": f"The baker of house {i}."},
            ]
        }
        for i in range(40)
    ]
    for name, rows in (("text.jsonl", texts), ("talks.jsonl", talks)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "none").mkdir()
    return folder


def pretrain_arguments(files: Path, out: Path) -> list[str]:
    sets = [
        "model=tiny",
        "tokenizer=300",
        "context=32",
        "batch_tokens=256",
        f"train.steps={STEPS}",
        "train.threads=1",
    ]
    sets += ["train.checkpoint_every_steps=5", "train.eval_every_steps=10"]
    each = [part for item in sets for part in ("--set", item)]
    return ["pretrain", "--data", str(files / "text.jsonl"), "--out", str(out), *each]


@pytest.fixture(scope="module")
def base(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "t" / "pretrain-1"
    assert run(pretrain_arguments(files, out)) == 0
    return out


def kill_after_first_checkpoint(arguments: list[str], out: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "ziggurat", *arguments], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while not list(out.glob("checkpoints/step-*/COMPLETE")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "model").exists(), "killed too late to prove anything"


def traces(run: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Final weights and optimizer state as bytes, and the metrics without wall times."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    found = [
        last / "model" / "model.safetensors",
        last / "optimizer.safetensors",
        run / "model" / "model.safetensors",
    ]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return (
        {str(p.relative_to(run)): p.read_bytes() for p in found},
        [{k: v for k, v in row.items() if k not in WALL} for row in rows],
    )


def test_pretrain_killed_and_resumed_ends_with_the_same_bytes(
    files: Path, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t" / "pretrain-1"
    kill_after_first_checkpoint(pretrain_arguments(files, out), out)
    assert run(["pretrain", "--resume", "--out", str(out)]) == 0
    assert traces(out) == traces(base)
    assert len(traces(out)[1]) == STEPS + 1  # row s describes the model after s updates


def test_sft_killed_and_resumed_ends_with_the_same_bytes(
    files: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def arguments(out: Path) -> list[str]:
        sets = ["train.steps=40", "train.checkpoint_every_steps=5", "batch_tokens=256", "train.threads=1"]
        each = [part for item in sets for part in ("--set", item)]
        return ["sft", "--base", str(base), "--data", str(files / "talks.jsonl"), "--out", str(out), *each]

    killed, whole = tmp_path / "t" / "sft-1", tmp_path / "t" / "sft-2"
    kill_after_first_checkpoint(arguments(killed), killed)
    assert run(["sft", "--resume", "--out", str(killed)]) == 0
    capsys.readouterr()
    assert run(arguments(whole)) == 0
    assert traces(killed) == traces(whole)
    assert (
        "text.jsonl" in capsys.readouterr().err
    )  # the base's own text was found in its lineage and mixed in
    shares = json.loads((whole / "manifest.json").read_text())["data"]
    assert {entry["role"] for entry in shares} == {"data", "text"}


def test_a_dry_run_tells_the_plan_and_writes_nothing(
    files: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t" / "pretrain-1"
    assert run([*pretrain_arguments(files, out), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "tokens to learn from" in told
    assert "train.steps" in told
    assert "--set" in told
    assert (
        run(
            ["sft", "--base", str(base), "--data", str(files / "talks.jsonl"), "--dry-run", "--out", str(out)]
        )
        == 0
    )
    told = capsys.readouterr().out
    assert "share of text rows" in told
    assert "inherited" in told
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pretrain"], "needs --data FILE"),
        (["pretrain", "--data", "nowhere.txt"], "no such file"),
        (["pretrain", "--data", "{files}/text.jsonl", "--set", "train.stesp=3"], 'Did you mean "steps"'),
        (["pretrain", "--data", "{files}/text.jsonl", "--recipe", "nothing"], 'no recipe or file "nothing"'),
        (["pretrain", "--data", "{files}/text.jsonl", "--set", "model=twon"], 'Did you mean "town"'),
        (
            ["pretrain", "--data", "{files}/text.jsonl", "--set", "context=100000"],
            "give more text or a smaller context",
        ),
        (
            [
                "pretrain",
                "--data",
                "{files}/text.jsonl",
                "--set",
                "train.steps=0",
                *WARM,
                "--set",
                "model=tiny",
            ],
            "set warmup_steps to",  # the steps are computed from the data
        ),
        (
            ["sft", "--base", "{base}", "--data", "{files}/talks.jsonl", *WARM],
            'Setting "train": warmup_steps is 5000 and steps is',
        ),
        (["sft", "--data", "{files}/talks.jsonl"], "needs --base RUN"),
        (["sft", "--base", "town/nothing", "--data", "{files}/talks.jsonl"], "no run or folder"),
        (["sft", "--base", "{base}", "--data", "{files}/text.jsonl"], "demonstrations are needed"),
        (["sample", "{base}", "--data", "{files}/talks.jsonl", "--k", "12"], "2 to 9"),
        (["sample", "{base}", "--data", "{files}/talks.jsonl", "--k", "1"], "2 to 9"),
        (["sample", "{base}", "--data", "{files}/talks.jsonl", "--out", "{files}"], "name a file with --out"),
        (["pretrain", "--data", "{files}/text.jsonl", "--out", "{files}/talks.jsonl"], "name another folder"),
        (
            ["pretrain", "--data", "{files}/text.jsonl", "--set", "train.seed=-1"],
            "greater than or equal to 0",
        ),
        (["pretrain", "--data", "{files}/none"], "the folder holds no file"),
        (["sft", "--resume", "--out", "{base}"], "is a run of pretrain, not sft"),
        (["ladder", "--name", "..", "--overwrite"], '".." cannot name a ladder'),
        (["poet", "--data", "poems.jsonl", "--name", "", "--overwrite"], '"" cannot name a ladder'),
        (["eval", "{base}", "--text", "{files}/text.jsonl", "--context", "-1"], "greater than or equal to 0"),
        (["eval", "{base}"], "needs --text FILE or --demonstrations FILE"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    files: Path, base: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(files.rglob("*"))
    assert run([a.format(files=files, base=base) for a in arguments]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("Error: ") == 1
    assert sorted(files.rglob("*")) == before, "nothing is left half-written"


def test_eval_measures_text_and_demonstrations(
    files: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, talks = str(files / "text.jsonl"), str(files / "talks.jsonl")
    assert run(["eval", str(base), "--text", text, "--demonstrations", talks, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert 0 < result["text"]["bits_per_byte"] < 8
    assert result["demonstrations"]["turns"] == 40
    assert result["data"][0]["records"] == 80


def test_sample_writes_completions_to_rank(files: Path, base: Path, tmp_path: Path) -> None:
    out, talks = tmp_path / "to_rank.jsonl", str(files / "talks.jsonl")
    assert (
        run(["sample", str(base), "--data", talks, "--k", "3", "--max-tokens", "8", "--out", str(out)]) == 0
    )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 40
    assert all(2 <= len(row["completions"]) <= 3 and "ranks" not in row for row in rows)


def test_sample_replaces_a_file_only_when_told_to(
    files: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ranked.jsonl"
    out.write_text("an afternoon's work\n")
    command = ["sample", str(base), "--data", str(files / "talks.jsonl"), "--k", "2", "--max-tokens", "4"]
    assert run([*command, "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_text() == "an afternoon's work\n"
    assert run([*command, "--out", str(out), "--overwrite"]) == 0
    assert len(out.read_text().splitlines()) == 40
