"""Where one optimizer step of a stage of the town's ladder spends its time: torch's profiler, and the median of 100.

    python benchmarks/step_profile.py pretrain --town 1
    python benchmarks/step_profile.py --stop 900 pretrain --town 1 --set pretrain.train.lr_matrix=0.02

Whatever follows is an order to `town_stage.py`. With --stop the training ends at that step and its losses are printed
instead, as means of 100 steps: a first look at a change of the recipe, good to about 0.02.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from typing import Any

import town_stage
from torch.profiler import ProfilerActivity, profile

from ziggurat.training import supervised

PROFILED, COUNTED = 60, 160
"""Steps: the one that is profiled; the last that is timed."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stop", type=int, default=0, help="a step at which to stop and print losses")
    options, order = parser.parse_known_args()
    plain, seconds, losses = supervised.optimizer_step, list[float](), list[float]()

    def step(*args: Any, **named: Any) -> Any:
        if not options.stop and len(seconds) == PROFILED:
            with profile(activities=[ProfilerActivity.CPU]) as trace:
                plain(*args, **named)
            print(trace.key_averages().table(sort_by="self_cpu_time_total", row_limit=40))
        start = time.perf_counter()
        result = plain(*args, **named)
        seconds.append(time.perf_counter() - start)
        losses.append(result.loss)
        if len(seconds) == (options.stop or COUNTED):
            tell(seconds, losses)
        return result

    supervised.optimizer_step = step
    with tempfile.TemporaryDirectory() as home:
        os.environ["ZIGGURAT_HOME"] = home  # nothing of it is kept
        sys.argv = ["town_stage.py", *order]
        town_stage.main()


def tell(seconds: list[float], losses: list[float]) -> None:
    print(f"median of a step {1e3 * statistics.median(seconds[PROFILED + 1 :]):.1f} ms")
    means = {
        end: round(statistics.fmean(losses[end - 100 : end]), 4) for end in range(100, len(losses) + 1, 100)
    }
    print("loss, means of the 100 steps before", means)
    raise SystemExit


if __name__ == "__main__":
    main()
