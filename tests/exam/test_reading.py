"""Tasks are found by name, and what is wrong in one is said in a sentence with its place."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ziggurat.errors import DataError, UsageError
from ziggurat.exam.reading import MissingData, known_tasks, open_tasks, read_task
from ziggurat.exam.switches import Switches
from ziggurat.exam.templates import items


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"forms": "answer"}, 'forms is no setting of a task. Did you mean "form"?'),
        (
            {"form": "essay"},
            "form is 'essay'; input should be 'choice', 'answer', 'text', 'dialogue' or 'code'.",
        ),
        ({"version": None}, "version is missing; a task needs it."),
        ({"name": "other"}, "name is 'other' and the folder 'mine'; give both one name."),
        (
            {"metric": {"name": "exakt"}},
            "metric.name is 'exakt', which is no metric. Did you mean \"exact\"?",
        ),
        ({"metric": None}, "the form answer needs a metric"),
        ({"prompt": None}, "the form answer needs a prompt."),
        (
            {"rows": {"generate": "sum"}},
            "rows.generate is 'sum', which is no generator. Did you mean \"sums\"?",
        ),
        (
            {"rows": {"generate": "sums", "count": 0}},
            "rows.count is 0; input should be greater than or equal to 1.",
        ),
        ({"shots": {"count": -1}}, "shots.count is -1"),
    ],
)
def test_a_wrong_task_is_refused_by_name(
    write_task: Callable[..., Path], settings: dict[str, object], sentence: str
) -> None:
    folder = write_task(**{"name": "mine", **{k: v for k, v in settings.items() if k != "name"}})
    if "name" in settings:
        path = folder / "task.yaml"
        path.write_text(json.dumps({**json.loads(path.read_text()), "name": settings["name"]}))
    with pytest.raises(UsageError) as raised:
        read_task(folder)
    assert str(raised.value).startswith(f"{folder / 'task.yaml'}: ")
    assert sentence in str(raised.value)


def test_broken_yaml_names_its_line(write_task: Callable[..., Path]) -> None:
    folder = write_task()
    (folder / "task.yaml").write_text("name: mine\ntitle: {en: Mine\nversion: 1\n")
    with pytest.raises(UsageError, match=r"task.yaml line 3: not YAML"):
        read_task(folder)


def test_rows_of_every_format_are_the_same(write_task: Callable[..., Path]) -> None:
    rows = [{"id": "a", "question": "Q?", "answer": "1"}, {"id": "b", "question": "R?", "answer": "2"}]
    folder = write_task(rows=rows)
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "rows.csv").write_text("id,question,answer\na,Q?,1\nb,R?,2\n")
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    for name in ("rows.jsonl", "rows.json", "rows.csv", "rows.parquet"):
        assert read_task(write_task(rows=rows)).rows == rows
        path = folder / "task.yaml"
        path.write_text(json.dumps({**json.loads(path.read_text()), "rows": name}))
        assert read_task(folder).rows == rows, name


def test_ids_are_the_rows_own_or_their_numbers(write_task: Callable[..., Path]) -> None:
    row = {"question": "Q?", "answer": "1"}
    assert [one["id"] for one in read_task(write_task(rows=[row, row])).rows] == ["1", "2"]
    task = read_task(write_task(rows=[{**row, "id": 7}, {**row, "id": "7"}]))
    with pytest.raises(DataError, match="two rows have the id '7'"):
        _ = task.rows


def test_data_elsewhere_may_be_compressed_or_missing(
    write_task: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_task(rows=[])
    path = folder / "task.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rows": "$ZIGGURAT_DATA/set/test.jsonl"}))
    monkeypatch.delenv("ZIGGURAT_DATA", raising=False)
    with pytest.raises(
        MissingData, match=r"mine reads \$ZIGGURAT_DATA/set/test.jsonl, and ZIGGURAT_DATA is not set"
    ):
        _ = read_task(folder).rows
    monkeypatch.setenv("ZIGGURAT_DATA", str(tmp_path))
    with pytest.raises(MissingData, match=r"there is no .*set/test.jsonl"):
        _ = read_task(folder).rows
    (tmp_path / "set").mkdir()
    with gzip.open(tmp_path / "set" / "test.jsonl.gz", "wt") as file:
        file.write('{"question": "Q?", "answer": "1"}\n')
    assert len(read_task(folder).rows) == 1


def test_the_hash_changes_with_rows_and_settings(write_task: Callable[..., Path]) -> None:
    one = read_task(write_task(rows=[{"question": "Q?", "answer": "1"}])).sha256
    assert read_task(write_task(rows=[{"question": "Q?", "answer": "1"}])).sha256 == one
    assert read_task(write_task(rows=[{"question": "Q?", "answer": "2"}])).sha256 != one
    assert read_task(write_task(rows=[{"question": "Q?", "answer": "1"}], max_tokens=9)).sha256 != one


def test_a_task_of_ones_own_is_found_before_a_shipped_one(
    write_task: Callable[..., Path], ziggurat_home: Path
) -> None:
    own = write_task(name="sums")
    (ziggurat_home / "tasks").mkdir()
    own.rename(ziggurat_home / "tasks" / "sums")
    assert open_tasks("sums")[0].file.title == {"en": "Mine"}


def test_every_shipped_task_gives_items_with_and_without_the_template() -> None:
    """Each shipped task is read, its templates are filled in for chat and raw text, and its ids are its own."""
    for name, folder in known_tasks().items():
        task = read_task(folder)
        try:
            rows = task.rows
        except MissingData:
            continue
        for chat in (True, False):
            found = items(task, Switches(chat=chat, limit=3))
            assert [one.id for one in found] == [str(row["id"]) for row in rows[:3]], name
        assert task.file.source, name
        assert task.file.title.keys() >= {"en", "zh"}, name
        assert task.file.about.keys() >= {"en", "zh"}, name
