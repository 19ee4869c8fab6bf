"""`ziggurat tax`: what a stage of training costs: abilities lost or gained, and old facts forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.console import ProgressLine, err, out, table
from ziggurat.errors import UsageError
from ziggurat.files import atomic_write_text, to_json

if TYPE_CHECKING:
    from ziggurat.exam.tax import Change, Kept, Tax


def tax(
    models: Annotated[
        list[str], typer.Argument(help="The older model first, then those that were trained from it.")
    ],
    suite: Annotated[str | None, typer.Option(help="A suite; default: tax, unless --tasks.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks by name or folder, with commas.")] = None,
    limit: Annotated[int | None, typer.Option(help="Items of a task at most.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of examples and samples.", min=0)] = 0,
    out_file: Annotated[Path | None, typer.Option("--out", help="Also write a page (HTML).")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare models of one lineage ability by ability, on the same questions, with paired 95 % intervals.

    An ability is lost where the whole interval lies below 0. The last table follows the questions that the first model
    answered right. Results are shared with `ziggurat exam`, so what was sat before is read.

    \b
    ziggurat tax town/sft town/ppo
    ziggurat tax town/base town/sft town/ppo --suite tax --limit 40
    ziggurat tax smollm2 my/fine-tune --tasks world-facts,kinds --out tax.html
    """
    if len(dict.fromkeys(models)) < 2:
        raise UsageError(
            "`ziggurat tax` compares models; name the older one and at least one trained from it."
        )
    from ziggurat.evaluation.report import Section, html_table, render_page
    from ziggurat.exam.card import Ways, entries_of, hold
    from ziggurat.exam.tax import retention, retention_table, tax_tables
    from ziggurat.exam.tax import tax as compare

    names = [name.strip() for name in (tasks or "").split(",") if name.strip()]
    chosen = suite or (None if names else "tax")
    entries, missing = entries_of(names, chosen, Ways(limit=limit, seed=seed))
    with ProgressLine() as line:
        card = hold(models, entries, missing=missing, say=line.update)
    sat = [[result for (name, _), result in card.results.items() if name == model] for model in card.models]
    found = [compare(sat[0], later) for later in sat[1:]]
    kept = retention(sat)
    if as_json:
        typer.echo(to_json(_json(found, kept), indent=2))
    else:
        tables = [one for each in found for one in tax_tables(each)]
        tables.append(retention_table(card.models[0], kept))
        for one in tables:
            out.print(table(one.title, one.columns, one.rows))
        if out_file is not None:
            sections = [Section(one.title, html_table(one)) for one in tables]
            atomic_write_text(out_file, render_page("Alignment tax", ", ".join(card.models), sections))
            out.print(f"The page: {out_file}", soft_wrap=True)
    for model, task, why in card.missing:
        err.print(f"Not measured: {task}{f' by {model}' if model else ''}: {why}", soft_wrap=True)


def _json(found: list[Tax], kept: list[Kept]) -> dict[str, Any]:
    def changes(parts: list[Change]) -> list[dict[str, Any]]:
        return [
            {
                "name": one.name,
                "ability": one.ability,
                "before": one.before,
                "after": one.after,
                "difference": one.difference.to_dict(),
                "verdict": one.verdict,
            }
            for one in parts
        ]

    return {
        "compared": [
            {
                "before": one.before,
                "after": one.after,
                "abilities": changes(one.abilities),
                "tasks": changes(one.tasks),
            }
            for one in found
        ],
        "retention": [
            {
                "model": one.model,
                "kept": one.kept.to_dict(),
                "learned": one.learned.to_dict(),
                "forgotten": list(one.forgotten),
            }
            for one in kept
        ],
    }
