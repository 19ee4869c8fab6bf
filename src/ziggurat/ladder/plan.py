"""From a time budget to step counts for all four stages, before the first step; printed, then frozen in config.yaml.

A plan is a list of amounts of work (optimizer steps, comparisons, rollouts). The cost of a unit is measured in a few
seconds on a model of the shape that is trained. One factor then scales every amount. The plan is frozen and time is
not measured again, so the same plan gives the same weights on the same kind of machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.memory import keep_freed_memory
from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu import accelerate
from ziggurat.model.transformer import Transformer, set_compute_dtype
from ziggurat.stages.losses import TokenBatch, batch_loss
from ziggurat.training.config import TrainConfig
from ziggurat.training.optimizers import build_optimizer
from ziggurat.training.precision import choose_dtype

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_budget(text: str) -> float:
    """`90s`, `10m`, `1h`, `1.5h` -> seconds."""
    for unit in sorted(_UNITS, key=len, reverse=True):
        number = text.strip().lower().removesuffix(unit)
        if number != text.strip().lower():
            try:
                seconds = float(number) * _UNITS[unit]
            except ValueError:
                break
            if seconds > 0:
                return seconds
    raise UsageError(f"budget {text!r} is not a time; write a number with s, m or h, for instance 10m.")


STAGES = ("pretrain", "sft", "sample", "reward", "ppo")


@dataclass(frozen=True)
class Work:
    """How much each stage does. One round is sample, reward and ppo."""

    pretrain_steps: int
    sft_steps: int
    rounds: int
    prompts_to_rank: int
    """Per round."""
    completions: int
    """Per prompt."""
    ppo_steps: int
    """Per round."""
    rollouts_per_step: int
    step_tokens: int = 1152
    """Tokens of one optimizer step of stages 1 and 2."""
    reward_body_learns: bool = True
    critic_body_learns: bool = True
    policy_share: float = 1.0
    """Share of the policy's blocks that PPO trains."""


@dataclass(frozen=True)
class Speeds:
    """Seconds per unit of work on this machine."""

    train_step_s: float
    """One optimizer step of `step_tokens` tokens."""
    train_token_s: float
    """One more token in a large batch, forward and backward."""
    forward_token_s: float
    """One token, forward only."""
    completion_s: float
    """One completion of MEASURED_COMPLETION tokens, sampled in a full batch."""


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a world's conversations (prompt and completion) and of the completions alone."""

    conversation: float
    completion: float


MEASURED_COMPLETION = 14
TOWN_LENGTHS = Lengths(conversation=34, completion=14)
"""Measured on the town."""
_REWARD_OVERHEAD, _PPO_OVERHEAD = 1.5, 2.7
"""Seconds measured in a climb, divided by those that the units alone would take."""
FIXED_S = {"pretrain": 8.0, "sft": 5.0, "sample": 1.0, "reward": 8.0, "ppo": 5.0}
"""Seconds of a stage beside its steps: data, checkpoints, reports."""
SMALLEST = Work(
    pretrain_steps=300,
    sft_steps=150,
    rounds=1,
    prompts_to_rank=192,
    completions=4,
    ppo_steps=6,
    rollouts_per_step=128,
)
"""A stage is of no use below this."""


def reference_work(recipe: Mapping[str, Any], layers: int) -> Work:
    """The amounts of a recipe, for a model of so many layers."""
    ppo = recipe["ppo"]
    policy = str(ppo.get("policy", {}).get("trainable", "all"))
    last = int(policy.removeprefix("last:")) if policy.startswith("last:") else layers
    return Work(
        **recipe["work"],
        step_tokens=recipe["pretrain"]["batch_tokens"],
        reward_body_learns=recipe["reward"].get("train", {}).get("trainable", "all") == "all",
        critic_body_learns=ppo.get("critic", {}).get("trainable", "all") == "all",
        policy_share=min(last, layers) / layers,
    )


def costs(
    work: Work, speeds: Speeds, lengths: Lengths = TOWN_LENGTHS, stages: Collection[str] = STAGES
) -> dict[str, float]:
    """Seconds of each of these stages, all rounds together."""
    ranked = work.rounds * work.prompts_to_rank * work.completions
    rollouts = work.rounds * work.ppo_steps * work.rollouts_per_step
    completion_s = speeds.completion_s * lengths.completion / MEASURED_COMPLETION
    scored_token_s = speeds.train_token_s if work.reward_body_learns else 1.5 * speeds.forward_token_s
    # times that PPO goes over a conversation: policy (with its pre-training rows) and critic; the others
    trained = work.policy_share + 0.5 + 0.5 * work.critic_body_learns
    read = work.policy_share + 1 + work.critic_body_learns
    seconds = {
        "pretrain": work.pretrain_steps * speeds.train_step_s,
        "sft": work.sft_steps * speeds.train_step_s,
        "sample": ranked * completion_s,
        # a later round also learns from the comparisons of earlier rounds
        "reward": ranked * (work.rounds + 1) / 2 * lengths.conversation * scored_token_s * _REWARD_OVERHEAD,
        "ppo": rollouts
        * _PPO_OVERHEAD
        * (
            completion_s
            + lengths.conversation * (trained * speeds.train_token_s + read * speeds.forward_token_s)
        ),
    }
    repeated = {"sample", "reward", "ppo"}
    return {
        stage: seconds[stage] + FIXED_S[stage] * (work.rounds if stage in repeated else 1)
        for stage in STAGES
        if stage in stages
    }


def fit(
    reference: Work,
    speeds: Speeds,
    budget_s: float,
    *,
    lengths: Lengths = TOWN_LENGTHS,
    stages: Collection[str] = STAGES,
    smallest: Work = SMALLEST,
    most: float = 64.0,
) -> Work:
    """The reference times one factor (at most `most`), so that its cost meets the budget; one round below 0.5."""

    def scaled(factor: float, rounds: int) -> Work:
        ranked = max(smallest.prompts_to_rank, round(reference.prompts_to_rank * min(2.0, factor)))
        return replace(
            reference,
            pretrain_steps=max(smallest.pretrain_steps, round(reference.pretrain_steps * factor)),
            sft_steps=max(smallest.sft_steps, round(reference.sft_steps * factor)),
            rounds=rounds,
            prompts_to_rank=ranked if "sample" in stages else reference.prompts_to_rank,
            ppo_steps=max(smallest.ppo_steps, round(reference.ppo_steps * factor)),
            rollouts_per_step=reference.rollouts_per_step if factor >= 0.25 else smallest.rollouts_per_step,
        )

    def largest(rounds: int) -> float:
        low, high = 0.0, most
        for _ in range(40):
            middle = (low + high) / 2
            cost = sum(costs(scaled(middle, rounds), speeds, lengths, stages).values())
            low, high = (middle, high) if cost <= budget_s else (low, middle)
        return low

    factor = largest(reference.rounds)
    if factor >= 0.5:
        return scaled(factor, reference.rounds)
    return scaled(largest(1), 1)


def measure_speeds(
    config: ModelConfig,
    *,
    step_tokens: int = 1152,
    row_tokens: int = 128,
    seconds: float = 4.0,
) -> Speeds:
    """Time the four units on a fresh model of this shape, each for about a quarter of `seconds`.

    `row_tokens`: of a step's rows; no row, prompt or completion is longer than the context.
    """

    model, learn, step = _learner(config, step_tokens, row_tokens)
    large = torch.randint(0, config.vocab_size, (128, min(32, config.context)))

    def forward() -> None:
        with torch.no_grad():
            model.hidden(large)

    written = min(MEASURED_COMPLETION, config.context - 1)
    prompts = [[7] * min(20, config.context - written) for _ in range(256)]
    params = SamplingParams(max_tokens=written, min_tokens=written)
    share = seconds / 4
    return Speeds(
        train_step_s=_typical(step, share),
        train_token_s=_typical(lambda: learn(large), share) / large.numel(),
        forward_token_s=_typical(forward, share) / large.numel(),
        completion_s=_typical(lambda: generate(model, prompts, params), share, warm=1)
        / len(prompts)
        * (MEASURED_COMPLETION / written),
    )


def measure_step(config: ModelConfig, *, step_tokens: int, row_tokens: int, seconds: float = 1.0) -> float:
    """Seconds of one optimizer step alone: the `train_step_s` of `measure_speeds`."""
    return _typical(_learner(config, step_tokens, row_tokens)[2], seconds)


def _learner(
    config: ModelConfig, step_tokens: int, row_tokens: int
) -> tuple[Transformer, Callable[[torch.Tensor], None], Callable[[], None]]:
    """A fresh model as the loop computes it, a function that learns from rows of ids, and an optimizer step."""
    keep_freed_memory()
    model = Transformer(config)
    set_compute_dtype(accelerate(model), choose_dtype("auto")[0])
    optimizers = build_optimizer(model, TrainConfig(lr_matrix=0.0, lr_adam=0.0))
    row_tokens = min(row_tokens, config.context)
    rows = torch.randint(0, config.vocab_size, (max(1, step_tokens // row_tokens), row_tokens))

    def learn(ids: torch.Tensor) -> None:
        total, count = batch_loss(model, TokenBatch(ids, ids))
        torch.autograd.backward(total / count)

    def step() -> None:
        learn(rows)
        optimizers.step()
        optimizers.zero_grad()

    return model, learn, step


def _typical(unit: Callable[[], object], seconds: float, warm: int = 2) -> float:
    """Median seconds of one call, over about `seconds` and at least three calls."""
    for _ in range(warm):
        unit()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        started = time.perf_counter()
        unit()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]
