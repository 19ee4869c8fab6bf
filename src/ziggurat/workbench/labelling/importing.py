"""Items out of files: our own entries, Argilla's records, and every format that `corpus` reads.

    ranking, pairwise   comparisons; their ranks become a suggestion, marked as the file's
    labels, spans       demonstrations and ratings (the last answer), or prompts where prompts are labelled
    rewrite             demonstrations, ratings and comparisons (the best answer)
    demonstration       the conversation up to its last question; `keep_answers`: the file's answer as a draft
    prompt              the last question as the brief

A dry run reports and adds nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ziggurat.corpus.load import Imported, load_comparisons, load_demonstrations, load_prompts, load_ratings
from ziggurat.corpus.rows import kind_of, read_rows
from ziggurat.errors import DataError
from ziggurat.product.common import record
from ziggurat.product.errors import Invalid, ProductError
from ziggurat.product.principal import Principal
from ziggurat.records import Message, Record, completion_messages
from ziggurat.store.store import Store
from ziggurat.workbench.labelling import argilla_form
from ziggurat.workbench.labelling.items import FIELDS, insert_item
from ziggurat.workbench.labelling.rows import project_row, version_row
from ziggurat.workbench.labelling.screening import Screening, screen

MAX_BYTES = 50_000_000
MAX_ROWS = 50_000
SHOWN_REFUSALS = 20
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".ndjson", ".jsonl.gz", ".jsonl.zst")


class Undone(Exception):
    """Ends the transaction of a dry run."""


def import_file(
    store: Store,
    principal: Principal,
    project_id: str,
    data: bytes,
    *,
    name: str,
    dry_run: bool = True,
    rules: Screening | Mapping[str, Any] | None = None,
    keep_answers: bool = False,
) -> dict[str, Any]:
    """Items from an uploaded file. The report says what the file is, what would be or was added, and what not and why.

    Raises:
        Invalid: the file is too large, of no known format, or holds nothing that the project's task can use.
    """
    if len(data) > MAX_BYTES:
        raise Invalid(f"the file has {len(data):,} bytes; at most {MAX_BYTES:,} are read.", param="file")
    try:
        chosen = rules if isinstance(rules, Screening) else Screening.model_validate(dict(rules or {}))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(["rules", *map(str, problem["loc"])])
        raise Invalid(f"{where}: {problem['msg']}.", param=where) from None
    with store.read() as conn:
        project = project_row(conn, principal, project_id, "project.write")
        questions = version_row(conn, project.id, project.version).questions
    found = _read(project.task, questions, data, name, keep_answers)
    screened = screen(found["entries"], chosen)
    report = {
        "dry_run": dry_run,
        "format": found["format"],
        "rows": len(found["entries"]),
        "private_data": dict(screened.private),
        "marked": screened.marked,
        "left_out": dict(screened.left_out),
        "splits": dict(screened.splits),
        "dropped": dict(found["dropped"]),
        "mended": dict(found["mended"]),
        "unused": dict(found["unused"]),
        "sample": screened.entries[:3],
    }
    source = {"kind": "import", "file": name[:200], "format": found["format"]}
    return report | _add(store, principal, project_id, screened.entries, source, dry_run=dry_run)


def _add(
    store: Store,
    principal: Principal,
    project_id: str,
    entries: Sequence[Mapping[str, Any]],
    source: Mapping[str, Any],
    *,
    dry_run: bool,
) -> dict[str, Any]:
    """One transaction, undone at the end of a dry run, so that its report is what an import gives."""
    report: dict[str, Any] = {"added": 0, "duplicates": 0, "refused": [], "refusals": 0}
    try:
        with store.write() as conn:
            project = project_row(conn, principal, project_id, "project.write")
            for at, entry in enumerate(entries):
                try:
                    made = insert_item(conn, store, principal, project, entry, source=source)
                except ProductError as error:
                    report["refusals"] += 1
                    if len(report["refused"]) < SHOWN_REFUSALS:
                        report["refused"].append({"at": at, "message": str(error)})
                    continue
                report["added" if made else "duplicates"] += 1
            if dry_run:
                raise Undone
            detail = {name: report[name] for name in ("added", "duplicates", "refusals")}
            record(
                conn,
                store,
                principal,
                "item.import",
                kind="label_project",
                object_id=project_id,
                detail=detail,
            )
    except Undone:
        pass
    return report


# --- reading ----------------------------------------------------------------------------------------------------------


def _read(
    task: str, questions: Mapping[str, Any], data: bytes, name: str, keep_answers: bool
) -> dict[str, Any]:
    suffix = next(
        (one for one in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(one)), None
    )
    if suffix is None:
        raise Invalid(
            f"the name {name!r} has none of the endings {', '.join(SUFFIXES)}; rename the file.", param="file"
        )
    with tempfile.TemporaryDirectory(prefix="ziggurat-import-") as folder:
        path = Path(folder) / f"import{suffix}"
        path.write_bytes(data)
        try:
            return _own(task, path) or _foreign(task, questions, path, keep_answers)
        except DataError as error:
            said = str(error).replace(str(path), name)
            raise Invalid(said, param="file", code="unreadable") from None


def _found(format: str, entries: list[dict[str, Any]], notes: Any = None) -> dict[str, Any]:
    if len(entries) > MAX_ROWS:
        raise Invalid(
            f"the file has {len(entries):,} rows; at most {MAX_ROWS:,} are read at once.", param="file"
        )
    none: Counter[str] = Counter()
    counts = {key: getattr(notes, key, none) for key in ("dropped", "mended", "unused")}
    return {"format": format, "entries": entries, **counts}


def _own(task: str, path: Path) -> dict[str, Any] | None:
    """Entries as `POST /api/label/projects/ID/items` takes them, or Argilla's records; None: another format."""
    if kind_of(path) in (".csv", ".tsv", ".parquet"):
        return None
    rows = [row for _, row in read_rows(path)]
    if rows and all(isinstance(row.get("fields"), dict) and "responses" in row for row in rows):
        return _argilla(task, rows)
    known = set(FIELDS)
    if not rows or not all(set(row) <= known for row in rows):
        return None
    wanted = {"completions"} if task not in ("demonstration", "prompt") else {"messages", "brief"}
    if not all(wanted & set(row) for row in rows) or any(_ends_on_answer(row) for row in rows):
        return None
    return _found("items", [dict(row) for row in rows])


def _ends_on_answer(row: Mapping[str, Any]) -> bool:
    said = row.get("messages")
    return isinstance(said, list) and bool(said) and said[-1].get("role") == "assistant"


def _argilla(task: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    dropped: Counter[str] = Counter()
    entries = []
    for row in rows:
        try:
            entries.append(argilla_form.entry(task, row))
        except (KeyError, ValueError, TypeError, AttributeError):
            dropped["a record with other fields or questions than this task has"] += 1
        if row.get("responses"):
            dropped["answers of people who are not here (the item is imported without them)"] += 1
    found = _found("argilla records", entries)
    return found | {"dropped": dropped}


def _foreign(task: str, questions: Mapping[str, Any], path: Path, keep_answers: bool) -> dict[str, Any]:
    if task in ("ranking", "pairwise"):
        return _made(load_comparisons(path), lambda one: _comparison(task, one))
    if task in ("demonstration", "prompt"):
        return _made(load_prompts(path), lambda one: _prompt(task, one, keep_answers))
    if task == "labels" and questions.get("target") == "prompt":
        return _made(load_prompts(path), lambda one: {"messages": _said(one.prompt)})
    try:
        return _made(load_ratings(path), lambda one: _answered(one.prompt, one.completion))
    except DataError:
        return _made(load_demonstrations(path), _demonstration)


def _made(imported: Imported[Any], make: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    entries = [{**make(one), **_meta(one)} for one in imported.records]
    return _found(imported.format, entries, imported.notes)


def _meta(one: Record) -> dict[str, Any]:
    meta = {key: value for key, value in (getattr(one, "meta", None) or {}).items() if key != "answer"}
    labeller = getattr(one, "labeller", None)
    if labeller and not str(labeller).startswith("import:"):
        meta["labeller"] = labeller
    return {"meta": meta} if meta and len(json.dumps(meta)) < 20_000 else {}


def _said(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": one.role, "content": one.content} for one in messages if one.content.strip()]


def _text(completion: str | list[Message]) -> str:
    return completion_messages(completion)[-1].content


def _comparison(task: str, one: Any) -> dict[str, Any]:
    """The ranks of the file are a suggestion: marked as the file's, and shown only as the project wants."""
    texts = [_text(completion) for completion in one.completions]
    ids = [f"c{n + 1}" for n in range(len(texts))]
    entry: dict[str, Any] = {"messages": _said(one.prompt), "completions": texts}
    if task == "ranking":
        value: dict[str, Any] = {"ranks": dict(zip(ids, one.ranks, strict=True))}
    elif len(ids) == 2 and one.ranks[0] != one.ranks[1]:
        value = {"strength": -1 if one.ranks[0] < one.ranks[1] else 1, "verdict": None}
    else:
        value = {"strength": 0, "verdict": "tie"}
    entry["suggestion"] = {"value": value, "agent": one.labeller or "import"}
    return entry


def _prompt(task: str, one: Any, keep_answers: bool) -> dict[str, Any]:
    if task == "prompt":
        return {"messages": _said(one.prompt[:-1]), "brief": one.prompt[-1].content}
    entry: dict[str, Any] = {"messages": _said(one.prompt)}
    answer = (one.meta or {}).get("answer")
    return entry | ({"draft": answer} if keep_answers and answer else {})


def _answered(prompt: Sequence[Message], completion: str | list[Message]) -> dict[str, Any]:
    return {"messages": _said(prompt), "completions": [_text(completion)]}


def _demonstration(one: Any) -> dict[str, Any]:
    return {"messages": _said(one.messages[:-1]), "completions": [one.messages[-1].content]}
