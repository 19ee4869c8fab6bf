"""Does the ladder meet its targets on seeds that it was not tuned on? A fixed plan, several towns, several trainings.

    python benchmarks/ladder_seeds.py --towns 21 22 23 24 25 --seeds 0 1
    python benchmarks/ladder_seeds.py --table                  only print the table of what was measured so far

Every climb is appended to benchmarks/ladder_seeds.jsonl (climbs that are there already are skipped, so it can be
continued), and benchmarks/ladder_seeds.md is written anew: every climb, and for each target how often it is met and
its worst and median margin over the climbs of the newest recipe (what `town/` held at a climb's commit).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ziggurat.ladder.report import targets_of

HERE = Path(__file__).parent
RESULTS, TABLE = HERE / "ladder_seeds.jsonl", HERE / "ladder_seeds.md"


def climb(town: int, seed: int, keep: Path | None) -> dict[str, Any]:
    """One climb in a folder of its own, below `keep` or thrown away; returns what is kept of its report."""
    with tempfile.TemporaryDirectory() as passing:
        home = str(keep / f"{town}-{seed}") if keep else passing
        command = [sys.executable, "-m", "ziggurat", "ladder", "--fixed-plan", "--no-serve"]
        command += ["--town", str(town), "--seed", str(seed)]
        subprocess.run(command, check=True, env={**os.environ, "ZIGGURAT_HOME": home})
        report = json.loads((Path(home) / "runs/town/exam/report.json").read_text(encoding="utf-8"))
    kept = {
        key: report[key] for key in ("work", "seconds", "peak_memory_bytes", "passed", "summary", "targets")
    }
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    return {"town": town, "seed": seed, "machine": machine, "commit": commit(), **kept}


def commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()


def recipe(commit: str) -> str:
    """What names the town and its recipe at a commit: git's name of the folder."""
    return subprocess.run(
        ["git", "rev-parse", "--short", f"{commit}:src/ziggurat/town"], capture_output=True, text=True
    ).stdout.strip()


def results() -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
        if RESULTS.exists()
        else []
    )


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# The ladder's targets over seeds",
        "",
        f"{len(rows)} climbs, fixed plan; `python benchmarks/ladder_seeds.py`.",
        "",
    ]
    lines += [
        "| town | seed | commit | recipe | targets met | four stages, s | exam, s | peak GiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        passed = sum(target["passed"] for target in targets_of(row))
        stages = sum(s for stage, s in row["seconds"].items() if stage != "exam")
        memory = row["peak_memory_bytes"] / 2**30
        lines.append(
            f"| {row['town']} | {row['seed']} | {row['commit']} | {recipe(row['commit'])} "
            f"| {passed}/{len(targets_of(row))} | {stages:.0f} | {row['seconds']['exam']:.0f} | {memory:.2f} |"
        )
    lines += [
        "",
        "| stage | target | | bound | met | worst margin | median margin |",
        "|---|---|---|---|---|---|---|",
    ]
    targets: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in (r for r in rows if recipe(r["commit"]) == recipe(rows[-1]["commit"])):
        for target in targets_of(row):
            targets.setdefault((target["stage"], target["name"], target["scope"]), []).append(target)
    for (stage, name, scope), found in targets.items():
        margins = [
            target["margin"] for target in found if target["margin"] is not None
        ]  # None: nothing to measure
        passed = sum(target["passed"] for target in found)
        figures = f"{min(margins):+.3f} | {statistics.median(margins):+.3f}" if margins else "- | -"
        lines.append(
            f"| {stage} | {name} | {scope} | {found[0]['target']} | {passed}/{len(found)} | {figures} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--towns", type=int, nargs="+", default=[21, 22, 23, 24, 25])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep every climb's runs there")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    for town in [] if options.table else options.towns:
        for seed in options.seeds:
            if any(row["town"] == town and row["seed"] == seed for row in results()):
                continue
            row = climb(town, seed, options.keep)
            with RESULTS.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
            TABLE.write_text(table(results()), encoding="utf-8")
    print(table(results()))


if __name__ == "__main__":
    main()
