"""The command, by the door that people use: tiny model, one's own task, table, page, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ziggurat.cli.main import run
from ziggurat.exam.card import Entry, _labelled
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.page import _sample
from ziggurat.exam.reading import known_tasks, read_task
from ziggurat.exam.suites import SHIPPED, read_suites
from ziggurat.exam.switches import Switches


@pytest.fixture
def folder(write_task: Callable[..., Path]) -> Path:
    rows = [
        {"question": f"What is {i}?", "options": ["1", "2", "3 <b>"], "answer": i % 3, "kind": "ab"[i % 2]}
        for i in range(6)
    ]
    return write_task(
        form="choice",
        choices="options",
        metric=None,
        strata="kind",
        rows=rows,
        title={"en": "Mine", "zh": "我的"},
    )


def test_a_task_without_code_gives_a_table_and_a_page(
    folder: Path, tiny_folder: Path, ziggurat_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["exam", str(tiny_folder), "--tasks", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "Knowledge of the world" in shown
    assert "33 %" in shown  # guessing among three
    page = next((ziggurat_home / "exams").glob("*.html")).read_text()
    assert "Mine: " in page
    assert "3 &lt;b&gt;" in page
    assert "3 <b>" not in page


def test_the_same_command_reads_the_finished_result(
    folder: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["exam", str(tiny_folder), "--tasks", str(folder), "--json"]
    assert run(command) == 0
    first = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(
        "ziggurat.dialogue.chat.Chat.load", lambda *a, **k: pytest.fail("the model was loaded")
    )
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out) == first
    result = first["results"][0]
    assert result["n"] == 6
    assert result["chance"] == pytest.approx(1 / 3, abs=1e-6)
    assert result["majority"] == pytest.approx(1 / 3, abs=1e-6)
    assert set(result["strata"]) == {"a", "b"}


def test_shots_are_curves(
    folder: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    command = [
        "exam",
        str(tiny_folder),
        "--tasks",
        str(folder),
        "--shots",
        "0,1,2",
        "--out",
        str(page),
        "--json",
    ]
    assert run([*command, "--language", "zh"]) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert [one["switches"]["shots"] for one in found] == [0, 1, 2]
    text = page.read_text()
    assert 'lang="zh"' in text
    assert "polyline" in text  # a curve over the number of examples
    assert "世界知识" in text


def test_what_is_not_there_is_named(
    folder: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["exam", str(tiny_folder), "--tasks", "sumz"]) == 2
    assert 'There is no task "sumz". Did you mean "sums"?' in capsys.readouterr().err
    assert run(["exam", "no-such-model", "--tasks", str(folder)]) == 2
    assert "no-such-model" in capsys.readouterr().err
    assert run(["exam", str(tiny_folder), "--suite", "cor"]) == 2
    assert "core" in capsys.readouterr().err
    assert run(["exam", str(tiny_folder), "--tasks", str(folder), "--checkpoints"]) == 2
    assert "has no checkpoints" in capsys.readouterr().err


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["exam", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    names = {one["name"] for one in listed["tasks"]}
    assert {"sums", "world-facts", "small-programs", "passages", "three-turns"} <= names
    assert set(listed["suites"]["core"]) & names


def test_every_part_of_a_shipped_suite_is_a_task() -> None:
    known = known_tasks()
    for name, one in read_suites(SHIPPED).items():
        assert one.title.keys() >= {"en", "zh"}, name
        assert [part.task for part in one.tasks if part.task not in known] == [], name


def test_a_wrong_suite_is_named(ziggurat_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (ziggurat_home / "suites.yaml").write_text("suites:\n  mine:\n    tasks: [{task: sums, shot: 1}]\n")
    assert run(["exam", "m", "--suite", "mine"]) == 2
    assert "suites.yaml, mine: tasks.0.shot: " in capsys.readouterr().err


def test_nothing_measured_is_a_failure(
    write_task: Callable[..., Path], tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_task(metric={"name": "judge"})
    assert run(["exam", str(tiny_folder), "--tasks", str(folder)]) == 2
    assert "name one with --judge" in capsys.readouterr().err


def test_the_page_shows_zero_and_false(
    write_task: Callable[..., Path], tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": "How many?", "answer": 0}]
    folder, path = write_task(rows=rows, metric={"name": "number"}, max_tokens=2), tmp_path / "page.html"
    assert run(["exam", str(tiny_folder), "--tasks", str(folder), "--out", str(path)]) == 0
    text = path.read_text()
    assert "shots 0, think False" in text
    entries = [Entry(read_task(folder), Switches(limit=limit)) for limit in (1, 2)]
    assert [one.label for one in _labelled(entries)] == ["1 items", "2 items"]
    item = Item(id="1", raw="How many?", target=0)
    assert _sample(Found("1", "", "", "", ("1",), Mark({"score": 0.0})), item, "en").expected == "0"
