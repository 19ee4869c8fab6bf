"""The child process of a fine-tuning job: `python -m ziggurat.flywheel.tuning.run PLAN`.

It runs one stage by the plan that `tuning` wrote, or goes on with its run where that exists.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ziggurat.errors import ZigguratError
from ziggurat.files import read_json
from ziggurat.flywheel.tuning.settings import settings_of
from ziggurat.places import holds_model
from ziggurat.stages.launch import Order, assemble
from ziggurat.stages.stage import declared

PLAN_FORMAT = 1


def main(plan_path: Path) -> int:
    plan = read_json(plan_path, PLAN_FORMAT)
    stage, out = declared()[plan["stage"]], Path(plan["out"])
    if holds_model(out / "model"):  # an earlier process came to the end after its worker had died
        return 0
    data = {stage.inputs[0].argument: [Path(plan["data"])]}
    if plan["held_out"]:
        data["held_out"] = [Path(plan["held_out"])]
    order = Order(
        stage,
        models={stage.models[0].argument: plan["base"]},
        data=data,
        settings=settings_of(
            stage,
            plan["base"],
            plan["seed"],
            plan["hyperparameters"],
            example_tokens=example_tokens(Path(plan["data"])),
        ),
        resume=(out / "manifest.json").is_file(),
    )
    try:
        assemble(order, out).run()
    except ZigguratError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def example_tokens(data: Path) -> int:
    """Tokens of a mean example, at four bytes each."""
    lengths = [len(line) for line in data.read_bytes().splitlines()]
    return max(1, sum(lengths) // max(1, 4 * len(lengths)))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
