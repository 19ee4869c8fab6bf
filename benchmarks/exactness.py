"""Are a request's tokens its own, whatever the scheduler does? Against the trainer's forward pass, prompt by prompt.

    python benchmarks/exactness.py [--prompts 500] [--tokens 64]

A random model whose logits have a standard deviation of 1 or more writes greedily in fp32: alone, in a crowd, by
chunks, after preemption, with copied prefixes. The judge is one forward pass over prompt and answer, as in training.
Where two ways part, the gap between the judge's two likeliest tokens there is listed: sums of floating-point numbers
depend on their order, so a tie can fall either way, and nothing else may. With fixed shapes (`batch_invariant`) all
log-probabilities must be equal bit for bit. In bf16 without them the share that parts is reported. Prints markdown;
ends with 1 where a promise is broken.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ziggurat.console import err
from ziggurat.engine.engine import Engine
from ziggurat.engine.params import SamplingParams
from ziggurat.model.accounting import forward_flops, total_parameters
from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer, set_compute_dtype

CONFIG = ModelConfig(
    layers=6, d_model=256, heads=8, kv_heads=4, d_head=32, d_ff=768, vocab_size=2048, context=384
)
GAIN = 6.0  # of the last norm: logits' standard deviation, printed below
TIE, ALLOWED_SHARE = 1e-4, 1e-3  # a gap that may fall either way, and in how many prompts
LONGEST = 160
SHARED = 48  # tokens that half of the prompts begin with

Made = tuple[list[int], list[float]]  # tokens and their log-probabilities


@dataclass(frozen=True)
class Divergence:
    prompt: int
    place: int
    gap: float


def prompts_of(n: int) -> list[list[int]]:
    """Half of them begin alike, so that there is something to copy."""
    rng = np.random.default_rng(0)
    head = rng.integers(CONFIG.vocab_size, size=SHARED).tolist()
    lengths = rng.integers(1, LONGEST - SHARED, size=n)
    rows = [rng.integers(CONFIG.vocab_size, size=length).tolist() for length in lengths]
    return [head + row if i % 2 else row for i, row in enumerate(rows)]


def write(engine: Engine, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[Made]:
    handles = [engine.submit(prompt, params) for prompt in prompts]
    made: dict[int, Made] = {handle: ([], []) for handle in handles}
    while engine.has_work:
        for event in engine.step():
            made[event.handle][0].append(event.token)
            made[event.handle][1].append(event.logprob)
    return [made[handle] for handle in handles]


@torch.inference_mode()
def judged(model: Transformer, prompt: list[int], ids: list[int]) -> tuple[list[int], list[float]]:
    """What the forward pass would have written at each place, and the gap between its two likeliest tokens."""
    logits = model(torch.tensor([prompt + ids[:-1]]))[0, len(prompt) - 1 :].float()  # (T, V)
    best = logits.topk(2)
    return best.indices[:, 0].tolist(), (best.values[:, 0] - best.values[:, 1]).tolist()


def divergences(model: Transformer, prompts: list[list[int]], made: list[Made]) -> list[Divergence]:
    """The first place of each answer where the forward pass would have said something else."""
    found = []
    for number, (prompt, (ids, _)) in enumerate(zip(prompts, made, strict=True)):
        said, gaps = judged(model, prompt, ids)
        place = next((i for i, (a, b) in enumerate(zip(said, ids, strict=True)) if a != b), None)
        if place is not None:
            found.append(Divergence(number, place, gaps[place]))
    return found


def ways(model: Transformer, prompts: list[list[int]], params: SamplingParams) -> dict[str, list[Made]]:
    """Every way to be served. `cache_tokens` of a fifth of what 64 need means preemption."""
    chunk = forward_flops(CONFIG, 24)
    options: dict[str, dict[str, Any]] = {
        "64 together": {},
        "64 together, chunks of 24 tokens": {"chunk_flops": chunk},
        "64 together, preempted": {"cache_tokens": 64 * (LONGEST + params.max_tokens) // 5},
        "64 together, prefixes copied": {"parked": 16, "chunk_flops": chunk},
        "8 together, all of it": {"max_slots": 8, "parked": 4, "cache_tokens": 1200, "chunk_flops": chunk},
    }
    made = {}
    alone = Engine(model, max_slots=1)
    t0 = time.perf_counter()
    made["alone"] = [write(alone, [prompt], params)[0] for prompt in prompts]
    err.print(f"alone: {time.perf_counter() - t0:.0f} s")
    for name, chosen in options.items():
        t0 = time.perf_counter()
        engine = Engine(model, **{"max_slots": 64, **chosen})
        made[name] = write(engine, prompts, params)
        preempted, copied = engine.admission.preempted, engine.lot.hits
        err.print(f"{name}: {time.perf_counter() - t0:.0f} s, {preempted} preempted, {copied} tokens copied")
        assert ("cache_tokens" in chosen) == bool(engine.admission.preempted), name  # else it tests nothing
        assert ("parked" in chosen) == bool(engine.lot.hits), name
    return made


def report_fp32(model: Transformer, prompts: list[list[int]], params: SamplingParams) -> bool:
    print("| fp32, greedy | same tokens as alone | part from the forward pass | largest gap there |")
    print("|---|---:|---:|---:|")
    holds, listed = True, []
    everything = ways(model, prompts, params)
    for name, made in everything.items():
        same = sum(a[0] == b[0] for a, b in zip(made, everything["alone"], strict=True))
        parted = divergences(model, prompts, made)
        widest = max((one.gap for one in parted), default=0.0)
        listed += [(name, one) for one in parted]
        holds &= widest < TIE and len(parted) <= ALLOWED_SHARE * len(prompts)
        print(f"| {name} | {same} of {len(prompts)} | {len(parted)} | {widest:.1e} |")
    for name, one in listed:
        print(f"\n- {name}: prompt {one.prompt}, token {one.place}, gap {one.gap:.2e}")
    return holds


def report_invariant(model: Transformer, prompts: list[list[int]], params: SamplingParams) -> bool:
    """Fixed shapes: each prompt alone on an engine of 64 slots is dear, so every tenth is."""
    some = list(range(0, len(prompts), 10))
    fixed = {"max_slots": 64, "batch_invariant": True}
    t0 = time.perf_counter()
    crowd = write(Engine(model, **fixed, parked=8), prompts, params)
    short = write(
        Engine(model, **fixed, cache_tokens=64 * (LONGEST + params.max_tokens) // 5), prompts, params
    )
    one = Engine(model, **fixed)
    alone = [write(one, [prompts[i]], params)[0] for i in some]
    err.print(f"fixed shapes: {time.perf_counter() - t0:.0f} s")
    preempted = sum(a == b for a, b in zip(crowd, short, strict=True))
    apart = sum(crowd[i] == made for i, made in zip(some, alone, strict=True))
    print("\n| fixed shapes | equal bit for bit, tokens and log-probabilities |")
    print("|---|---:|")
    print(f"| in a crowd and preempted | {preempted} of {len(prompts)} |")
    print(f"| in a crowd and alone | {apart} of {len(some)} |")
    return preempted == len(prompts) and apart == len(some)


def report_bf16(model: Transformer, prompts: list[list[int]], params: SamplingParams) -> None:
    set_compute_dtype(model, torch.bfloat16)
    single = Engine(model, max_slots=1)
    alone = [write(single, [prompt], params)[0] for prompt in prompts]
    crowd = write(Engine(model, max_slots=64, parked=16), prompts, params)
    parted = sum(a[0] != b[0] for a, b in zip(alone, crowd, strict=True))
    print(
        f"\nbf16 without fixed shapes: {parted} of {len(prompts)} answers ({parted / len(prompts):.1%}) part somewhere "
        f"in {params.max_tokens} tokens between alone and 64 together."
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=64)
    asked = parser.parse_args()
    model = Transformer(CONFIG, seed=0).eval()
    with torch.no_grad():
        model.norm.weight.mul_(GAIN)
        prompts = prompts_of(asked.prompts)
        deviation = float(model(torch.tensor([prompts[1]])).std())
    assert deviation >= 1, deviation
    params = SamplingParams(temperature=0, max_tokens=asked.tokens)
    print(
        f"{asked.prompts} prompts of 1 to {LONGEST - 1} tokens, {asked.tokens} tokens written; "
        f"{total_parameters(CONFIG) / 1e6:.1f}M random parameters, logits of standard deviation {deviation:.2f}; "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads.\n"
    )
    exact = report_fp32(model, prompts, params)
    invariant = report_invariant(model, prompts, params)
    report_bf16(model, prompts, params)
    return 0 if exact and invariant else 1


if __name__ == "__main__":
    sys.exit(main())
