"""`ziggurat ladder`: all four stages on the embedded town, the exam, the report, and the chat."""

from __future__ import annotations

from typing import Annotated

import typer

from ziggurat.cli import options
from ziggurat.console import err, out, table


def ladder(
    budget: Annotated[str, typer.Option(help="Time for the four stages, such as 2m, 10m or 1h.")] = "9m",
    town: options.Town = 1,
    seed: options.TrainingSeed = 0,
    name: options.ClimbName = "town",
    fixed_plan: Annotated[
        bool, typer.Option(help="The recipe's amounts as they stand, whatever this machine's speed.")
    ] = False,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Afterwards also examine more SFT for PPO's time, and best of four."),
    ] = False,
    serve: options.ServeAfterwards = True,
    port: options.Port = None,
    resume: options.ResumeClimb = False,
    overwrite: options.OverwriteClimb = False,
    dry_run: options.PlanOnly = False,
) -> None:
    """Climb the whole ladder on the embedded town: pre-training, SFT, reward model and PPO, then the exam.

    \b
    ziggurat ladder                       ten minutes on two cores, then the chat page
    ziggurat ladder --budget 2m --no-serve
    ziggurat ladder --town 7 --seed 1 --name seven
    """
    from ziggurat.files import check_folder
    from ziggurat.ladder.climb import cost_table
    from ziggurat.ladder.plan import parse_budget
    from ziggurat.places import ladder_folder
    from ziggurat.town import climb as climbing
    from ziggurat.town import finals, ladder_report
    from ziggurat.town.gates import summarize
    from ziggurat.town.ladder import climb_stages

    check_folder(ladder_folder(name))
    climb = climbing.begin(
        town,
        parse_budget(budget),
        seed=seed,
        name=name,
        fixed_plan=fixed_plan,
        resume=resume,
        overwrite=overwrite,
        keep=not dry_run,
    )
    err.print(table("The plan", ["stage", "work", "about"], climbing.describe_plan(climb)))
    if dry_run:
        return
    climb_stages(climb, resume=resume)
    result = finals.sit_exam(climb)
    ladder_report.write_reports(climb, result)
    if controls:
        finals.sit_controls(climb, result)
        ladder_report.write_reports(climb, result)
    for one in (
        ladder_report.score_table(result, "all"),
        ladder_report.gate_table(result.gates),
        cost_table(climb, beside=ladder_report.BESIDE_THE_STAGES),
    ):
        out.print(table(one.title, [*one.columns], one.rows))
        out.print("")
    out.print(summarize(result.gates))
    out.print(f"The report: {ladder_report.report_path(climb)}")
    if serve:
        from ziggurat.service.server import serve as serve_models

        models = [f"{name}/{climb.runs[stage].name}" for stage in ("pretrain", "sft")] + [
            f"{name}/{climb.policy.name}"
        ]
        serve_models(models, port=port)
