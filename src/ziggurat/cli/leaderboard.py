"""`ziggurat leaderboard`: all models that sat an exam. `ziggurat advise`: is this a task for a language model?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.cli.store import Address
from ziggurat.console import human_count, out, table
from ziggurat.errors import UsageError, did_you_mean
from ziggurat.files import to_json

if TYPE_CHECKING:
    from ziggurat.exam.leaderboard import Board, Column, Entry

FIXED: dict[str, str] = {
    "model": "model",
    "mean": "mean",
    "grade": "grade",
    "win_rate": "win rate",
    "rating": "arena",
    "parameters": "size",
    "tokens_each": "tokens",
    "seconds_each": "seconds",
    "licence": "licence",
}
"""Columns that are no tasks: name of the field and heading."""
BLANK = "n/a"


def leaderboard(
    sort: Annotated[str, typer.Option(help="A column or a task to sort by.")] = "mean",
    references: Annotated[
        bool, typer.Option("--references", help="The published tables below, for orientation.")
    ] = False,
    percentiles: Annotated[
        bool,
        typer.Option(
            "--percentiles", help="In place of intervals: the share of the other models that score worse."
        ),
    ] = False,
    store: Address = None,
    as_json: options.AsJson = False,
) -> None:
    """All models that sat an exam: figures with intervals, arena rating, size, cost of an answer, licence.

    mean is over the tasks that every model sat. grade and win rate are those of `ziggurat judge mt-bench`.

    \b
    ziggurat leaderboard
    ziggurat leaderboard --sort parameters
    ziggurat leaderboard --references --json
    """
    found = _board(store)
    known = [*FIXED, *(column.task for column in found.columns)]
    if sort not in known:
        hint = did_you_mean(sort, known) or f" There are {', '.join(known)}."
        raise UsageError(f'There is no column "{sort}".{hint}')
    lower = frozenset(column.task for column in found.columns if column.better == "lower")
    shown = sorted(found.models, key=lambda one: _key(one, sort, lower))
    if as_json:
        board = found.model_dump() | {"models": [one.model_dump() for one in shown]}
        typer.echo(to_json(board if references else board | {"references": {}}, indent=2))
        return
    if not shown:
        out.print("No model has sat an exam yet; `ziggurat exam MODEL` begins one.")
    else:
        tasks = [column for column in found.columns if column.task != "mt-bench"]
        heads = [*FIXED.values(), *(column.task for column in tasks)]
        rows = [[*_facts(one), *(_share(one, column, percentiles) for column in tasks)] for one in shown]
        out.print(table(None, heads, rows, right=heads[1:8]))
    if references:
        for one in found.references.values():
            out.print()
            rows = [[row["model"], *(_plain(row[name]) for name in one["columns"])] for row in one["rows"]]
            out.print(table(one["title"]["en"], ["model", *one["columns"]], rows, right=one["columns"]))
            out.print(f"Source: {one['source']}. {one['note']['en']}")


def advise(
    task: Annotated[str, typer.Argument(help="What is to be done, in your own words, English or Chinese.")],
    as_json: options.AsJson = False,
) -> None:
    """Say whether a task is one for a language model, by two published lists, and why.

    The rule looks for words; it shows which ones it found, and says so where it found none.

    \b
    ziggurat advise "write product descriptions from a few examples"
    ziggurat advise "forecast the sales of next month"
    """
    from ziggurat.exam import suitable

    found = suitable.advise(task)
    if as_json:
        typer.echo(to_json(found.model_dump(), indent=2))
        return
    said = {
        "suitable": "A language model is suitable for this.",
        "unsuitable": "A language model is not the best choice for this.",
        "mixed": "Parts of this are for a language model, and parts are not.",
        "unknown": "No word of the description is on either list; describe the task in more words.",
    }
    out.print(said[found.verdict])
    for one in found.reasons:
        side = "for" if one.suitable else "against"
        out.print(f"  {side}: {one.title['en']} ({', '.join(one.words)}). {one.why['en']}")
        if one.instead:
            out.print(f"    Better: {one.instead['en']}")
    for one in found.careful:
        out.print(f"  take care: {one.title['en']} ({', '.join(one.words)}). {one.why['en']}")


def _board(address: str | None) -> Board:
    """With the arena and the costs of the store, where there is one."""
    from ziggurat.exam import leaderboard as exam
    from ziggurat.product import people
    from ziggurat.store.location import store_url
    from ziggurat.store.store import Store

    url = store_url(address)
    if url.drivername.startswith("sqlite") and not Path(url.database or "").is_file():
        return exam.board()
    store = Store.open(address)
    try:
        return exam.of_store(store, people.local_principal(store))
    finally:
        store.close()


def _key(one: Entry, column: str, lower: frozenset[str]) -> tuple[Any, ...]:
    """Texts from a to z, numbers from high to low, those of `lower` from low to high, unknown ones last."""
    figure = one.figures.get(column)
    value: Any = figure.score if figure else getattr(one, column, None) if column in FIXED else None
    if value is None:
        return (1, 0, one.model)
    if isinstance(value, str):
        return (0, value.lower(), one.model)
    return (0, value if column in lower else -value, one.model)


def _facts(one: Entry) -> list[str]:
    rating = BLANK if one.rating is None else f"{one.rating:.0f}"
    return [
        one.model,
        BLANK if one.mean is None else f"{100 * one.mean:.1f}",
        BLANK if one.grade is None else f"{one.grade:.2f}",
        BLANK if one.win_rate is None else f"{100 * one.win_rate:.1f}",
        rating,
        BLANK if one.parameters is None else human_count(one.parameters),
        BLANK if one.tokens_each is None else f"{one.tokens_each:.0f}",
        BLANK if one.seconds_each is None else f"{one.seconds_each:.1f}",
        one.licence or BLANK,
    ]


def _share(one: Entry, column: Column, percentiles: bool) -> str:
    """In percent, or in the column's own unit; with its interval, or the share of models that score worse."""
    figure = one.figures.get(column.task)
    if figure is None or figure.score is None:
        return BLANK
    scale, digits = (100, 1) if column.unit == "share" else (1, 3)
    value = f"{scale * figure.score:.{digits}f}"
    if percentiles:
        return value if figure.percentile is None else f"{value} (above {100 * figure.percentile:.0f} %)"
    if figure.low is None or figure.high is None:
        return value
    return f"{value} [{scale * figure.low:.{digits}f}, {scale * figure.high:.{digits}f}]"


def _plain(value: Any) -> str:
    return BLANK if value is None else f"{value:g}"
