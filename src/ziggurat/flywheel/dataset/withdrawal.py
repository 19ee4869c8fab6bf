"""What happens to dataset versions when people change their mind (PRIV-4).

A withdrawn judgement, chat or consent is absent from every later version, since a build asks for permission anew. A
version that was frozen before stays what it was, and says how much of it is withdrawn now; so do the releases that
learned from it. A deletion also empties the records themselves, in the store at once (`product/burial.py`) and in the
files at the next `clean_files`, which a server runs at its start and every hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.files import sha256_file
from ziggurat.flywheel.dataset.objects import Affected
from ziggurat.flywheel.dataset.permission import Permission
from ziggurat.flywheel.dataset.subjects import rows_of
from ziggurat.flywheel.dataset.version_files import folder_of, measure, put
from ziggurat.flywheel.dataset.versions import items_of, version_row, view
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.store import Store
from ziggurat.store.tables.datasets import dataset_items, dataset_versions
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.releases import releases

TAKEN_BACK = ("no_data_use", "no_consent", "withdrawn")
"""Reasons that a person has, by changing a switch or deleting a chat."""


def affected(store: Store, principal: Principal, ref: str) -> Affected:
    """What of a version may no longer be learned from, and which releases learned from it.

    Raises:
        NotFound: there is no such version.
    """
    require(principal, "flywheel.read")
    with store.read() as conn:
        return affected_version(conn, version_row(conn, principal.workspace_id, ref))


def all_affected(store: Store, principal: Principal) -> list[Affected]:
    """The versions that hold something withdrawn, the newest first."""
    require(principal, "flywheel.read")
    with store.read() as conn:
        wanted = select(dataset_versions).where(dataset_versions.c.workspace_id == principal.workspace_id)
        rows = conn.execute(wanted.order_by(dataset_versions.c.id.desc())).all()
        return [found for row in rows if (found := affected_version(conn, row)).withdrawn]


def affected_version(conn: Connection, row: Any) -> Affected:
    columns = (dataset_items.c.judgement_id, dataset_items.c.content.is_(None).label("empty"))
    items = conn.execute(select(*columns).where(dataset_items.c.version_id == row.id)).all()
    gone = withdrawn_now(conn, sorted({item.judgement_id for item in items}))
    reasons = Counter(gone[item.judgement_id] for item in items if item.judgement_id in gone)
    ref = view(conn, row).ref
    named = learned_from(conn, row.workspace_id, row.id)
    return Affected(
        version_id=row.id,
        ref=ref,
        records=len(items),
        withdrawn=sum(reasons.values()),
        deleted=sum(item.empty for item in items),
        reasons=dict(sorted(reasons.items())),
        releases=named,
        advice=_advice(sum(reasons.values()), len(items), ref, named),
    )


def withdrawn_now(conn: Connection, judgement_ids: Sequence[str]) -> dict[str, str]:
    """Those that may no longer be used, each with why: deleted, withdrawn, no_data_use or no_consent. A judgement that
    its person replaced by another one is not withdrawn."""
    rows = {row.id: row for row in rows_of(conn, judgements, judgement_ids)}
    permission = Permission.of(conn, list(rows.values()))
    found: dict[str, str] = {}
    for one in judgement_ids:
        row = rows.get(one)
        if row is None:
            found[one] = "deleted"
        elif row.withdrawn_at is not None:
            found[one] = "withdrawn"
        elif (reason := permission.reason_against(row)) in TAKEN_BACK:
            found[one] = str(reason)
    return found


def learned_from(conn: Connection, workspace_id: str, version_id: str) -> list[str]:
    """Names of the releases that learned from a version, themselves or through a parent; the newest first."""
    wanted = select(releases.c.name, releases.c.datasets).where(releases.c.workspace_id == workspace_id)
    rows = conn.execute(wanted.order_by(releases.c.id.desc()))
    return [row.name for row in rows if any(one.get("id") == version_id for one in row.datasets)]


def _advice(withdrawn: int, records: int, ref: str, named: Sequence[str]) -> str | None:
    if not withdrawn:
        return None
    build = "build a new version, which leaves them out"
    if not named:
        return f"{withdrawn} of {records} records of {ref} are withdrawn; {build}."
    many = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    return (
        f"{withdrawn} of {records} records of {ref} are withdrawn, and {many} learned from it; {build}, "
        "train from a release before it, and promote that one."
    )


def clean_files(store: Store) -> list[str]:
    """Write the folders of versions anew that still hold texts which were deleted in the store; returns their names."""
    emptied = select(dataset_items.c.version_id).where(dataset_items.c.content.is_(None)).distinct()
    cleaned = []
    with store.read() as conn:
        rows = conn.execute(select(dataset_versions).where(dataset_versions.c.id.in_(emptied))).all()
        versions = [(view(conn, row), items_of(conn, row.id)) for row in rows]
    for version, items in versions:
        folder = folder_of(version.name, version.n)
        wanted = {name: one["sha256"] for name, one in measure(items).items()}
        found = {path.name: sha256_file(path) for path in folder.glob("*.jsonl")}
        if folder.is_dir() and found != wanted:
            put(folder, items, version.card)
            cleaned.append(version.ref)
    return cleaned
