"""`python -m ziggurat.flywheel.turn.phase FILE`: one stage of a turn, in a process of its own.

FILE is phase-N.json in the turn's folder. The first call resolves the settings, fits the steps to the phase's share of
the time budget and writes plan-N.json; then it runs the stage. A later call finds the plan and resumes the run, which
ends with the same bytes. The same run by hand is the command that the plan holds.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from ziggurat.errors import ZigguratError
from ziggurat.files import read_json, write_json
from ziggurat.flywheel.turn.methods import RESERVED

FORMAT = 1


def run(file: Path) -> Path:
    """Plan, if it is not planned yet, and run; returns the run's folder."""
    from ziggurat.settings import nest
    from ziggurat.stages.launch import Order, assemble
    from ziggurat.stages.stage import declared

    phase = read_json(file, FORMAT)
    if phase["stage"] == "whole":
        return make_whole(phase["models"]["base"], Path(phase["out"]))
    stage, out = declared()[phase["stage"]], Path(phase["out"])

    def order(settings: dict[str, Any], resume: bool) -> Order:
        data = {name: [Path(path) for path in paths] for name, paths in phase["data"].items()}
        return Order(
            stage,
            models=phase["models"],
            data=data,
            settings=[("the turn", nest(settings))],
            resume=resume,
            skip_bad_rows=True,
        )

    planned = file.with_name(file.name.replace("phase-", "plan-"))
    if not planned.is_file():
        plan = fitted(assemble(order(phase["settings"], False), out), phase)
        plan["command"] = command_of(phase, plan["settings"])
        write_json(planned, plan, FORMAT)
    plan = read_json(planned, FORMAT)
    print(f"plan: {plan['sentence']}", flush=True)
    begun = (out / "manifest.json").is_file()
    return assemble(order(plan["settings"], begun), out).run()


def fitted(call: Any, phase: dict[str, Any]) -> dict[str, Any]:
    """The settings with as many steps as the phase's time allows, at most those that the stage itself would take."""
    ready, settings, budget_s = call.prepare(), dict(phase["settings"]), phase.get("budget_s")
    cost = ready.cost
    if cost is None or not budget_s:
        steps = cost.steps if cost is not None else 0
        return {
            "settings": settings,
            "steps": steps,
            "sentence": f"{steps:,} steps; no time budget was given.",
        }
    from ziggurat.stages.setup import check_cost, loop_of
    from ziggurat.training.precision import measure_machine

    check_cost(call.order.stage.name, ready)
    step_s = cost.step_s(measure_machine(device=loop_of(ready.config).device))
    room = max(1, int(budget_s * RESERVED / max(step_s, 1e-9)))
    steps = min(cost.steps, room)
    if steps < cost.steps:
        settings["train.steps"] = steps
    why = "all that the data ask for" if steps == cost.steps else f"of {cost.steps:,} that the data ask for"
    return {
        "settings": settings,
        "steps": steps,
        "sentence": f"{steps:,} steps, {why}, of about {step_s:.3g} s each in {budget_s:,.0f} s.",
    }


def command_of(phase: dict[str, Any], settings: dict[str, Any]) -> str:
    """The command that runs this phase by hand."""
    from ziggurat.stages.stage import declared

    stage = declared()[phase["stage"]]
    words = ["ziggurat", stage.name]
    for model in stage.models:
        if phase["models"].get(model.argument):
            words += [model.options[0], phase["models"][model.argument]]
    for item in stage.inputs:
        for path in phase["data"].get(item.argument, ()):
            words += [item.option, path]
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    return shlex.join([*words, "--out", phase["out"]])


def make_whole(base: str, out: Path) -> Path:
    """An adapter's model with the adapter worked into its weights: what is judged is what will be served."""
    from ziggurat.files import replace_folder
    from ziggurat.lineage import code_version, parent_entry
    from ziggurat.models.export import export

    if not (out / "model").is_dir():
        out.mkdir(parents=True, exist_ok=True)
        known = {"stage": "whole", "parent": parent_entry(Path(base)), "data": [], "code": code_version()}
        write_json(out / "lineage.json", known, FORMAT)

        def write(aside: Path) -> None:
            export(base, "hf", aside, overwrite=True)

        replace_folder(out / "model", write)
    return out


def main() -> None:
    try:
        print(run(Path(sys.argv[1])), flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except ZigguratError as error:
        print(f"Error: {error}", flush=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
