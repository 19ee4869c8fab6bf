"""`ziggurat exam`: what models can do, as a table and a report page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.console import ProgressLine, err, out, table
from ziggurat.errors import UsageError
from ziggurat.files import atomic_write_text, to_json

if TYPE_CHECKING:
    from ziggurat.exam.card import Card

LANGUAGES = ("en", "zh")


def exam(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, model names, folders, or NAME@http://host:port/v1.", show_default=False),
    ] = None,
    suite: Annotated[str | None, typer.Option(help="A suite; default: core, unless --tasks.")] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Tasks by name or folder, with commas; also a harness's *.yaml.")
    ] = None,
    shots: Annotated[str | None, typer.Option(help="Worked examples before a question: 0, or 0,1,5.")] = None,
    think: Annotated[
        bool, typer.Option("--think", help="Also ask for steps, and show those of the examples.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw/--chat", help="Raw text; default: the chat template where there is one.")
    ] = False,
    generate: Annotated[
        bool, typer.Option("--generate", help="Read the letter of a choice from what the model writes.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Items of a task at most.", min=1)] = None,
    samples: Annotated[int | None, typer.Option(help="Answers to each question.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of examples and samples.", min=0)] = 0,
    baseline: Annotated[
        str | None, typer.Option(help="A model that the others are compared with, in pairs.")
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Every checkpoint of the runs too, as curves.")
    ] = False,
    judge: Annotated[str | None, typer.Option(help="The model that grades, where a task asks one.")] = None,
    upstream: Annotated[
        list[str] | None, typer.Option("--upstream", help="NAME=URL of an OpenAI-compatible server.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Sit again what was sat before.")] = False,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run Python that a harness's task file names.")
    ] = False,
    language: Annotated[str, typer.Option(help="Of the page: en or zh.")] = "en",
    out_file: Annotated[
        Path | None, typer.Option("--out", help="The page; default: below $ZIGGURAT_HOME/exams.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List tasks and suites, and stop.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Let models sit an exam: one table, one page, every figure with its interval, guessing beside it.

    \b
    ziggurat exam smollm2 town/ppo --suite core
    ziggurat exam smollm2 --tasks sums,my-task --shots 0,1,4 --think
    ziggurat exam town/ppo --baseline town/sft --checkpoints
    ziggurat exam gpt-x@http://localhost:8000/v1 --tasks world-facts --generate
    ziggurat exam --list
    """
    if language not in LANGUAGES:
        raise UsageError(f"--language is {language!r}; it is en or zh.")
    if list_all:
        _list(language, as_json)
        return
    if not models:
        raise UsageError("`ziggurat exam` needs a model; `ziggurat exam --list` shows the tasks.")
    from ziggurat.exam.candidates import upstreams_of
    from ziggurat.exam.card import Ways, entries_of, hold

    ways = Ways(
        shots=_numbers(shots), think=think, chat=not raw, generate=generate, limit=limit, samples=samples,
        seed=seed, judge=judge,
    )  # fmt: skip
    names = [name.strip() for name in (tasks or "").split(",") if name.strip()]
    chosen = suite or (None if names else "core")
    entries, missing = entries_of(names, chosen, ways, trust_code=trust_code)
    if not entries:
        raise UsageError(
            missing[0][2] if missing else "there is no task to sit; `ziggurat exam --list` shows them."
        )
    with ProgressLine() as line:
        card = hold(
            models,
            entries,
            missing=missing,
            baseline=baseline,
            checkpoints=checkpoints,
            upstreams=upstreams_of(upstream or ()),
            fresh=fresh,
            say=line.update,
        )
    _show(card, language, out_file, as_json)


def _show(card: Card, language: str, out_file: Path | None, as_json: bool) -> None:
    """Write the page and print the table. Exit status 2 where nothing could be measured."""
    from ziggurat.exam.page import figures_table, page
    from ziggurat.exam.run import exams_home

    path = out_file or exams_home() / f"{'+'.join(card.models).replace('/', '+')[:100]}.html"
    atomic_write_text(path, page(card, language))
    if as_json:
        typer.echo(to_json(_json(card, path), indent=2))
    else:
        shown = figures_table(card, language)
        out.print(table(None, shown.columns, shown.rows, right=()))
        for model, task, why in card.missing:
            err.print(f"Not measured: {task}{f' by {model}' if model else ''}: {why}", soft_wrap=True)
        out.print(f"The page: {path}", soft_wrap=True)
    if not card.results:
        raise typer.Exit(2)


def _numbers(text: str | None) -> tuple[int, ...]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"--shots is {text!r}; give whole numbers with commas, such as 0,1,5.")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _json(card: Card, path: Path) -> dict[str, Any]:
    results = []
    for (model, number), result in card.results.items():
        change = card.difference(model, number)
        results.append(
            {
                "model": model,
                "sha256": result.settings["sha256"],
                "switches": result.settings["switches"],
                "label": card.entries[number].label,
                "folder": str(result.folder),
                **result.figure,
                **({} if change is None else {"against": card.baseline, "difference": change.to_dict()}),
            }
        )
    missing = [{"model": model or None, "task": task, "why": why} for model, task, why in card.missing]
    return {"models": card.models, "results": results, "not_measured": missing, "page": str(path)}


def _list(language: str, as_json: bool) -> None:
    """Tasks with their ability and form, and suites."""
    from ziggurat.exam.reading import known_tasks, read_task
    from ziggurat.exam.suites import known_suites

    found = [read_task(folder) for folder in known_tasks().values()]
    suites = known_suites()
    if as_json:
        listed = [
            {
                "name": task.name,
                "title": task.file.title,
                "ability": task.file.ability,
                "form": task.file.form,
            }
            for task in found
        ]
        chosen = {name: [part.task for part in one.tasks] for name, one in suites.items()}
        typer.echo(to_json({"tasks": listed, "suites": chosen}, indent=2))
        return
    rows = [(t.name, t.file.ability, t.file.form, t.text(t.file.title, language)) for t in found]
    out.print(table("Tasks", ("name", "ability", "form", "title"), rows))
    named = [(name, ", ".join(part.task for part in one.tasks)) for name, one in suites.items()]
    out.print(table("Suites", ("name", "tasks"), named))
