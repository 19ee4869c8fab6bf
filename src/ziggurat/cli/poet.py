"""`ziggurat poet`: all four stages on Chinese verse, the exam by the rules of prosody, the report, and the chat."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ziggurat.cli import options
from ziggurat.console import err, out, table


def poet(
    data: Annotated[Path, typer.Option(help="A file of poems: form, title and lines, one poem a row.")],
    budget: Annotated[
        str, typer.Option(help="Time for everything, exam included, such as 25m or 1h.")
    ] = "25m",
    seed: options.TrainingSeed = 0,
    name: options.ClimbName = "poet",
    serve: options.ServeAfterwards = True,
    port: options.Port = None,
    resume: options.ResumeClimb = False,
    overwrite: options.OverwriteClimb = False,
    dry_run: options.PlanOnly = False,
) -> None:
    """Climb the whole ladder on Chinese verse: poems of a given form and title, and acrostics (藏头诗).

    Needs the extra "verse" (pypinyin). Where the poems come from: docs/verse.md.

    \b
    ziggurat poet --data poems_zh.jsonl.gz                     25 minutes on two cores, then the chat page
    ziggurat poet --data poems_zh.jsonl.gz --budget 10m --no-serve
    ziggurat poet --data poems_zh.jsonl.gz --resume
    """
    from ziggurat.files import check_folder
    from ziggurat.ladder.climb import cost_table
    from ziggurat.ladder.plan import parse_budget
    from ziggurat.places import ladder_folder
    from ziggurat.verse import climb as climbing
    from ziggurat.verse import report

    check_folder(ladder_folder(name))
    climb = climbing.begin(
        data,
        parse_budget(budget),
        seed=seed,
        name=name,
        resume=resume,
        overwrite=overwrite,
        keep=not dry_run,
    )
    err.print(table("The plan", ["stage", "work", "about"], climbing.describe_plan(climb)))
    if dry_run:
        return
    climbing.climb_stages(climb, resume=resume)
    result = report.sit_exam(climb)
    report.write_reports(climb, result)
    for one in (report.score_table(result), report.gate_table(result.gates), cost_table(climb)):
        out.print(table(one.title, [*one.columns], one.rows))
        out.print("")
    out.print(report.summarize(result.gates))
    out.print(f"The report: {report.report_path(climb)}")
    if serve:
        from ziggurat.service.server import serve as serve_models

        models = [f"{name}/{path.name}" for path in (climb.runs["pretrain"], climb.runs["sft"], climb.policy)]
        serve_models(models, port=port)
