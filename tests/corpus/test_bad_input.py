"""Each bad input gets one sentence that names what, where and the way out, and exit code 2."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ziggurat.cli.main import run

USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
VOTE = {"id": "1", "prompt": [USER], "completions": ["x", "y"], "ranks": [1, 2]}
GOOD = {"messages": [USER, ASSISTANT]}

CASES: dict[str, tuple[str, Any, str]] = {
    "empty": ("f.jsonl", "", "f.jsonl: the file is empty"),
    "empty text": ("f.txt", " \n", "f.txt: the file is empty"),
    "broken JSON": ("f.jsonl", f"{json.dumps(GOOD)}\n{{nope\n", "f.jsonl line 2: broken JSON at column 2"),
    "broken array": ("f.json", '[{"a": 1},\n{"a" 2}]', "f.json line 2: broken JSON at column 6"),
    "broken import": ("f.jsonl", '{"question": "q", "answer": "a"}\n{', "f.jsonl line 2: broken JSON"),
    "misspelt field": (
        "f.jsonl",
        [{**GOOD, "labeler": "Ann"}],
        'field labeler: unknown field. Did you mean "labeller"?',
    ),
    "misspelt inner field": (
        "f.jsonl",
        [{"messages": [USER, {"role": "assistant", "contents": "a"}]}],
        "line 1, field messages[1]",
    ),
    "ends on the user": (
        "f.jsonl",
        [GOOD, {"messages": [USER]}],
        "line 2, field messages: a demonstration must end on the assistant, this one ends on 'user'",
    ),
    "K < 2": (
        "f.jsonl",
        [{**VOTE, "completions": ["x"], "ranks": [1]}],
        "line 1, field completions: expected 2 to 9 completions to compare, found 1",
    ),
    "ranks mismatch": (
        "f.jsonl",
        [VOTE, {**VOTE, "ranks": [1, 2, 3]}],
        "line 2, field ranks: expected one rank for each of 2 completions, found 3 ranks",
    ),
    "ranks missing": (
        "f.jsonl",
        [{key: VOTE[key] for key in VOTE if key != "ranks"}],
        "line 1, field ranks: is missing",
    ),
    "ranks with a gap": ("f.jsonl", [{**VOTE, "ranks": [0, 1]}], "should be written [1, 2]"),
    "unknown format": (
        "f.jsonl",
        [{"foo": 1, "bar": 2}],
        "rows with the fields foo, bar are no format known here",
    ),
    "not an object": ("f.json", "[1, 2]", "line 1: expected a JSON object, found int"),
    "not UTF-8": ("f.txt", b"ok\n\xff\xfe", "f.txt line 2: not UTF-8 text"),
    "not text": ("f.bin", b"\0\0\0", "is not text"),
    "torn gzip": (
        "f.jsonl.gz",
        gzip.compress(json.dumps(GOOD).encode() * 99)[:-20],
        "the compressed data is broken",
    ),
    "damaged gzip": (
        "f.jsonl.gz",
        gzip.compress(b"{}", mtime=0)[:10] + b"\xff" * 99,  # zlib.error, which is no OSError
        "the compressed data is broken",
    ),
    "no Parquet": ("f.parquet", b"PAR2", "is not a Parquet file"),
    "CSV with too many cells": (
        "f.csv",
        "question,answer\na,b,c\n",
        "f.csv line 2: more cells than the 2 of the header",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_and_exit_code_2(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, content, expected = CASES[case]
    path = tmp_path / name
    if isinstance(content, list):
        content = "\n".join(map(json.dumps, content))
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run(["data", "check", str(path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert expected in told.err
    assert told.err.count("\n") == 1


def test_missing_file_and_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(tmp_path / "nix.jsonl")]) == 2
    assert "nix.jsonl: no such file" in capsys.readouterr().err
    assert run(["data", "check", str(tmp_path)]) == 2
    assert "holds no file" in capsys.readouterr().err


def test_other_files_are_still_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = tmp_path / "good.jsonl"
    good.write_text(json.dumps(GOOD))
    assert run(["data", "check", str(tmp_path / "nix.jsonl"), str(good)]) == 2
    assert "1 demonstration (demonstration)" in capsys.readouterr().out


def test_bad_rows_can_be_skipped_and_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text(
        "\n".join([json.dumps(GOOD), json.dumps({"messages": [USER]}), '{"mess', json.dumps(GOOD)])
    )
    assert run(["data", "check", str(path), "--skip-bad-rows", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert found["kinds"][0]["records"] == 2
    assert found["kinds"][0]["dropped"] == {"bad rows skipped": 2}
