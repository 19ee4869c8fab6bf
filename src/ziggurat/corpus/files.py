"""Files of a person to records, with the entries that a manifest keeps of each file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from ziggurat.console import err
from ziggurat.errors import DataError
from ziggurat.lineage import data_entry
from ziggurat.records import Document, Notes, Record

R = TypeVar("R", bound=Record)


@dataclass
class Loaded(Generic[R]):
    """Records with the manifest's entries of the files that they came from."""

    records: list[R] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.records)


def documents(paths: Sequence[Path] | None, *, role: str = "data", skip: bool = False) -> Loaded[Document]:
    """Raw text from files and folders; prints a summary of each file. Raises DataError."""
    from ziggurat.corpus.documents import read_documents

    loaded: Loaded[Document] = Loaded()
    for file in _files(paths or []):
        notes = Notes()
        found = list(read_documents(file, skip_bad_rows=skip, notes=notes))
        loaded.records += found
        loaded.entries.append({**data_entry(file, len(found)), "role": role})
        characters = sum(len(d.text) for d in found)
        err.print(
            f"{file}: {len(found):,} document{'' if len(found) == 1 else 's'}, {characters:,} characters"
            f"{notes.summary()}"
        )
    return loaded


def records(
    paths: Sequence[Path] | None, load: Callable[..., Any], *, role: str = "data", skip: bool = False
) -> Loaded[Any]:
    """Records from files by a function of `ziggurat.corpus.load`; prints a summary of each file. Raises DataError."""
    loaded: Loaded[Any] = Loaded()
    for file in paths or []:
        imported = load(file, skip_bad_rows=skip)
        loaded.records += imported.records
        loaded.entries.append({**data_entry(file, len(imported.records)), "role": role})
        err.print(f"{file}: {imported.summary()}")
    return loaded


def load_kind(
    kind: str, paths: Sequence[Path] | None, *, role: str = "data", skip: bool = False
) -> Loaded[Any]:
    """Files of one kind of data: documents, demonstrations, comparisons, ratings or prompts. Raises DataError."""
    if kind == "documents":
        return documents(paths, role=role, skip=skip)
    from ziggurat.corpus import load

    return records(paths, getattr(load, f"load_{kind}"), role=role, skip=skip)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        if not inside:
            raise DataError("the folder holds no file; name one that does.", path=path)
        yield from inside
