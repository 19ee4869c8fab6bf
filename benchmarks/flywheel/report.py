"""What a proof prints: tables for people, then one line of JSON with the machine, the seeds and every figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import measures
from held_out import Sheet, Wins, change, share, wins

from ziggurat.console import out, table
from ziggurat.evaluation.statistics import Interval


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    out.print(table(title, list(columns), [[str(cell) for cell in row] for row in rows]))
    out.print("")


def rate(found: Wins) -> str:
    return f"{found.rate.percent()}, {found.won} of {found.decided} decided"


def verdict(held: bool | None) -> str:
    return "not measured" if held is None else "yes" if held else "no"


def points_of(interval: Interval) -> str:
    """A change of a share, in points."""
    return f"{100 * interval.value:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def sheets_table(title: str, sheets: Sequence[Sheet]) -> None:
    """One row a release: its points, its shares with intervals, its wins over the one before and over the first."""
    groups, figures = list(sheets[0].groups), list(sheets[0].figures)
    rows = []
    for i, sheet in enumerate(sheets):
        before = rate(wins(sheet, sheets[i - 1])) if i else "–"
        first = rate(wins(sheet, sheets[0])) if i > 1 else "–"
        shares = [share(sheet, group).percent() for group in groups]
        rows.append(
            [sheet.name, before, first, *shares, *(f"{sheet.figures.get(name, 0.0):.3f}" for name in figures)]
        )
    show(title, ["release", "wins over the one before", "over the first", *groups, *figures], rows)


def compared(sheets: Sequence[Sheet]) -> dict[str, Any]:
    """Every figure of a line of releases, as JSON."""
    return {
        "prompts": len(sheets[0].points),
        "releases": {
            sheet.name: {
                "shares": {group: share(sheet, group).to_dict() for group in sheet.groups},
                **sheet.figures,
            }
            for sheet in sheets
        },
        "wins_over_the_one_before": [wins(after, before).to_dict() for before, after in pairwise(sheets)],
        "last_over_first": wins(sheets[-1], sheets[0]).to_dict(),
        "changes_from_first": {
            group: change(sheets[-1], sheets[0], group).to_dict() for group in sheets[0].groups
        },
    }


def finish(part: str, found: dict[str, Any]) -> None:
    print(json.dumps({"part": part, **measures.machine(), **found}, ensure_ascii=False))
