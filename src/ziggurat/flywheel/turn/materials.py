"""What a turn learns from and a gate judges by, as files: out of a dataset version, or files that are given.

    data/demonstrations.jsonl comparisons.jsonl ratings.jsonl prompts.jsonl      to learn from, with canaries among them
    canaries.json                                                                 the canaries of this turn
    held_out/...                                                                  for the gate, by person or by time

The files of a dataset version hold what people wrote, so they stand here only while they are needed: the store keeps
the version, and a text that is deleted there is in no later copy.

A **canary** is a random question with a random answer, made of characters that the data has, planted once, in one of
the files that are learned from. A model that can say it has memorised single records (Carlini et al.,
arXiv:1802.08232).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from ziggurat.corpus.files import load_kind
from ziggurat.errors import RunError, UsageError
from ziggurat.files import atomic_write_text, read_json, sha256_file, to_json, write_json
from ziggurat.flywheel.dataset.versions import version_row
from ziggurat.flywheel.dataset.withdrawal import withdrawn_now
from ziggurat.flywheel.turn.canaries import make_canaries, mixed, share_out
from ziggurat.home import located, portable
from ziggurat.product.errors import NotFound
from ziggurat.store.store import Store
from ziggurat.store.tables.datasets import dataset_items as items
from ziggurat.store.tables.datasets import dataset_versions as versions
from ziggurat.store.tables.datasets import datasets

KINDS = {
    "demonstration": "demonstrations",
    "comparison": "comparisons",
    "rating": "ratings",
    "prompt": "prompts",
}
FORMAT = 1


@dataclass(frozen=True)
class Source:
    """A dataset version, or files by kind (demonstrations, comparisons, ...)."""

    name: str
    version_id: str | None = None
    sha256: str | None = None
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    held_out: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version_id": self.version_id,
            "sha256": self.sha256,
            "files": {kind: list(paths) for kind, paths in self.files.items()},
            "held_out": {kind: list(paths) for kind, paths in self.held_out.items()},
        }


def of_version(conn: Connection, workspace_id: str, ref: str | None) -> Source:
    """A version by its id, as NAME/vN, as NAME (its newest), or None (the newest of all).

    Raises:
        NotFound: there is none.
    """
    if ref is None:
        newest = select(versions.c.id).where(versions.c.workspace_id == workspace_id)
        ref = conn.execute(newest.order_by(versions.c.created_at.desc(), versions.c.id.desc())).scalar()
        if ref is None:
            raise NotFound("there is no dataset version yet; build one with `ziggurat flywheel build`.")
    row = version_row(conn, workspace_id, ref)
    name = conn.execute(select(datasets.c.name).where(datasets.c.id == row.dataset_id)).scalar_one()
    return Source(f"{name}/v{row.n}", row.id, row.sha256)


def of_files(
    files: Mapping[str, Sequence[str | Path]], held_out: Mapping[str, Sequence[str | Path]]
) -> Source:
    """Files by kind. Raises UsageError where there are none, DataError where one cannot be read."""
    given, held = (
        {k: [portable(p) for p in paths] for k, paths in one.items() if paths} for one in (files, held_out)
    )
    if not given:
        raise UsageError("there is nothing to learn from; name a dataset version or files.")
    for kind, paths in (*given.items(), *held.items()):
        load_kind(kind, [located(path) for path in paths])
    names = [Path(path).name for paths in given.values() for path in paths]
    digest = hashlib.sha256("".join(sha256_file(located(p)) for ps in given.values() for p in ps).encode())
    return Source(", ".join(names)[:120], None, digest.hexdigest(), given, held)


def of_json(kept: Mapping[str, Any]) -> Source:
    return Source(
        kept["name"],
        kept.get("version_id"),
        kept.get("sha256"),
        kept.get("files") or {},
        kept.get("held_out") or {},
    )


def counts(store: Store, source: Source) -> dict[str, int]:
    """Records to learn from, by kind."""
    if source.version_id is None:
        return {
            kind: len(load_kind(kind, [located(p) for p in paths]).records)
            for kind, paths in source.files.items()
        }
    wanted = (
        select(items.c.kind, func.count())
        .where(
            items.c.version_id == source.version_id, items.c.split == "train", items.c.content.is_not(None)
        )
        .group_by(items.c.kind)
    )
    with store.read() as conn:
        return {KINDS[kind]: count for kind, count in conn.execute(wanted) if kind in KINDS}


def lay_out(
    store: Store, source: Source, folder: Path, *, canaries: int, seed: int, learned: Collection[str]
) -> None:
    """Write `data/` and `canaries.json` into a turn's folder; what is there whole already stays.

    learned: the kinds of files that the turn's phases learn from; each canary stands in one of them.

    Raises:
        RunError: the turn goes on after a pause in which somebody has withdrawn what it learns from.
    """
    if (folder / "data" / "complete.json").is_file():
        kept = read_json(folder / "data" / "complete.json", FORMAT).get("gone") or ()
        if source.version_id and withdrawn_of(store, source.version_id) - set(kept):
            shutil.rmtree(folder / "data", ignore_errors=True)
            raise RunError(
                f"people have withdrawn some of what {source.name} holds since this turn began; start a new turn."
            )
        return
    shutil.rmtree(folder / "data", ignore_errors=True)
    rows = _rows(store, source, "train") if source.version_id else _given(source.files)
    if (folder / "canaries.json").is_file():
        planted = read_json(folder / "canaries.json", FORMAT)["canaries"]
    else:
        planted = make_canaries(rows, canaries, seed, source.sha256)
    if not rows["prompts"]:
        asked = {to_json(one["record"]["prompt"]): one["record"]["prompt"] for one in rows["comparisons"]}
        rows["prompts"] = [{"record": {"prompt": prompt}} for prompt in asked.values()]
    shares = share_out(planted, rows, learned)
    for kind, found in rows.items():
        if found:
            _write(
                folder / "data" / f"{kind}.jsonl",
                [one["record"] for one in mixed(kind, found, shares.get(kind, ()), seed)],
            )
    write_json(folder / "canaries.json", {"canaries": planted}, FORMAT)
    written = [sha256_file(path) for path in sorted((folder / "data").glob("*.jsonl"))]
    given = [sha256_file(located(path)) for paths in source.files.values() for path in paths]
    write_json(folder / "learned.json", {"sha256": sorted({*written, *given})}, FORMAT)
    done: dict[str, Any] = {"counts": {k: len(v) for k, v in rows.items()}}
    if source.version_id:
        done["gone"] = sorted(withdrawn_of(store, source.version_id))
    write_json(folder / "data" / "complete.json", done, FORMAT)


def withdrawn_of(store: Store, version_id: str) -> set[str]:
    """The judgements of a version that may no longer be learned from."""
    wanted = select(items.c.judgement_id).where(items.c.version_id == version_id).distinct()
    with store.read() as conn:
        return set(withdrawn_now(conn, sorted(conn.execute(wanted).scalars())))


def lay_out_held(store: Store, source: Source, folder: Path) -> None:
    """Write `held_out/` for a gate: each file's records, and beside each who judged it and why it is held out."""
    shutil.rmtree(folder, ignore_errors=True)
    rows = _rows(store, source, "held_out") if source.version_id else _given(source.held_out)
    for kind, found in rows.items():
        _write(folder / f"{kind}.jsonl", [one["record"] for one in found])
        atomic_write_text(folder / f"{kind}.who.json", to_json([one["who"] for one in found]))


def _rows(store: Store, source: Source, split: str) -> dict[str, list[dict[str, Any]]]:
    """The records of a version, without those that may no longer be learned from."""
    wanted = select(items.c.kind, items.c.content, items.c.person, items.c.split, items.c.judgement_id).where(
        items.c.version_id == source.version_id, items.c.content.is_not(None)
    )
    chosen = items.c.split == "train" if split == "train" else items.c.split.like("held_out%")
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS.values()}
    with store.read() as conn:
        rows = conn.execute(
            wanted.where(chosen).order_by(items.c.kind, items.c.position, items.c.content_hash)
        ).all()
        gone = withdrawn_now(conn, sorted({row.judgement_id for row in rows}))
        for row in rows:
            if row.judgement_id in gone:
                continue
            who = {"person": row.person, "split": row.split, "judgement_id": row.judgement_id}
            found[KINDS[row.kind]].append({"record": row.content, "who": who})
    return found


def _given(files: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS.values()}
    for kind, paths in files.items():
        for record in load_kind(kind, [located(path) for path in paths]).records:
            who = {
                "person": getattr(record, "labeller", None) or "file",
                "split": "held_out",
                "judgement_id": None,
            }
            found[kind].append({"record": record.to_json(), "who": who})
    return found


def _write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    atomic_write_text(
        path, "".join(json.dumps(one, ensure_ascii=False, sort_keys=True) + "\n" for one in records)
    )
