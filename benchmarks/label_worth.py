"""How much nearer to the truth weighted labels are, with 20 % hostile people, beside the unweighted arm.

    python benchmarks/label_worth.py [--seeds 20]

20 people judge pairs whose true order is known; honest ones are right 88 times of 100. Four of them are hostile: always
inverted, or always for the longer answer. `alone`: nobody shares a pair; `in threes`: each pair is judged by three. An
error is the share of labels against the truth, each counted by its weight; the unweighted arm counts every label 1.
Takes seconds of one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.flywheel.planted import a_crowd

from ziggurat.console import out, table
from ziggurat.flywheel.worth.assessment import assess

CASES = {
    "alone, 10 each": (10, 1),
    "alone, 20 each": (20, 1),
    "in threes, 15 each": (15, 3),
}


def measured(habit: str, each: int, shared_by: int, seeds: int) -> dict[str, float]:
    """Means over seeds."""
    rows = []
    habits = ["honest"] * 16 + [habit] * 4
    for seed in range(seeds):
        crowd = a_crowd(seed, habits, each=each, shared_by=shared_by)
        found = assess(crowd.samples)
        weights = [
            0.0 if one.person in found.quarantined else max(0.0, 2 * found.right[n] - 1)
            for n, one in enumerate(crowd.samples)
        ]
        wrong = sum(w for w, is_wrong in zip(weights, crowd.wrong, strict=True) if is_wrong)
        hostile = {f"p{k}" for k in range(16, 20)}
        rows.append(
            (
                statistics.mean(crowd.wrong),
                wrong / sum(weights),
                len(found.quarantined & hostile) / 4,
                len(found.quarantined - hostile) / 16,
            )
        )
    names = ("unweighted", "weighted", "hostile in quarantine", "honest in quarantine")
    return dict(zip(names, map(statistics.mean, zip(*rows, strict=True)), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Errors of labels, weighted and not.")
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    found = {
        f"{habit}, {name}": measured(habit, *case, seeds)
        for habit in ("inverted", "longest", "honest")
        for name, case in CASES.items()
    }
    head = ["four people", *next(iter(found.values()))]
    out.print(
        table(
            None, head, [(name, *(f"{100 * v:.1f} %" for v in each.values())) for name, each in found.items()]
        )
    )
    print(json.dumps({"seeds": seeds, "found": found}))


if __name__ == "__main__":
    main()
