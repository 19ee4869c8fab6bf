"""What an answer of each model costs, from the store: tokens over the newest answers, seconds over the recent ones.

Only counts are read, never a text. A model without a finished answer is missing.
"""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import select

from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import SECOND
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import generations, messages

MOST = 20_000
"""Answers that are read, the newest first."""
FEWEST = 20
"""Answers of a model from which on a mean is given: fewer may be those of one person."""


def of_answers(store: Store, principal: Principal) -> dict[str, dict[str, float]]:
    """By model: the means `tokens` (written) and `seconds` of an answer, where at least FEWEST are known."""
    require(principal, "battle")
    wrote = (
        select(messages.c.model, messages.c.usage)
        .where(
            messages.c.workspace_id == principal.workspace_id,
            messages.c.role == "assistant",
            messages.c.state == "complete",
            messages.c.model.is_not(None),
        )
        .order_by(messages.c.id.desc())
        .limit(MOST)
    )
    took = (
        select(generations.c.model, generations.c.started_at, generations.c.ended_at)
        .where(
            generations.c.workspace_id == principal.workspace_id,
            generations.c.status == "complete",
            generations.c.ended_at.is_not(None),
            generations.c.model.is_not(None),
        )
        .order_by(generations.c.id.desc())
        .limit(MOST)
    )
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with store.read() as conn:
        for row in conn.execute(wrote):
            tokens = (row.usage or {}).get("completion_tokens")
            if isinstance(tokens, int):
                found[row.model]["tokens"].append(tokens)
        for one in conn.execute(took):
            found[one.model]["seconds"].append((one.ended_at - one.started_at) / SECOND)
    return {
        model: {name: sum(values) / len(values) for name, values in kinds.items() if len(values) >= FEWEST}
        for model, kinds in sorted(found.items())
    }
