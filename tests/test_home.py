"""A moved $ZIGGURAT_HOME: what is written down of paths inside it stays right, also what earlier versions wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ziggurat.cli.main import run
from ziggurat.home import located, portable, same_setting
from ziggurat.runs import Run
from ziggurat.tokenizer.bpe import Tokenizer


def test_paths_inside_the_home_are_written_without_it(ziggurat_home: Path, tmp_path: Path) -> None:
    inside = ziggurat_home / "runs" / "town" / "sft-1"
    assert portable(inside) == "$ZIGGURAT_HOME/runs/town/sft-1"
    assert located(portable(inside)) == inside
    outside = tmp_path / "elsewhere" / "text.txt"
    assert portable(outside) == str(outside)
    assert located(str(outside)) == outside
    assert portable(portable(inside)) == portable(inside)


def test_an_absolute_path_of_an_earlier_version_is_found_in_the_moved_home(ziggurat_home: Path) -> None:
    (ziggurat_home / "runs" / "town" / "sft-1").mkdir(parents=True)
    assert located("/gone/home/runs/town/sft-1") == ziggurat_home / "runs" / "town" / "sft-1"
    assert located("/gone/home/runs/town/sft-2") == Path("/gone/home/runs/town/sft-2")
    assert same_setting("/gone/home/runs/town/sft-1", "$ZIGGURAT_HOME/runs/town/sft-1")
    assert not same_setting("/gone/home/runs/town/sft-2", "$ZIGGURAT_HOME/runs/town/sft-1")
    assert not same_setting("a", "b")
    assert same_setting(3, 3)


SETS = ["train.steps=2", "train.threads=1", "batch_tokens=64"]


def climb_two_stages(home: Path) -> None:
    """Stages 1 and 2 with data, tokenizer and base inside the home."""
    data = home / "corpora"
    data.mkdir(parents=True)
    texts = [{"text": f"The baker of house {i} sells bread."} for i in range(30)]
    talks = [
        {
            "messages": [
                {"role": "user", "content": f"Who {i}?"},
                {"role": "assistant", "content": "The baker."},
            ]
        }
        for i in range(30)
    ]
    for name, rows in (("text.jsonl", texts), ("talks.jsonl", talks)):
        (data / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    Tokenizer.train([row["text"] for row in texts], 300).save(data / "tokenizer")
    sets = [*SETS, "model=tiny", "context=32", f"tokenizer={data / 'tokenizer'}"]
    more = [part for item in sets for part in ("--set", item)]
    assert run(["pretrain", "--data", str(data / "text.jsonl"), "--ladder", "own", *more]) == 0
    more = [part for item in SETS for part in ("--set", item)]
    base = str(home / "runs" / "own" / "pretrain-1")
    assert run(["sft", "--base", base, "--data", str(data / "talks.jsonl"), *more]) == 0


@pytest.mark.parametrize("earlier", [False, True])
def test_runs_are_resumed_after_the_home_was_moved(
    earlier: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`earlier`: the runs hold absolute paths, as before there was `$ZIGGURAT_HOME` in them."""
    old, new = tmp_path / "old", tmp_path / "new"
    monkeypatch.setenv("ZIGGURAT_HOME", str(old))
    climb_two_stages(old)
    written = [old / "runs" / "own" / f"{stage}-1" / "manifest.json" for stage in ("pretrain", "sft")]
    assert all(str(old) not in file.read_text() for file in written)
    if earlier:
        for file in written:
            text = file.read_text().replace("$ZIGGURAT_HOME", str(old))
            file.write_text(text.replace('"format_version": 2', '"format_version": 1'))
    old.rename(new)
    monkeypatch.setenv("ZIGGURAT_HOME", str(new))
    assert run(["pretrain", "--ladder", "own", "--resume"]) == 0, capsys.readouterr().err
    assert run(["sft", "--ladder", "own", "--resume"]) == 0, capsys.readouterr().err
    assert run(["sft", "--base", "own/pretrain", "--ladder", "own", "--resume"]) == 0
    assert Run.open(new / "runs" / "own" / "sft-1").finished
    sets = ["--set", f"tokenizer={new / 'corpora' / 'tokenizer'}"]
    assert run(["pretrain", "--ladder", "own", "--resume", *sets]) == 0, capsys.readouterr().err


def test_another_model_in_the_place_of_the_old_one_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    monkeypatch.setenv("ZIGGURAT_HOME", str(old))
    climb_two_stages(old)
    file = old / "runs" / "own" / "sft-1" / "manifest.json"
    file.write_text(file.read_text().replace("$ZIGGURAT_HOME", str(old)))
    old.rename(new)
    monkeypatch.setenv("ZIGGURAT_HOME", str(new))
    weights = new / "runs" / "own" / "pretrain-1" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert run(["sft", "--ladder", "own", "--resume"]) == 2
    assert "holds another model" in " ".join(capsys.readouterr().err.split())
