"""Judgements out as files for other trainers, with a card.

Only what may be learned from now is exported (`flywheel/dataset/permission.py`): consent given, the chat's switch on,
nothing withdrawn or deleted, no gold item. Names are pseudonyms. The order is that of the judgements; the same store
gives the same bytes. Validation rows come from other people than training rows.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, select

from ziggurat.corpus.formats.cells import Unusable
from ziggurat.corpus.formats.writing import SHAPES, Shape, dataset_info
from ziggurat.errors import did_you_mean
from ziggurat.flywheel.dataset import filters, reading, splitting
from ziggurat.flywheel.dataset.pseudonyms import Pseudonyms, pseudonyms
from ziggurat.flywheel.dataset.samples import LeftOut, Taken
from ziggurat.flywheel.exchange.card import card_of, readme_of
from ziggurat.product.common import record, row_of
from ziggurat.product.errors import Invalid
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.records import Comparison, Demonstration, Record
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import items, projects
from ziggurat.store.tables.workspace import tombstones

BATCH = 400
Rows = list[dict[str, Any]]


class ExportSettings(BaseModel):
    """What an export holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    licence: str = Field(default="unknown", max_length=200)
    """Of the data, as their owner says; written into the card."""
    person_cap: int = Field(default=200, ge=1, le=1_000_000)
    """Prompts of one person, the newest; InstructGPT's number."""
    held_out_people: float = Field(default=0.1, ge=0, le=0.5)
    """Share of people whose rows are for validation; of fewer than 5 nobody is held out."""
    private_data: Literal["leave_out", "keep"] = "leave_out"
    """Records with an e-mail address, a phone, identity or card number."""
    weak: bool = True
    """Whether thumbs and metrics of end users are in it."""


@dataclass(frozen=True)
class Export:
    name: str
    files: dict[str, bytes]
    card: dict[str, Any]

    def zipped(self) -> bytes:
        """All files in one archive; without clocks, so that equal data are equal bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sorted(self.files.items()):
                archive.writestr(zipfile.ZipInfo(f"{self.name}/{name}", (1980, 1, 1, 0, 0, 0)), data)
        return buffer.getvalue()


@dataclass(frozen=True)
class Source:
    """Of which judgements: those of one project, or (None) of the workspace."""

    project: Any
    names: Pseudonyms
    settings: ExportSettings


def export(
    store: Store,
    principal: Principal,
    format: str,
    *,
    project_id: str | None = None,
    settings: ExportSettings | Mapping[str, Any] | None = None,
) -> Export:
    """The judgements of a project (for its lead) or of the workspace (for whoever may train) in one format.

    Raises:
        Forbidden, NotFound: the person may not.
        Invalid: an unknown format, or one that needs a project; nothing to export (code nothing_to_export).
    """
    from ziggurat.flywheel.exchange.others import OTHERS

    if format not in SHAPES and format not in OTHERS:
        known = [*SHAPES, *OTHERS]
        raise Invalid(
            f'there is no format "{format}"; there are {", ".join(known)}.{did_you_mean(format, known)}',
            param="format",
        )
    chosen = settings if isinstance(settings, ExportSettings) else ExportSettings(**(settings or {}))
    with store.write() as conn:
        project = _allowed(conn, principal, project_id)
        source = Source(project, pseudonyms(conn, store), chosen)
        if format in OTHERS:
            files, card = OTHERS[format](conn, principal, source)
        else:
            files, card = _shaped(conn, principal, source, SHAPES[format])
        if not card["rows"]:
            left = ", ".join(f"{reason} {one['count']}" for reason, one in card["left_out"].items())
            raise Invalid(
                f"no judgement gives a row of {format}; left out: {left or 'none'}.", code="nothing_to_export"
            )
        card = {"format": format, "project": project.name if project is not None else None, **card}
        detail = {"format": format, "rows": card["rows"], "sha256": card["sha256"], "project_id": project_id}
        record(
            conn,
            store,
            principal,
            "judgements.export",
            kind="label_project",
            object_id=project_id,
            detail=detail,
        )
    written = files | {
        "card.json": (json.dumps(card, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode(),
        "README.md": readme_of(card).encode(),
    }
    return Export(f"{format}-{card['sha256'][:12]}", written, card)


def _allowed(conn: Connection, principal: Principal, project_id: str | None) -> Any:
    if project_id is None:
        require(principal, "train")
        return None
    return require_on(principal, "project.write", "project", row_of(conn, projects, project_id))


def rows_of(conn: Connection, principal: Principal, source: Source) -> list[Any]:
    """The judgements that hold now; none with a tombstone."""
    rows = reading.current(conn, principal.workspace_id)
    if source.project is not None:
        inside = select(items.c.id).where(items.c.project_id == source.project.id)
        ids = set(conn.execute(inside).scalars())
        rows = [row for row in rows if row.subject_kind == "item" and row.subject_id in ids]
    buried = _buried(conn, [row.id for row in rows] + [row.person_id for row in rows])
    return [row for row in rows if row.id not in buried and row.person_id not in buried]


def _buried(conn: Connection, ids: Sequence[str]) -> set[str]:
    wanted = sorted(set(ids))
    found: set[str] = set()
    for at in range(0, len(wanted), BATCH):
        part = tombstones.c.object_id.in_(wanted[at : at + BATCH])
        found |= set(conn.execute(select(tombstones.c.object_id).where(part)).scalars())
    return found


def taken_of(conn: Connection, principal: Principal, source: Source) -> Taken:
    """The training records of the judgements after the filters, each with its pseudonym and its side of the split."""
    taken = reading.samples_of(conn, principal.workspace_id, rows_of(conn, principal, source))
    taken.samples = [one.with_(person=source.names.of(one.person_id)) for one in taken.samples]
    taken.left_out = [one._replace(person_id=source.names.of(one.person_id)) for one in taken.left_out]
    if not source.settings.weak:
        taken.keep_if("weak", lambda one: not one.weak)
    if source.settings.private_data == "leave_out":
        filters.without_private_data(taken)
    filters.without_duplicates(taken)
    filters.without_near_duplicates(taken)
    filters.within_person_cap(taken, source.settings.person_cap)
    return taken


def _shaped(
    conn: Connection, principal: Principal, source: Source, shape: Shape
) -> tuple[dict[str, bytes], dict[str, Any]]:
    taken = taken_of(conn, principal, source)
    kind = shape.kind.__name__.lower()
    taken.samples = [one for one in taken.samples if one.kind == kind]
    splitting.split(taken, people=source.settings.held_out_people, time=0)
    sides: dict[str, Rows] = {"train": [], "valid": []}
    kept = []
    for one in taken.samples:
        made = record_of(one, shape.kind)
        try:
            rows = list(shape.rows(made))
        except Unusable as reason:
            taken.left_out.append(LeftOut(one.judgement_id, str(reason), one.kind, one.person))
            continue
        sides["train" if one.split == "train" else "valid"] += rows
        kept.append(one)
    taken.samples = kept
    files = {f"{side}.jsonl": lines(rows) for side, rows in sides.items() if rows}
    counts = {f"{side}.jsonl": len(rows) for side, rows in sides.items() if rows}
    if info := {
        name: entry
        for side in sides
        if f"{side}.jsonl" in files
        for name, entry in (dataset_info(f"ziggurat_{side}", shape, f"{side}.jsonl") or {}).items()
    }:
        files["dataset_info.json"] = (json.dumps(info, ensure_ascii=False, indent=2) + "\n").encode()
    return files, card_of(taken, files, counts, source.settings, shape.notes)


def record_of(sample: Any, kind: type[Record]) -> Record:
    """With the pseudonym of who judged, where the record can hold it."""
    made = kind.model_validate(sample.record)
    if isinstance(made, Comparison | Demonstration):
        made.labeller = sample.person
    return made


def lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")
