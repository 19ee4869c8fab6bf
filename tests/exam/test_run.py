"""A killed exam goes on and ends with the same bytes; a finished one is read; results belong to what made them."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ziggurat.errors import RunError
from ziggurat.exam import run as run_module
from ziggurat.exam.reading import read_task
from ziggurat.exam.run import all_results, sit
from ziggurat.exam.switches import Switches

ALL = Switches()


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "BATCH", 3)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_killed_exam_ends_with_the_same_bytes(
    write_task: Callable[..., Path], scripted: Any, ziggurat_home: Path
) -> None:
    """It is ended after each number of calls, with half a line behind the last whole batch."""
    task = read_task(write_task())

    def say(text: str) -> str:
        return text.split()[2].rstrip("?")

    whole = sit(scripted(say), task, ALL)
    wanted = bytes_of(whole.folder)
    assert set(wanted) == {"settings.json", "rows.jsonl", "figure.json"}
    assert whole.figure["score"] == 1.0
    for calls in (1, 2):
        for path in whole.folder.iterdir():
            path.unlink()
        left = calls

        class Killed(scripted):  # type: ignore[misc, valid-type]
            def answers(self, *given: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise KeyboardInterrupt
                left -= 1
                return super().answers(*given)

        with pytest.raises(KeyboardInterrupt):
            sit(Killed(say), task, ALL)
        with open(whole.folder / "rows.jsonl", "a") as file:
            file.write('{"id": "9", "str')
        again = scripted(say)
        assert bytes_of(sit(again, task, ALL).folder) == wanted
        assert again.calls == 3 - calls  # finished batches are not asked again


def test_a_finished_result_is_read(write_task: Callable[..., Path], scripted: Any) -> None:
    task = read_task(write_task())
    candidate = scripted(lambda text: "1")
    first = sit(candidate, task, ALL)
    calls = candidate.calls
    second = sit(candidate, task, ALL)
    assert candidate.calls == calls
    assert second.figure == first.figure
    assert [one.answers for one in second.found] == [("1",)] * 8
    assert [one.folder for one in all_results()] == [first.folder]
    assert sit(candidate, task, ALL, fresh=True).figure == first.figure
    assert candidate.calls == 2 * calls


def test_a_result_belongs_to_model_task_and_switches(write_task: Callable[..., Path], scripted: Any) -> None:
    task = read_task(write_task())
    candidate = scripted(lambda text: "1")
    folders = {sit(candidate, task, ALL).folder}
    for change in ({"limit": 4}, {"shots": 1}, {"chat": False}, {"seed": 1}, {"think": True}, {"samples": 2}):
        folders.add(sit(candidate, task, dataclasses.replace(ALL, **change)).folder)
    folders.add(sit(candidate, read_task(write_task(max_tokens=3)), ALL).folder)
    other = scripted(lambda text: "1")
    other.sha256 = "6" * 64
    folders.add(sit(other, task, ALL).folder)
    assert len(folders) == 9


def test_rows_of_another_task_are_refused(write_task: Callable[..., Path], scripted: Any) -> None:
    task = read_task(write_task())
    result = sit(scripted(lambda text: "1"), task, ALL)
    (result.folder / "figure.json").unlink()
    rows = (
        (result.folder / "rows.jsonl")
        .read_text()
        .replace('"id":"1"', '"id":"x"')
        .replace('"id": "1"', '"id": "x"')
    )
    (result.folder / "rows.jsonl").write_text(rows)
    with pytest.raises(RunError, match="holds other items than the task"):
        sit(scripted(lambda text: "1"), task, ALL)


CHILD = """
import sys, time
from ziggurat.exam import run
from ziggurat.exam.reading import read_task
from ziggurat.exam.switches import Switches
from pathlib import Path
run.BATCH = 1
class Slow:
    name, sha256, chats = "slow", "7" * 64, True
    def answers(self, conversations, ask):
        time.sleep(float(sys.argv[2]))
        return [[one[-1].content] for one in conversations]
run.sit(Slow(), read_task(Path(sys.argv[1])), Switches())
"""


def test_sigkill(write_task: Callable[..., Path], ziggurat_home: Path) -> None:
    folder = write_task()

    def begin(pause_s: float) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", CHILD, str(folder), str(pause_s)], env=os.environ)

    with begin(0.3) as process:
        for _ in range(400):
            rows = list(ziggurat_home.glob("exams/*/*/rows.jsonl"))
            if rows and rows[0].read_bytes().count(b"\n") >= 2:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    before = rows[0].read_bytes()
    assert not (rows[0].parent / "figure.json").exists()
    with begin(0) as process:
        assert process.wait(60) == 0
    assert rows[0].read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert json.loads((rows[0].parent / "figure.json").read_text())["n"] == 8


def test_a_dialogue_is_sat_once(write_task: Callable[..., Path], scripted: Any) -> None:
    """More samples would make it warm, and only one answer can go on."""
    rows = [{"turns": [{"user": "a", "answer": "a"}]}]
    task = read_task(write_task(form="dialogue", prompt=None, answer=None, rows=rows))
    done = run_module.resolved(scripted(str), task, dataclasses.replace(ALL, samples=4))
    assert (done.samples, done.temperature) == (1, 0.0)


def test_a_result_belongs_to_what_its_metric_reads(
    write_task: Callable[..., Path], scripted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corpus with other bytes is another result."""
    monkeypatch.setenv("ZIGGURAT_DATA", str(tmp_path))
    metric = {"name": "novelty", "settings": {"files": ["$ZIGGURAT_DATA/book.txt"]}}
    task = read_task(write_task(metric=metric, answer=None))
    folders = set()
    for text in ("one", "two", "two"):
        (tmp_path / "book.txt").write_text(text)
        candidate = scripted(str)
        settings = run_module.settings_of(candidate, task, run_module.resolved(candidate, task, ALL))
        folders.add(run_module.folder_of(settings))
    assert len(folders) == 2
