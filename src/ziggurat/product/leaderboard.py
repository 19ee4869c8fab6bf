"""Ratings of models from blind votes: those of battles, and picks in chats whose owners let them out.

A vote is left out where an answer named its model, or where both answers are of one model.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import Connection, select

from ziggurat.evaluation.bradley_terry import Battle, Winner, fit, ratings, standardised, win_matrix
from ziggurat.product.battles import language
from ziggurat.product.leaks import leaks
from ziggurat.product.objects import Thing
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements

STYLE = ("length", "headings", "lists", "bold")
MOST = 20_000
"""Votes that are rated, the newest first."""
FEW, RESAMPLES_MANY = 3_000, 100
"""With style control and more votes than FEW, fewer resamples: their intervals are narrow anyway."""


class Standing(Thing):
    name: str
    rank: int
    rating: float
    low: float
    high: float
    elo: float
    battles: int
    wins: float


class Leaderboard(Thing):
    style: bool
    lang: str | None
    votes: int
    left_out: dict[str, int]
    """`leaked` and `same_model`: votes that are not rated."""
    languages: dict[str, int]
    outcomes: dict[str, int]
    standings: list[Standing]
    matrix: dict[str, dict[str, list[float]]]
    """[wins, battles] of the row's model against the column's."""
    style_weights: dict[str, float]
    """What one standard deviation of a covariate is worth in log-odds; empty without style control."""


class _Vote(Thing):
    a: str
    b: str
    winner: str
    lang: str
    style: tuple[float, ...]
    leaked: bool


def leaderboard(
    store: Store, principal: Principal, *, style: bool = False, lang: str | None = None
) -> Leaderboard:
    """All votes of the workspace, rated. `style`: as if all answers were of equal length and form; `lang`: only
    prompts in that language."""
    require(principal, "battle")
    with store.read() as conn:
        votes = _votes(conn, principal.workspace_id)
    languages = Counter(one.lang for one in votes)
    votes = [one for one in votes if lang is None or one.lang == lang]
    leaked = sum(one.leaked for one in votes)
    same = sum(one.a == one.b and not one.leaked for one in votes)
    rated = [one for one in votes if not one.leaked and one.a != one.b]
    played = [Battle(one.a, one.b, cast("Winner", one.winner)) for one in rated]
    weights: dict[str, float] = {}
    if style and played:
        covariates = standardised([one.style for one in rated])
        played = [replace(one, style=x) for one, x in zip(played, covariates, strict=True)]
        weights = dict(zip(STYLE, fit(played).style, strict=True))
    resamples = RESAMPLES_MANY if style and len(played) > FEW else 300
    return Leaderboard(
        style=style,
        lang=lang,
        votes=len(rated),
        left_out={"leaked": leaked, "same_model": same},
        languages=dict(sorted(languages.items())),
        outcomes=dict(sorted(Counter(one.winner for one in rated).items())),
        standings=[
            Standing(**{name: getattr(one, name) for name in Standing.model_fields})
            for one in ratings(played, resamples=resamples)
        ],
        matrix={
            row: {column: list(cell) for column, cell in cells.items()}
            for row, cells in win_matrix(played).items()
        },
        style_weights=weights,
    )


def _votes(conn: Connection, workspace_id: str) -> list[_Vote]:
    of_battles = judgements.c.kind == "vote"
    of_chats = (judgements.c.kind == "pick") & judgements.c.data_use
    wanted = select(judgements).where(
        judgements.c.workspace_id == workspace_id,
        of_battles | of_chats,
        judgements.c.superseded_by.is_(None),
        judgements.c.withdrawn_at.is_(None),
    )
    rows = conn.execute(wanted.order_by(judgements.c.id.desc()).limit(MOST))
    return [vote for vote in map(_vote, rows) if vote is not None]


def _vote(row: Any) -> _Vote | None:
    """None of a pick whose models were known."""
    if len(row.completions) != 2 or (row.kind == "pick" and not row.value.get("hidden_models")):
        return None
    first, second = row.completions
    winner = row.value["winner"]
    if row.kind == "pick":
        sides = {first["message_id"]: "a", second["message_id"]: "b"}
        winner = sides.get(winner, winner)
    asked = " ".join(str(one.get("content") or "") for one in row.prompt if one.get("role") == "user")
    models, texts = (str(first["model"]), str(second["model"])), (_text(first), _text(second))
    leaked = bool(row.value.get("leaked")) if row.kind == "vote" else leaks(texts, models, asked)
    return _Vote(
        a=models[0],
        b=models[1],
        winner=winner,
        lang=language(asked),
        style=style_of(*texts),
        leaked=leaked,
    )


def _text(completion: Any) -> str:
    return str(completion.get("content") or "")


def style_of(a: str, b: str) -> tuple[float, ...]:
    """The covariates of a pair: for each of STYLE (x_a - x_b) / (x_a + x_b), 0 where neither has any."""
    pairs = zip(_counts(a), _counts(b), strict=True)
    return tuple((x - y) / (x + y) if x + y else 0.0 for x, y in pairs)


def _counts(text: str) -> tuple[int, ...]:
    return (
        len(text),
        len(re.findall(r"^#{1,6} ", text, re.MULTILINE)),
        len(re.findall(r"^\s*(?:[-*+]|\d+[.)]) ", text, re.MULTILINE)),
        len(re.findall(r"\*\*[^*\n]+\*\*|__[^_\n]+__", text)),
    )
