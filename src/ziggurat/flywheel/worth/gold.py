"""Answers to known items: what tells a careful labeller from a careless one."""

from __future__ import annotations

from sqlalchemy import Connection, select

from ziggurat.store.tables.base import metadata

KNOWN = ("gold", "test")
"""Kinds of items whose answer is known and which are answered without help; a training item shows it."""


def gold_answers(conn: Connection, workspace_id: str) -> dict[str, tuple[float, float]]:
    """Person -> (right, wrong). An answer that agrees with the known value by 0.75 is 0.75 right and 0.25 wrong."""
    answers, items = metadata.tables.get("label_answer"), metadata.tables.get("label_item")
    if answers is None or items is None:
        return {}
    wanted = (
        select(answers.c.person_id, answers.c.score)
        .join(items, items.c.id == answers.c.item_id)
        .where(
            answers.c.workspace_id == workspace_id,
            items.c.kind.in_(KNOWN),
            answers.c.score.is_not(None),
            answers.c.status.in_(("submitted", "extra")),
        )
    )
    found: dict[str, tuple[float, float]] = {}
    for row in conn.execute(wanted):
        right, wrong = found.get(row.person_id, (0.0, 0.0))
        found[row.person_id] = (right + row.score, wrong + 1.0 - row.score)
    return found
