"""How far the answers to one item are apart, and when that is a conflict that an adjudicator decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import answers, projects
from ziggurat.workbench.labelling.values import score

CONFLICT = 0.4
"""An item is conflicted where its answers are further apart: of four completions in a strict order, three pairs of
six; of a pair or of one label, any difference between two people."""


def disagreement(task: str, values: Sequence[Mapping[str, Any]]) -> float | None:
    """1 - the mean agreement of two answers, 0 (all alike) to 1; None for written texts and fewer than two answers."""
    found = [one for a, b in combinations(values, 2) if (one := _alike(task, a, b)) is not None]
    return round(1 - sum(found) / len(found), 4) if found else None


def _alike(task: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> float | None:
    """Both ways, since a label that only one of the two set counts for that one."""
    both = [one for one in (score(task, a, b), score(task, b, a)) if one is not None]
    return sum(both) / len(both) if both else None


def of_item(conn: Connection, item: Any) -> float | None:
    """Of the answers that count now; `item`: its row."""
    wanted = (
        select(judgements.c.value, projects.c.task)
        .join(answers, answers.c.judgement_id == judgements.c.id)
        .join(projects, projects.c.id == answers.c.project_id)
        .where(answers.c.item_id == item.id, answers.c.status == "submitted")
    )
    rows = conn.execute(wanted).all()
    return disagreement(rows[0].task, [row.value for row in rows]) if len(rows) > 1 else None
