"""Reading a file for people: everything it can give, or one record of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from ziggurat.corpus.documents import read_documents
from ziggurat.corpus.load import (
    Imported,
    gives,
    load_comparisons,
    load_demonstrations,
    load_prompts,
    load_ratings,
)
from ziggurat.corpus.sniff import sniff
from ziggurat.errors import DataError
from ziggurat.records import Notes, Record

LOADERS: dict[str, Callable[..., Imported[Any]]] = {
    "demonstrations": load_demonstrations,
    "comparisons": load_comparisons,
    "ratings": load_ratings,
    "prompts": load_prompts,
}


def check_file(path: Path, *, skip_bad_rows: bool = False) -> dict[str, Any]:
    """Read a file to its end as each kind of record it holds; JSON-able."""
    kinds = [] if path.is_dir() else gives(sniff(path))
    if not kinds:
        return {"path": str(path), "kinds": [_check_documents(path, skip_bad_rows)]}
    return {"path": str(path), "kinds": [_check_records(path, kind, skip_bad_rows) for kind in kinds]}


def nth_record(path: Path, number: int) -> Record:
    """Record `number`, counted from 1, of the first kind that a file holds."""
    kinds = [] if path.is_dir() else gives(sniff(path))
    if kinds:
        records = LOADERS[kinds[0]](path).records
        found: list[Record] = list(records[number - 1 : number])
        count = len(records)
    else:
        documents = list(islice(read_documents(path), number))
        found, count = list(documents[number - 1 :]), len(documents)
    if not found:
        raise DataError(f"has {count:,} records; record {number:,} is not there.", path=path)
    return found[0]


def _check_records(path: Path, kind: str, skip_bad_rows: bool) -> dict[str, Any]:
    imported = LOADERS[kind](path, skip_bad_rows=skip_bad_rows)
    return {
        "kind": kind,
        "format": imported.format,
        "records": len(imported.records),
        "dropped": dict(imported.dropped),
        "mended": dict(imported.mended),
        "unused": dict(imported.unused),
        "summary": imported.summary(),
    }


def _check_documents(path: Path, skip_bad_rows: bool) -> dict[str, Any]:
    count = characters = 0
    notes = Notes()
    for document in read_documents(path, skip_bad_rows=skip_bad_rows, notes=notes):
        count += 1
        characters += len(document.text)
    name = "folder" if path.is_dir() else sniff(path).name
    summary = f"{count:,} document{'' if count == 1 else 's'}, {characters:,} characters ({name})"
    summary += notes.summary()
    return {
        "kind": "documents",
        "format": name,
        "records": count,
        "characters": characters,
        "dropped": dict(notes.dropped),
        "mended": dict(notes.mended),
        "unused": dict(notes.unused),
        "summary": summary,
    }
