"""How fast `engine.generate` is: many prompts of different length, slots refilled as they free up.

    OMP_NUM_THREADS=2 python benchmarks/generation.py

Prints a table, then one JSON document as its last line. The model is untrained (4 layers x 256, vocabulary 2,048):
speed does not depend on what it says, only on how soon it stops; with stops, one completion in twenty ends at each
token. `cpu` is processor time over all threads; on a busy machine trust it rather than `wall`.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import torch

from ziggurat.console import err, out, table
from ziggurat.engine.engine import Engine
from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.lineage import machine
from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer, set_compute_dtype
from ziggurat.training.precision import choose_dtype

PROMPTS, SHORTEST, LONGEST, SLOTS = 1024, 10, 60, 256
STOPS = frozenset(range(100))
CASES = {
    "greedy, 16 tokens": SamplingParams(temperature=0, max_tokens=16),
    "sampled, stops, at most 32": SamplingParams(seed=1, max_tokens=32, stop_ids=STOPS),
    "top-k 40, 16 tokens": SamplingParams(seed=1, max_tokens=16, top_k=40),
}


def counted_generate(model: Transformer, prompts: list[list[int]], params: SamplingParams) -> dict[str, Any]:
    steps = 0
    advance = Engine.advance

    def counting(engine: Engine) -> object:
        nonlocal steps
        steps += 1
        return advance(engine)

    Engine.advance = counting  # type: ignore[method-assign, assignment]
    t0, cpu0 = time.perf_counter(), time.process_time()
    try:
        completions = generate(model, prompts, params, max_slots=SLOTS)
    finally:
        Engine.advance = advance  # type: ignore[method-assign]
    wall_s, cpu_s = time.perf_counter() - t0, time.process_time() - cpu0
    tokens = sum(len(completion.ids) for completion in completions)
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "steps": steps,
        "ms_per_step": 1e3 * wall_s / steps,
        "tokens_per_s": tokens / wall_s,
        "prompts_per_s": len(prompts) / wall_s,
    }


def main() -> None:
    dtype, reason = choose_dtype()
    err.print(f"{dtype}: {reason}; {torch.get_num_threads()} threads; prefill is part of every figure.")
    config = ModelConfig(
        layers=4, d_model=256, heads=4, kv_heads=4, d_head=64, d_ff=768, vocab_size=2048, context=512
    )
    model = Transformer(config)
    model.init_weights(0)
    set_compute_dtype(model, dtype)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(100, 2048, n).tolist() for n in rng.integers(SHORTEST, LONGEST, PROMPTS)]
    results: dict[str, dict[str, Any]] = {}
    for name, params in CASES.items():
        generate(model, prompts[:64], params)  # warm
        results[name] = counted_generate(model, prompts, params)
    columns = ["ms_per_step", "tokens_per_s", "prompts_per_s", "wall_s", "cpu_s"]
    rows = [[name, *(f"{result[c]:,.1f}" for c in columns)] for name, result in results.items()]
    out.print(table(f"{PROMPTS} prompts, {SLOTS} slots", ["case", *columns], rows, right=columns))
    print(json.dumps({"dtype": str(dtype), "machine": machine(), "results": results}))


if __name__ == "__main__":
    main()
