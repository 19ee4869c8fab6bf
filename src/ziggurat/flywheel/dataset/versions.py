"""Frozen dataset versions: finding them, reading their items, writing their folder anew."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from ziggurat.files import sha256_file
from ziggurat.flywheel.dataset import reading
from ziggurat.flywheel.dataset.objects import DatasetVersion
from ziggurat.flywheel.dataset.samples import Taken
from ziggurat.flywheel.dataset.version_files import folder_of, measure, put
from ziggurat.home import portable
from ziggurat.product.errors import NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import iso
from ziggurat.store.store import Store
from ziggurat.store.tables.datasets import dataset_items, dataset_versions, datasets


def view(conn: Connection, row: Any, *, unchanged: bool = False) -> DatasetVersion:
    name = conn.execute(select(datasets.c.name).where(datasets.c.id == row.dataset_id)).scalar_one()
    return DatasetVersion(
        id=row.id,
        name=name,
        n=row.n,
        ref=f"{name}/v{row.n}",
        parent_id=row.parent_id,
        sha256=row.sha256,
        card=row.card,
        path=portable(folder_of(name, row.n)),
        created_at=iso(row.created_at),
        unchanged=unchanged,
    )


def get_version(store: Store, principal: Principal, ref: str) -> DatasetVersion:
    """By id, `name/vN`, or `name`: its newest version.

    Raises:
        NotFound: there is none.
    """
    require(principal, "train")
    with store.read() as conn:
        return view(conn, version_row(conn, principal.workspace_id, ref))


def version_row(conn: Connection, workspace_id: str, ref: str) -> Any:
    name, _, n = ref.partition("/v")
    wanted = (
        select(dataset_versions)
        .join(datasets, datasets.c.id == dataset_versions.c.dataset_id)
        .where(dataset_versions.c.workspace_id == workspace_id)
        .order_by(dataset_versions.c.n.desc())
    )
    by_name = wanted.where(datasets.c.name == name)
    if n.isdigit():
        by_name = by_name.where(dataset_versions.c.n == int(n))
    found = conn.execute(wanted.where(dataset_versions.c.id == ref)).first() or (
        conn.execute(by_name).first() if not n or n.isdigit() else None
    )
    if found is None:
        raise NotFound(f"there is no dataset version {ref!r}; `ziggurat flywheel status` lists them.")
    return found


def list_versions(store: Store, principal: Principal) -> list[DatasetVersion]:
    """All, the newest first."""
    require(principal, "train")
    with store.read() as conn:
        wanted = select(dataset_versions).where(dataset_versions.c.workspace_id == principal.workspace_id)
        rows = conn.execute(
            wanted.order_by(dataset_versions.c.created_at.desc(), dataset_versions.c.id.desc())
        )
        return [view(conn, row) for row in rows]


def items_of(conn: Connection, version_id: str) -> list[dict[str, Any]]:
    """Kind, split and content of its items, in the order of the files."""
    columns = (dataset_items.c.kind, dataset_items.c.split, dataset_items.c.content)
    wanted = select(*columns).where(dataset_items.c.version_id == version_id)
    return [dict(row._mapping) for row in conn.execute(wanted.order_by(dataset_items.c.position))]


def materialise(store: Store, principal: Principal, ref: str) -> DatasetVersion:
    """The version with its folder in place: written again from the store where it is missing or differs."""
    require(principal, "train")
    with store.read() as conn:
        row = version_row(conn, principal.workspace_id, ref)
        version, items = view(conn, row), items_of(conn, row.id)
    folder = folder_of(version.name, version.n)
    wanted = measure(items)
    if _on_disk(folder) != {name: one["sha256"] for name, one in wanted.items()}:
        put(folder, items, version.card)
    return version


def _on_disk(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.glob("*.jsonl"))}


def status(store: Store, principal: Principal) -> dict[str, Any]:
    """What a team asks before the next build: the newest versions, and what has come since."""
    require(principal, "train")
    versions = list_versions(store, principal)
    newest: dict[str, DatasetVersion] = {}
    for one in versions:
        newest.setdefault(one.name, one)
    with store.read() as conn:
        since = conn.execute(
            select(func.max(dataset_versions.c.created_at)).where(
                dataset_versions.c.workspace_id == principal.workspace_id
            )
        ).scalar()
        rows = reading.current(conn, principal.workspace_id, after=since or 0)
        taken = reading.samples_of(conn, principal.workspace_id, rows)
    usable = {one.judgement_id for one in taken.samples}
    return {
        "versions": [
            {
                "id": one.id,
                "ref": one.ref,
                "sha256": one.sha256,
                "created_at": one.created_at,
                "records": one.card["records"],
                "held_out": one.card["held_out"],
                "people": len(one.card["people"]),
                "newest": newest[one.name].id == one.id,
            }
            for one in versions
        ],
        "waiting": {
            "judgements": len(rows),
            "usable": len(usable),
            "left_out": dict(sorted(_reasons(taken).items())),
        },
    }


def _reasons(taken: Taken) -> dict[str, int]:
    return Counter(one.reason for one in taken.left_out)
