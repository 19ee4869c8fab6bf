"""CPU time of one optimizer step at the town's size: ours beside torch's own Muon.

    python benchmarks/optimizers.py [threads]

Prints a table, then one JSON document as its last line. CPU time, not wall time: other programs on the machine
disturb it less. Needs nothing but the package.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch

from ziggurat.memory import keep_freed_memory
from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer
from ziggurat.training.config import TrainConfig
from ziggurat.training.optimizers import build_optimizer, gradient_norm, scale_gradients

TOWN = ModelConfig(
    layers=4, d_model=256, heads=4, kv_heads=4, d_head=64, d_ff=768, vocab_size=2048, context=512
)
REPETITIONS = 15


def best_ms(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(REPETITIONS):
        t0 = time.process_time()
        work()
        times.append(1e3 * (time.process_time() - t0))
    return round(min(times), 2)


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    keep_freed_memory()
    model = Transformer(TOWN)
    model.init_weights(0)
    optimizer = build_optimizer(model, TrainConfig())
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    matrices = [p for group in optimizer.members["muon"].param_groups for p in group["params"]]
    theirs = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0)
    result = {
        "muon_ms": best_ms(optimizer.members["muon"].step),
        "torch_muon_ms": best_ms(theirs.step),
        "adamw_rest_ms": best_ms(optimizer.members["adamw"].step),
        "gradient_norm_ms": best_ms(lambda: gradient_norm(optimizer.parameters)),
        "scale_gradients_ms": best_ms(lambda: scale_gradients(optimizer.parameters, 0.999)),
        "threads": torch.get_num_threads(),
    }
    for name, value in result.items():
        print(f"{name:<22}{value:>8}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
