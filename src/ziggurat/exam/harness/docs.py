"""The documents of a task file: local files that `dataset_kwargs.data_files` names.

`dataset_path` is json, csv or parquet; data sets of a hub are not fetched: point `data_files` to local files in a file
of your own that includes the task file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ziggurat.corpus.rows import read_rows
from ziggurat.errors import UsageError
from ziggurat.exam.harness.files import Settings

Doc = dict[str, Any]
KINDS = ("json", "csv", "parquet")


class Docs(list[Doc]):
    """A split, with what `process_docs` functions use of `datasets.Dataset`."""

    def map(self, function: Callable[[Doc], Doc], **_: Any) -> Docs:
        return Docs({**doc, **function(doc)} for doc in self)

    def filter(self, function: Callable[[Doc], bool], **_: Any) -> Docs:
        return Docs(doc for doc in self if function(doc))

    def select(self, indices: Iterable[int]) -> Docs:
        return Docs(self[i] for i in indices)

    def rename_column(self, old: str, new: str) -> Docs:
        return Docs({new if key == old else key: value for key, value in doc.items()} for doc in self)

    def remove_columns(self, names: str | Sequence[str]) -> Docs:
        gone = {names} if isinstance(names, str) else set(names)
        return Docs({key: value for key, value in doc.items() if key not in gone} for doc in self)

    @property
    def column_names(self) -> list[str]:
        return list(self[0]) if self else []

    @property
    def features(self) -> dict[str, None]:
        return dict.fromkeys(self.column_names)


def read_splits(settings: Settings, folder: Path) -> dict[str, Docs]:
    """Every split of a task. UsageError says which file is missing, or how to name local files."""
    name, kind = settings["task"], settings.get("dataset_path")
    files = (settings.get("dataset_kwargs") or {}).get("data_files")
    if kind not in KINDS or not files:
        raise UsageError(
            f"the task {name} reads the data set {kind!r}, and nothing is downloaded; write a file that includes the "
            "task file and has dataset_path: json and dataset_kwargs: {data_files: {SPLIT: PATH}}."
        )
    splits = files if isinstance(files, dict) else {"train": files}
    return {
        split: Docs(_alike([row for path in _paths(each, folder, name) for _, row in read_rows(path)]))
        for split, each in splits.items()
    }


def _paths(written: str | list[str], folder: Path, name: str) -> list[Path]:
    found = []
    for each in [written] if isinstance(written, str) else written:
        path = Path(each).expanduser()
        places = [path] if path.is_absolute() else [Path.cwd() / path, folder / path]
        existing = next((place for place in places if place.is_file()), None)
        if existing is None:
            raise UsageError(
                f"the task {name} reads {each}, and there is no {places[-1]}; correct data_files."
            )
        found.append(existing)
    return found


def _alike(rows: list[Doc]) -> list[Doc]:
    """Rows with the same fields: one that a row lacks is null, as in a table."""
    fields = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in fields} for row in rows]
