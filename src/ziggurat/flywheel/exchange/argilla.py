"""A labelling project as Argilla's dataset folder: items, suggestions and everybody's answers under pseudonyms.

`records.json` and `.argilla/settings.json`, which Argilla's `Settings.from_json` and `Record.from_dict` read.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from sqlalchemy import Connection, select

from ziggurat.flywheel.dataset.making import language_of
from ziggurat.flywheel.dataset.permission import Permission
from ziggurat.flywheel.dataset.samples import LeftOut, Sample, Taken
from ziggurat.flywheel.exchange.card import card_of
from ziggurat.flywheel.exchange.export import Source, rows_of
from ziggurat.product.errors import Invalid
from ziggurat.product.mask import masked
from ziggurat.product.principal import Principal
from ziggurat.store.tables.labelling import items
from ziggurat.workbench.labelling import argilla_form as form
from ziggurat.workbench.labelling.answered import ranking_of
from ziggurat.workbench.labelling.rows import newest_guideline, version_row


def argilla(
    conn: Connection, principal: Principal, source: Source
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Raises Invalid without a project: settings and records belong to one."""
    project = source.project
    if project is None:
        raise Invalid("the format argilla exports one project; name it.", param="project_id")
    wanted = select(items).where(items.c.project_id == project.id, items.c.kind == "work", items.c.data_use)
    found = {row.id: row for row in conn.execute(wanted.order_by(items.c.id))}
    questions = version_row(conn, project.id, project.version).questions
    taken = Taken()
    made = {row.id: _record(project.task, row) for row in found.values()}
    if source.settings.private_data == "leave_out":
        made = {key: one for key, one in made.items() if not _private(one["fields"])}
    rows = [row for row in rows_of(conn, principal, source) if row.kind == project.task]
    permission = Permission.of(conn, rows)
    for row in rows:
        person = source.names.of(row.person_id)
        reason = permission.reason_against(row)
        if row.subject_id not in made:
            reason = reason or "private_data"
        if reason not in (None, "conflicted", "overruled"):  # a conflict is what another tool may settle
            taken.left_out.append(LeftOut(row.id, str(reason), row.kind, person))
            continue
        item = found[row.subject_id]
        ids = [str(one["id"]) for one in item.payload.get("completions", ())]
        given = form.fitted(project.task, form.responses(project.task, row.value, ids), questions)
        for name, value in given.items():
            answer = {"value": value, "user_id": str(uuid5(NAMESPACE_OID, person)), "status": "submitted"}
            made[row.subject_id]["responses"].setdefault(name, []).append(answer)
        taken.samples.append(_sample(row, person))
    k = max((len(row.payload.get("completions", ())) for row in found.values()), default=0)
    brief = any(row.payload.get("brief") for row in found.values())
    guideline = newest_guideline(conn, project)
    text = "" if guideline is None else guideline.texts.get("en") or next(iter(guideline.texts.values()), "")
    files = {
        "records.json": _json(list(made.values())),
        ".argilla/settings.json": _json(form.settings(project.task, questions, text, k, brief=brief)),
    }
    counts = {"records.json": len(made)}
    return files, card_of(taken, files, counts, source.settings, form.NOTES)


def _record(task: str, row: Any) -> dict[str, Any]:
    metadata = {"lang": row.lang, "item_status": row.status, "disagreement": row.disagreement}
    made = form.record(row.id, row.payload, metadata, "completed" if row.completed_at else "pending")
    if row.suggestion:
        ids = [str(one["id"]) for one in row.payload.get("completions", ())]
        said = form.responses(task, row.suggestion["value"], ids)
        made["suggestions"] = {
            name: {"value": value, "score": row.suggestion.get("score"), "agent": row.suggestion.get("agent")}
            for name, value in said.items()
            if value not in ([], None)
        }
    return made


def _private(fields: dict[str, Any]) -> bool:
    texts = [m["content"] for m in fields.get("messages", ())] + [
        v for v in fields.values() if isinstance(v, str)
    ]
    return any(masked(text).found for text in texts)


def _sample(row: Any, person: str) -> Sample:
    """For the card's counts and agreement."""
    order = [str(one["id"]) for one in row.completions]
    ranks = ranking_of(row.kind, row.value, order) if row.kind in ("ranking", "pairwise") else None
    record: dict[str, Any] = {"prompt": row.prompt}
    if ranks is not None:
        texts = [str(one["content"]) for one in row.completions]
        record |= {"completions": texts, "ranks": [ranks[one] for one in order]}
    return Sample(
        kind="prompt" if ranks is None else "comparison",
        record=record,
        judgement_id=row.id,
        person_id=row.person_id,
        person=person,
        source=row.kind,
        judged_at=row.created_at,
        basis=row.basis or "work",
        model=", ".join(sorted({str(one["model"]) for one in row.completions if one.get("model")})),
        lang=language_of({"prompt": row.prompt}) if row.prompt else None,
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")
