"""Is this tree as fast as an earlier commit? Units of work timed in turns, each tree in a process of its own.

    python benchmarks/against.py 4294a72
    python benchmarks/against.py 4294a72 --pairs 9 --seconds 8

Each turn builds the town's model and measures its step of stage 1, a large training batch, a forward pass and sampling
(`measure_speeds`), first in one tree and then in the other; the order alternates. Printed: the median of the ratios
old/new of each unit (above 1: this tree is faster) with the lowest and the highest. Needs a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
MEASURE = """
import json, sys
try:
    from ziggurat.ladder.plan import measure_speeds
except ImportError:  # before 2026-11-29
    from ziggurat.stages.plan import measure_speeds
from ziggurat.model.config import ModelConfig
config = ModelConfig(layers=6, d_model=192, heads=4, kv_heads=4, d_head=48, d_ff=576, context=256, vocab_size=3328)
found = measure_speeds(config, seconds=float(sys.argv[1]))
print(json.dumps({k: v for k, v in vars(found).items()}))
"""
TARGET = 0.95


def measure(tree: Path, seconds: float) -> dict[str, float]:
    """Seconds of each unit in a tree."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(seconds)],
        env=paths(tree),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def paths(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree / "src")}


def compile_loops(tree: Path) -> None:
    """Machine code is kept per tree; made before anything is timed."""
    module = "cpu.compile" if (tree / "src/ziggurat/model/cpu").is_dir() else "compile"
    subprocess.run([sys.executable, "-m", f"ziggurat.model.{module}"], env=paths(tree), check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=8, help="of a turn of one tree")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "old"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(old), options.commit], check=True)
        try:
            compare(old, options)
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)


def compare(old: Path, options: argparse.Namespace) -> None:
    for tree in (old, ROOT):
        compile_loops(tree)
    ratios: dict[str, list[float]] = {}
    for turn in range(options.pairs):
        trees = (old, ROOT) if turn % 2 == 0 else (ROOT, old)
        found = {tree: measure(tree, options.seconds) for tree in trees}
        for unit, seconds in found[ROOT].items():
            ratios.setdefault(unit, []).append(found[old][unit] / seconds)
        print(turn, {unit: round(values[-1], 3) for unit, values in ratios.items()}, flush=True)
    for unit, values in ratios.items():
        middle = statistics.median(values)
        verdict = "met" if middle >= TARGET else "NOT met"
        print(f"{unit:16} {middle:.3f} [{min(values):.3f}, {max(values):.3f}]  target {TARGET}: {verdict}")


if __name__ == "__main__":
    main()
