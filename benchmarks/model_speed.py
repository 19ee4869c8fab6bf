"""Tokens per second of the model alone: python benchmarks/model_speed.py [--threads N] [--preset town]

Compares an accelerated model with a plain one in one process, turn by turn, so that a busy machine slows both alike;
each figure is the best of its turns. A training step here is forward and backward, without optimizer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from ziggurat.memory import keep_freed_memory
from ziggurat.model.accounting import flops_per_token
from ziggurat.model.cpu import accelerate
from ziggurat.model.presets import preset
from ziggurat.model.transformer import Transformer, set_compute_dtype


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--preset", default="town")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    config = preset(args.preset)
    plain, fast = Transformer(config), accelerate(Transformer(config))
    for model in (plain, fast):
        set_compute_dtype(model, getattr(torch, args.dtype))

    def forward(model: Transformer, ids: torch.Tensor) -> None:
        with torch.no_grad():
            model(ids[:, :-1])

    def step(model: Transformer, ids: torch.Tensor) -> None:
        model.nll(model.hidden(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).mean().backward()
        model.zero_grad()

    print(f"{args.preset}, {args.dtype}, {args.threads} threads, torch {torch.__version__}")
    print("B x T        forward tok/s   fwd+bwd tok/s   GFLOP/s   plain torch fwd+bwd   ratio")
    for B, T in ((4, 256), (16, 256), (64, 64)):
        ids = torch.randint(0, config.vocab_size, (B, T + 1))
        jobs: dict[str, tuple[Transformer, Callable[[Transformer, torch.Tensor], None]]] = {
            "forward": (fast, forward),
            "fast": (fast, step),
            "slow": (plain, step),
        }
        best = dict.fromkeys(jobs, float("inf"))
        for turn in range(args.turns + 1):
            for name, (model, job) in jobs.items():
                t0 = time.perf_counter()
                job(model, ids)
                if turn:
                    best[name] = min(best[name], time.perf_counter() - t0)
        speed = {name: B * T / seconds for name, seconds in best.items()}
        gflops = speed["fast"] * flops_per_token(config, T) / 1e9
        print(
            f"{B:3} x {T:4} {speed['forward']:15,.0f} {speed['fast']:15,.0f} {gflops:9,.0f} "
            f"{speed['slow']:21,.0f} {speed['fast'] / speed['slow']:7.2f}"
        )


if __name__ == "__main__":
    main()
