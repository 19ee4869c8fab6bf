"""How much of a task is in what a model learned from: the data files of its lineage, where they are still there.

The text of an item are the texts of its row, not the template around them. A file is read once for all tasks, and what
was found is kept below `$ZIGGURAT_HOME/exams/overlap/`, by the hashes of file and task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ziggurat.corpus.overlap import Overlap
from ziggurat.corpus.rows import kind_of, read_rows, read_text
from ziggurat.errors import DataError, ZigguratError
from ziggurat.exam.reading import Row, Task
from ziggurat.exam.run import exams_home
from ziggurat.files import read_json, sampled_sha256, sha256_file, write_json
from ziggurat.home import located
from ziggurat.lineage import manifest_around
from ziggurat.places import model_folder

BIGGEST = 2 << 30
"""Bytes of a file that is read; a larger one is named as not read."""
FORMAT = 1
RULE = 2
"""Raised when what counts as found or judged changes, so that what was kept before is not read."""
_NOT_TEXT = frozenset({"id", "steps"})
_ROWS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".ndjson")


@dataclass
class Corpora:
    """The data files of a model's lineage."""

    files: list[Path] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Files that the lineage names and that are not read, each with the reason."""


def corpora_of(model: str) -> Corpora:
    """What a model and its parents learned from; nothing where it has no lineage (a model from elsewhere)."""
    found = Corpora()
    try:
        entry: Any = manifest_around(model_folder(model))
    except ZigguratError:
        return found
    seen = set()
    while isinstance(entry, Mapping):
        for one in entry.get("data") or ():
            written = str(one.get("path", ""))
            if not written or written in seen:
                continue
            seen.add(written)
            path = located(written)
            if why := _unread(path, str(one.get("sha256") or "")):
                found.gone.append(f"{path.name} ({why})")
            else:
                found.files.append(path)
        entry = entry.get("parent")
    return found


def _unread(path: Path, sha256: str) -> str:
    """Why a file of a lineage is not read; "" for one that is. `sha256`: what it had when the model learned from it."""
    if not path.is_file():
        return "not there any more"
    known = path.stat()
    if known.st_size > BIGGEST:
        return f"larger than {BIGGEST >> 30} GiB"
    if sha256 and _sha256(path, known.st_size, known.st_mtime_ns) != sha256:
        return "changed since the model learned from it"
    return ""


@lru_cache(256)
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    """Of a file, read once for all models that learned from it."""
    del size, changed_ns
    return sha256_file(path)


def overlaps(corpora: Corpora, tasks: Sequence[Task]) -> dict[str, dict[str, bool]]:
    """For each task, by name, each item that could be judged, and whether a file holds it.

    Items without a run of 8 words are not judged. Empty where there is no file to read. A file that turns out not to be
    data is added to `corpora.gone`.
    """
    result: dict[str, dict[str, bool]] = {}
    if not corpora.files:
        return result
    for path in list(corpora.files):
        try:
            for name, known in _of_file(path, tasks).items():
                kept = result.setdefault(name, {})
                for item, there in known.items():
                    kept[item] = kept.get(item, False) or there
        except DataError as error:
            corpora.gone.append(f"{path.name} ({error.reason.rstrip('.')})")
            corpora.files.remove(path)
    return {name: known for name, known in result.items() if known}


def _of_file(path: Path, tasks: Sequence[Task]) -> dict[str, dict[str, bool]]:
    own = sampled_sha256([path])
    places = {
        task.name: exams_home()
        / "overlap"
        / f"{hashlib.sha256(f'{own} {task.sha256} {RULE}'.encode()).hexdigest()[:32]}.json"
        for task in tasks
    }
    found = {
        name: {str(k): bool(v) for k, v in read_json(place, FORMAT)["items"].items()}
        for name, place in places.items()
        if place.is_file()
    }
    left = [task for task in tasks if task.name not in found]
    if not left:
        return found
    looked = {task.name: Overlap({str(row["id"]): list(texts_of(row)) for row in task.rows}) for task in left}
    for text in texts_in(path):
        for one in looked.values():
            one.read(text)
    for name, one in looked.items():
        found[name] = {key: key in one.found for key in sorted(one.judged)}
        write_json(places[name], {"items": found[name]}, FORMAT)
    return found


def texts_of(row: Row) -> Iterator[str]:
    """Every text of a row, but its id and its worked steps."""
    for key, value in row.items():
        if key not in _NOT_TEXT:
            yield from _strings(value)


def texts_in(path: Path) -> Iterator[str]:
    """Every text of a data file. DataError where it is none."""
    if kind_of(path) in _ROWS:
        for _, row in read_rows(path):
            yield "\n".join(_strings(row))
    else:
        yield from read_text(path).split("\n\n")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
