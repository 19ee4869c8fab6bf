"""JSON without infinity, full disks, and format versions."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

from ziggurat.cli.main import run as ziggurat
from ziggurat.errors import FormatError, RunError
from ziggurat.files import atomic_write_text, read_json, to_json, write_json

SETS = ["model=tiny", "tokenizer=300", "context=32", "batch_tokens=64", "train.steps=4", "train.threads=1"]


def test_json_has_null_for_what_is_no_number_and_no_lone_surrogate() -> None:
    value = {
        "a": float("inf"),
        "b": [float("nan"), numpy.float32("-inf")],
        "c": "茶\ud83d!",
        "d": numpy.array([1.5]),
    }
    assert to_json(value) == '{"a": null, "b": [null, null], "c": "茶\ufffd!", "d": [1.5]}'


def test_a_text_file_with_a_lone_surrogate_is_written(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "report.html", "a\ud83db")
    assert (tmp_path / "report.html").read_bytes() == b"a?b"


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ('{"a": 1}', None, ""),
        ('{"format_version": 2, "a": 1}', None, ""),
        (
            '{"format_version": 3}',
            FormatError,
            "has format_version 3 and this Ziggurat reads up to 2; upgrade",
        ),
        (
            '{"format_version": "2"}',
            FormatError,
            "format_version is '2'; it must be a whole number from 1 to 2",
        ),
        ('{"format_version": true}', FormatError, "format_version is True"),
        ("[1]", RunError, "holds list, not a JSON object"),
        ("[" * 100_000, RunError, "cannot be read"),
        ('{"a', RunError, "cannot be read"),
    ],
)
def test_a_document_is_read_up_to_its_version(
    tmp_path: Path, text: str, error: type[Exception] | None, sentence: str
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    if error is None:
        assert read_json(path, 2) == {"a": 1}
        return
    with pytest.raises(error, match=sentence) as caught:
        read_json(path, 2)
    assert str(caught.value).startswith(str(path))


def test_what_is_written_is_read_back_without_its_version(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None]}, 7)
    assert json.loads((tmp_path / "a.json").read_text())["format_version"] == 7
    assert read_json(tmp_path / "a.json", 7) == {"b": [1, None]}


def test_eval_json_of_an_infinite_perplexity_is_null(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model with a NaN or huge loss: `perplexity` overflows to infinity, which is not JSON."""
    from ziggurat.evaluation import measure

    found = {"model": "m", "data": [], "text": {"loss": float("nan"), "perplexity": float("inf")}}
    monkeypatch.setattr(measure, "measure", lambda *_, **__: found)
    assert ziggurat(["eval", "m", "--text", "t.txt", "--json"]) == 0

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    printed = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert printed["text"] == {"loss": None, "perplexity": None}


def test_a_disk_that_fills_while_the_optimizer_state_is_written_is_one_sentence(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the full disk: the model's 501,160 bytes fit, the optimizer's 1,003,296 do not."""
    data, run = tmp_path / "text.jsonl", tmp_path / "run"
    data.write_text("".join(json.dumps({"text": f"The baker of house {i}."}) + "\n" for i in range(40)))
    sets = [
        part
        for item in [*SETS, "train.checkpoint_every_steps=2", "train.optimizer=adamw"]
        for part in ("--set", item)
    ]
    command = [sys.executable, "-m", "ziggurat", "pretrain", "--data", str(data), "--out", str(run), *sets]

    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000)),
    )
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "raise the limit (ulimit -f)" in errors[0]
    assert "Traceback" not in done.stderr
    assert list((run / "checkpoints").iterdir()) == [], "no half checkpoint"
    assert not (run / "model").exists()
    assert ziggurat(["pretrain", "--resume", "--out", str(run)]) == 0
    assert (run / "model" / "model.safetensors").stat().st_size > 500_000
