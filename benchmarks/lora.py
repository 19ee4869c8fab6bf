"""SFT of an adapter against SFT of all weights, and PPO with an adapter, on LLaMA-shaped weights, in one run.

    python benchmarks/lora.py [--model FOLDER] [--steps 6] [--clock cpu]

Without --model, random weights of SmolLM2-135M's shape: 30 layers x 576, 49,152 tokens; PPO needs a model that has a
tokenizer. Each kind runs in a process of its own, so that its peak memory is its own; tokens/s is of the fastest step.
A step of PPO is 16 rollouts of 128 tokens (an answer that ends earlier is sampled on), read by the policy, its base as
the reference, a reward model and a critic over the same base, and one update. The last line is JSON.

`--clock cpu` counts the processor time of the process, of all threads together, instead of the time that passes: the
measure for a machine that others use too, best with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

KINDS: dict[str, dict[str, Any]] = {
    "all": {"trainable": "all"},
    "lora": {"trainable": "lora"},
    "lora, recompute": {"trainable": "lora", "recompute": True},
    "lora, int8 base": {"trainable": "lora", "lora": {"base": "int8"}},
}
ROWS, T = 4, 256
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
PPO_KIND = "ppo, lora"
ROLLOUTS, WORDS = 16, 128
QUESTIONS = [
    f"{ask} {of}?"
    for ask in (
        "What is the use of",
        "Who first made",
        "How would you explain to a child",
        "What is wrong with",
    )
    for of in ("a lighthouse", "sourdough bread", "the printing press", "a sundial")
]


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


def measure(kind: str, folder: Path, steps: int, clock: Clock) -> dict[str, float]:
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
        t0 = clock()
        optimizer_step(model, optimizer, [batch], batch_loss, grad_clip=1.0, step=step)
        times.append(clock() - t0)
    return {"tokens_per_s": ROWS * T / min(times[1:]), "peak_gib": peak_memory_bytes() / 2**30}


def measure_ppo(folder: Path, steps: int, clock: Clock) -> dict[str, float]:
    """Seconds of the fastest step, and of its parts."""
    import torch
    from torch import nn

    from ziggurat.memory import keep_freed_memory, peak_memory_bytes
    from ziggurat.model.heads import RewardModel
    from ziggurat.model.hub import save_scalar
    from ziggurat.records import Message, Prompt
    from ziggurat.stages.ppo import PPO, ppo_config
    from ziggurat.stages.ppo_prepare import prepare
    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.tokenizer.template import ChatTemplate
    from ziggurat.training.config import OptimizerConfig
    from ziggurat.training.trainable import load_to_train

    keep_freed_memory()
    lora = OptimizerConfig(trainable="lora")
    with tempfile.TemporaryDirectory() as temporary:
        scorer = RewardModel(load_to_train(folder, lora, dtype="auto", seed=0))
        nn.init.normal_(scorer.head.weight, std=0.01, generator=torch.Generator().manual_seed(0))
        save_scalar(scorer, Path(temporary), Tokenizer.load(folder))
        del scorer
        settings = {
            "trainable": "lora",
            "rollouts_per_step": ROLLOUTS,
            "max_new_tokens": WORDS,
            "minibatches": 1,
            "epochs": 1,
            "critic_warmup_steps": 0,
            "ptx_weight": 0.0,
            "allow_weak_reward_model": True,
        }
        prompts = [Prompt(prompt=[Message(role="user", content=text)]) for text in QUESTIONS]
        ready = prepare(ppo_config(folder, ("benchmark", settings)), folder, Path(temporary), prompts)
        ChatTemplate.stop_ids = property(lambda _: frozenset())  # type: ignore[method-assign,assignment]
        learner = PPO(ready)
    found = []
    for step in range(steps + 1):
        t0 = clock()
        learner.measure(step)
        t1 = clock()
        learner.update(step)
        found.append((clock() - t0, t1 - t0))
    step_s, measure_s = min(found[1:])
    return {
        "step_s": step_s,
        "rollouts_and_reading_s": measure_s,
        "update_s": step_s - measure_s,
        "peak_gib": peak_memory_bytes() / 2**30,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--only", help="kinds, with commas between; + stands for a comma inside one")
    parser.add_argument("--kind", choices=[*KINDS, PPO_KIND], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.kind:
        one = measure_ppo if given.kind == PPO_KIND else partial(measure, given.kind)
        print(json.dumps(one(given.model, given.steps, CLOCKS[given.clock])))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.model or Path(temporary)
        if given.model is None:
            random_model(folder)
        found = {}
        kinds = [*KINDS, *([PPO_KIND] if given.model else [])]
        wanted = kinds if given.only is None else [one.replace("+", ",") for one in given.only.split(",")]
        for kind in (one for one in kinds if one in wanted):
            command = [
                sys.executable,
                __file__,
                "--kind",
                kind,
                "--model",
                str(folder),
                "--steps",
                str(given.steps),
                "--clock",
                given.clock,
            ]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[kind] = json.loads(said.splitlines()[-1])
            one = found[kind]
            speed = (
                f"{one['tokens_per_s']:8.0f} tokens/s" if kind in KINDS else f"{one['step_s']:8.1f} s a step"
            )
            print(f"{kind:<20}{speed}{one['peak_gib']:7.2f} GiB", flush=True)
    result: dict[str, Any] = {"clock": given.clock, "kinds": found}
    if {"lora", "all"} <= found.keys():
        result["lora_over_all"] = faster = found["lora"]["tokens_per_s"] / found["all"]["tokens_per_s"]
        print(f"an adapter learns from {faster:.2f} x the tokens per second of all weights (bar 1.2)")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
