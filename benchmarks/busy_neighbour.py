"""What a busy neighbour costs a training: tokens per second alone, and beside a process that uses one core.

    python benchmarks/busy_neighbour.py
    python benchmarks/busy_neighbour.py --threads 2 --turns 9 --set GOMP_SPINCOUNT=300000   (as libgomp does by itself)

One process trains a model of the town's size, with its optimizer; turns alone and beside the neighbour alternate, and
each figure is the median of its turns. A neighbour of one core leaves three quarters of two cores at best. --set sets
an environment variable of that process, which `ziggurat/__init__.py` then leaves as it is. Needs a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

TARGET = 0.4
"""The least share of the quiet speed."""
SEQUENCES, LENGTH = 9, 128
"""Of one step."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=7, help="of each kind")
    parser.add_argument("--seconds", type=float, default=4, help="of a turn")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="sets")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.threads, options.seconds)
        return
    environment = {**os.environ, **dict(one.split("=", 1) for one in options.sets)}
    order = [
        sys.executable,
        __file__,
        "--train",
        f"--threads={options.threads}",
        f"--seconds={options.seconds}",
    ]
    speeds: dict[str, list[float]] = {"alone": [], "beside": []}
    with subprocess.Popen(
        order, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as trainer:
        assert trainer.stdin
        assert trainer.stdout
        print(trainer.stdout.readline().strip())
        for turn in range(2 * options.turns):
            kind = "beside" if turn % 2 else "alone"
            neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if turn % 2 else None
            trainer.stdin.write("turn\n")
            speeds[kind].append(float(trainer.stdout.readline()))
            if neighbour:
                neighbour.kill()
                neighbour.wait()
        trainer.stdin.close()
    alone, beside = (statistics.median(each) for each in speeds.values())
    print(f"alone   {alone:10,.0f} tokens/s")
    print(f"beside  {beside:10,.0f} tokens/s, {beside / alone:.2f} of it (target: {TARGET})")


def train(threads: int, seconds: float) -> None:
    """For each line that comes in, train for so long and print tokens per second."""
    import ziggurat  # noqa: I001 - before torch: it sets how idle threads wait
    import torch

    from ziggurat.memory import keep_freed_memory
    from ziggurat.model.cpu import accelerate
    from ziggurat.model.presets import sized
    from ziggurat.model.transformer import Transformer, set_compute_dtype
    from ziggurat.training.config import TrainConfig
    from ziggurat.training.optimizers import build_optimizer
    from ziggurat.training.precision import choose_dtype

    torch.set_num_threads(threads)
    keep_freed_memory()
    model = accelerate(Transformer(sized(layers=6, d_model=192, vocab_size=3328, context=256, d_head=48)))
    set_compute_dtype(model, choose_dtype()[0])
    optimizers = build_optimizer(model, TrainConfig(lr_matrix=0.0, lr_adam=0.0))
    ids = torch.randint(0, 3328, (SEQUENCES, LENGTH + 1))

    def step() -> None:
        model.nll(model.hidden(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).mean().backward()
        optimizers.step()
        optimizers.zero_grad()

    for _ in range(3):
        step()
    waits = ", ".join(
        f"{name}={os.environ[name]}"
        for name in ("OMP_WAIT_POLICY", *ziggurat.IDLE_THREADS)
        if name in os.environ
    )
    print(
        f"{threads} threads, {choose_dtype()[0]}, {waits or 'waiting as OpenMP does by itself'}", flush=True
    )
    for _ in sys.stdin:
        steps, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            step()
            steps += 1
        print(steps * SEQUENCES * LENGTH / elapsed, flush=True)


if __name__ == "__main__":
    main()
