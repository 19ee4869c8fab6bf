"""`ziggurat runs`: list, show, compare and remove runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.console import human_time, out, table
from ziggurat.errors import UsageError
from ziggurat.files import atomic_write_text, to_json
from ziggurat.places import all_runs, find_run, runs_home
from ziggurat.runs import Run, remove_run

if TYPE_CHECKING:
    from ziggurat.evaluation.compare import Comparison

app = typer.Typer(help="List, show, compare and remove runs.", no_args_is_help=True)

METRICS_SHOWN = 12  # fields of the last metrics row in `show`


@app.command("list")
def list_runs(
    ladder: Annotated[str | None, typer.Argument(help="Only the runs of this ladder.")] = None,
    as_json: options.AsJsonList = False,
) -> None:
    """List runs with their state, steps and wall time.

    \b
    ziggurat runs list
    ziggurat runs list town
    ziggurat runs list --json
    """
    found = [summary(Run.open(path)) for path in all_runs() if ladder in (None, path.parent.name)]
    if as_json:
        typer.echo(to_json(found, indent=2))
        return
    if not found:
        out.print(
            f"No runs{f' of {ladder}' if ladder else ''} in {runs_home()} yet; `ziggurat ladder` makes some."
        )
        return
    rows = [
        (r["name"], r["stage"], r["state"], r["steps"], human_time(r["wall_s"]), r["started_utc"])
        for r in found
    ]
    out.print(
        table(None, ["run", "stage", "state", "steps", "time", "started"], rows, right=("steps", "time"))
    )


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run such as town/ppo-2, town/ppo (the latest), or a path.")],
    as_json: options.AsJson = False,
) -> None:
    """Show one run: the lineage of its model, its settings with their sources, its last metrics.

    \b
    ziggurat runs show town/ppo
    ziggurat runs show town/sft-1 --json
    ziggurat runs show ./my/run
    """
    opened = Run.open(find_run(run))
    metrics = opened.read_metrics()
    facts = summary(opened) | {
        "path": str(opened.path),
        "checkpoints": [path.name for path in opened.checkpoints()],
        "manifest": opened.manifest,
        "last_metrics": metrics[-1] if metrics else None,
        "report": opened.report,
    }
    if as_json:
        typer.echo(to_json(facts, indent=2))
        return
    manifest = facts["manifest"]
    rows = [(key, facts[key]) for key in ("path", "stage", "state", "steps", "started_utc")]
    rows += [
        ("time", human_time(facts["wall_s"])),
        ("checkpoints", ", ".join(facts["checkpoints"]) or "none"),
    ]
    rows += [("from", " <- ".join(ancestors(manifest)) or "nothing"), ("seed", manifest.get("seed"))]
    rows += [("data", f"{d['path']} ({d['records']} records)") for d in manifest.get("data") or []]
    out.print(table(facts["name"], ["", ""], rows))
    out.print("\nSettings:")
    out.print((opened.path / "config.yaml").read_text(encoding="utf-8").rstrip())
    if facts["state"] == "failed":
        out.print(f"\nFailed: {opened.failure}", markup=False)
    if facts["last_metrics"]:
        last = list(facts["last_metrics"].items())[:METRICS_SHOWN]
        out.print("\nLast metrics: " + ", ".join(f"{key} {value}" for key, value in last))


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more runs, such as town/ppo-1 town/ppo-2.")],
    fields: Annotated[
        list[str] | None, typer.Option("--field", help="A metric to compare; may be repeated.")
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="Rows at the end that a figure averages.")] = 20,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with all curves to this file.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare runs: the settings that differ, curves, and figures with 95 % intervals.

    Runs that differ only in their seeds form a group; its interval is over the seeds. Between two single runs the
    interval is over the steps that both have.

    \b
    ziggurat runs compare town/ppo-1 town/ppo-2
    ziggurat runs compare own/sft-1 own/sft-2 own/sft-3 --field loss --html compare.html
    ziggurat runs compare own/ppo-1 own/ppo-2 --last 50 --json
    """
    from ziggurat.evaluation import compare as comparing

    found = comparing.compare_runs([Run.open(find_run(run)) for run in runs], fields=fields or (), last=last)
    if html is not None:
        atomic_write_text(html, comparing.comparison_page(found))
    if as_json:
        typer.echo(to_json(found.to_dict(), indent=2))
        return
    print_comparison(found)
    if html is not None:
        out.print(f"Curves: {html}")


def print_comparison(found: Comparison) -> None:
    """The settings that differ, the curves and the figures."""
    from ziggurat.evaluation import compare as comparing

    for one in (comparing.settings_table(found), comparing.curve_table(found), comparing.figure_table(found)):
        if one.rows:
            out.print(table(one.title, [*one.columns], one.rows))
            out.print("")


@app.command()
def rm(
    runs: Annotated[list[str], typer.Argument(help="Runs such as town/ppo-2; the number is required.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove runs with their models and checkpoints. A run that a process is writing to is refused.

    \b
    ziggurat runs rm town/ppo-2
    ziggurat runs rm town/ppo-1 town/ppo-2 --yes
    """
    paths = [find_run(name) for name in runs]
    for name, path in zip(runs, paths, strict=True):
        Run.open(path)  # only run folders are ever removed
        if path.name != name.rstrip("/").rpartition("/")[2]:
            raise UsageError(
                f'"{name}" can mean several runs; name one, such as {path.parent.name}/{path.name}.'
            )
    if not yes and not typer.confirm(f"Remove {', '.join(str(path) for path in paths)}?", err=True):
        raise typer.Exit(1)
    for path in paths:
        remove_run(path)
        out.print(f"Removed {path}.")


@app.command()
def path(
    run: Annotated[str | None, typer.Argument(help="A run; without it, the folder of all runs.")] = None,
) -> None:
    """Print the folder of all runs, or of one run.

    \b
    ziggurat runs path
    ls $(ziggurat runs path town/ppo)
    """
    typer.echo(find_run(run) if run else runs_home())


def summary(run: Run) -> dict[str, Any]:
    """One row of the list."""
    manifest = run.manifest
    metrics = run.read_metrics()
    state = "finished" if manifest.get("finished_utc") else "running" if run.locked else "interrupted"
    if state == "interrupted" and run.failure is not None:
        state = "failed"
    return {
        "name": f"{run.path.parent.name}/{run.path.name}",
        "stage": run.stage,
        "state": state,
        "steps": metrics[-1].get("step") if metrics else 0,
        "wall_s": float(manifest.get("wall_s") or 0.0),
        "started_utc": manifest.get("started_utc"),
    }


def ancestors(manifest: dict[str, Any]) -> list[str]:
    """The folders of the models that a run's model comes from, nearest first."""
    chain = []
    parent = manifest.get("parent")
    while isinstance(parent, dict):
        chain.append(str(parent.get("path")))
        parent = parent.get("parent")
    return chain


@app.command()
def watch(
    ladder: Annotated[
        str | None, typer.Argument(help="A ladder; without it, what runs now or ran last.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print once and end.")] = False,
) -> None:
    """Watch a climb or a run as it goes on: stages, curves, samples, remarks, time left. Ctrl-C only ends the watching.

    \b
    ziggurat runs watch
    ziggurat runs watch town
    ziggurat runs watch town --once
    """
    from ziggurat.cli.watching import watch_ladder

    watch_ladder(ladder, once=once)
