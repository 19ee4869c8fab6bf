"""SFT of an adapter against SFT of all weights, and PPO with an adapter, on LLaMA-shaped weights, in one run.

    python benchmarks/lora.py [--model FOLDER] [--steps 6]

Without --model, random weights of SmolLM2-135M's shape: 30 layers x 576, 49,152 tokens. Each kind runs in a process of
its own, so that its peak memory is its own; tokens/s is of the fastest step. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KINDS: dict[str, dict[str, Any]] = {
    "all": {"trainable": "all"},
    "lora": {"trainable": "lora"},
    "lora, recompute": {"trainable": "lora", "recompute": True},
    "lora, int8 base": {"trainable": "lora", "lora": {"base": "int8"}},
}
ROWS, T = 4, 256


def random_model(folder: Path) -> None:
    from ziggurat.model.config import ModelConfig
    from ziggurat.model.hub import save_model
    from ziggurat.model.transformer import Transformer

    sizes: dict[str, Any] = {
        "layers": 30,
        "d_model": 576,
        "heads": 9,
        "kv_heads": 3,
        "d_head": 64,
        "d_ff": 1536,
    }
    model = Transformer(ModelConfig(**sizes, vocab_size=49_152, context=2048, qk_norm=False))
    save_model(model.bfloat16(), folder)


def measure(kind: str, folder: Path, steps: int) -> dict[str, float]:
    """Steps on packed rows, six tenths of whose tokens are trained, as in conversations."""
    import torch

    from ziggurat.memory import keep_freed_memory, peak_memory_bytes
    from ziggurat.model.recompute import recompute_blocks
    from ziggurat.model.transformer import set_compute_dtype
    from ziggurat.stages.losses import TokenBatch, batch_loss
    from ziggurat.training import TrainConfig
    from ziggurat.training.optimizers import build_optimizer
    from ziggurat.training.precision import choose_dtype
    from ziggurat.training.step import optimizer_step
    from ziggurat.training.trainable import freeze, load_to_train

    keep_freed_memory()
    config = TrainConfig(optimizer="adamw", lr_adam=1e-5, **KINDS[kind])
    model = load_to_train(folder, config, config, seed=0)
    freeze(model, config.trainable)
    set_compute_dtype(model, choose_dtype()[0])
    if config.recompute:
        recompute_blocks(model)
    optimizer, generator = build_optimizer(model, config), torch.Generator().manual_seed(0)
    ids = torch.randint(0, 49_152, (ROWS, T + 1), generator=generator)
    weights = (torch.rand(ROWS, T, generator=generator) < 0.6).float()
    segments = (torch.arange(T) >= 100).long().expand(ROWS, T)
    batch = TokenBatch(ids[:, :-1], ids[:, 1:], weights, segments)
    times = []
    for step in range(steps + 1):
        t0 = time.perf_counter()
        optimizer_step(model, optimizer, [batch], batch_loss, grad_clip=1.0, step=step)
        times.append(time.perf_counter() - t0)
    return {"tokens_per_s": ROWS * T / min(times[1:]), "peak_gib": peak_memory_bytes() / 2**30}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--kind", choices=list(KINDS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.kind:
        print(json.dumps(measure(given.kind, given.model, given.steps)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.model or Path(temporary)
        if given.model is None:
            random_model(folder)
        found = {}
        for kind in KINDS:
            command = [
                sys.executable,
                __file__,
                "--kind",
                kind,
                "--model",
                str(folder),
                "--steps",
                str(given.steps),
            ]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[kind] = json.loads(said.splitlines()[-1])
            print(
                f"{kind:<20}{found[kind]['tokens_per_s']:8.0f} tokens/s{found[kind]['peak_gib']:7.2f} GiB",
                flush=True,
            )
    faster = found["lora"]["tokens_per_s"] / found["all"]["tokens_per_s"]
    print(f"an adapter learns from {faster:.2f} x the tokens per second of all weights (bar 1.2)")
    print(json.dumps({"kinds": found, "lora_over_all": faster}))


if __name__ == "__main__":
    main()
