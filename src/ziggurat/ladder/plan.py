"""From a time budget to step counts for all four stages, before the first step; printed, then frozen in config.yaml.

A plan is a list of amounts of work (optimizer steps, comparisons, rollouts). What a unit costs here is measured in a
few seconds on the very model that will be trained. One factor then scales every amount: a longer budget buys more of
everything. A plan never looks at the clock again: the same plan gives the same weights on the same kind of machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ziggurat.errors import UsageError

if TYPE_CHECKING:
    from ziggurat.model.config import ModelConfig

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


@dataclass(frozen=True)
class Work:
    """How much each stage does. One round is sample, reward and ppo."""

    pretrain_steps: int
    sft_steps: int
    rounds: int
    prompts_to_rank: int  # per round, each with `completions` completions
    completions: int
    ppo_steps: int  # per round
    rollouts_per_step: int
    step_tokens: int = 1152  # tokens of one optimizer step of stages 1 and 2
    reward_body_learns: bool = True
    critic_body_learns: bool = True
    policy_share: float = 1.0  # of the policy's blocks, those that PPO trains


@dataclass(frozen=True)
class Speeds:
    """Seconds per unit of work on this machine."""

    train_step_s: float  # one optimizer step of `step_tokens` tokens
    train_token_s: float  # one more token in a large batch, forward and backward
    forward_token_s: float  # one token, forward only
    completion_s: float  # one sampled completion, in a full batch


#: tokens of a prompt with its completion, and of the completion: means measured on the town
CONVERSATION_TOKENS, COMPLETION_TOKENS = 34, 14
#: seconds measured in a climb over those that the units alone would take: small batches, pre-training rows, gold checks
_REWARD_OVERHEAD, _PPO_OVERHEAD = 1.5, 2.7
#: what a stage costs beside its steps: reading and encoding data, checkpoints, reports
FIXED_S = {"pretrain": 8.0, "sft": 5.0, "sample": 1.0, "reward": 8.0, "ppo": 5.0}
#: no stage is useful below this
SMALLEST = Work(
    pretrain_steps=300,
    sft_steps=150,
    rounds=1,
    prompts_to_rank=192,
    completions=4,
    ppo_steps=6,
    rollouts_per_step=128,
)


def costs(work: Work, speeds: Speeds) -> dict[str, float]:
    """Seconds of each stage, all rounds together."""
    ranked = work.rounds * work.prompts_to_rank * work.completions
    rollouts = work.rounds * work.ppo_steps * work.rollouts_per_step
    scored_token_s = speeds.train_token_s if work.reward_body_learns else 1.5 * speeds.forward_token_s
    # times that PPO goes over a conversation: policy (with its pre-training rows) and critic; the others
    trained = work.policy_share + 0.5 + 0.5 * work.critic_body_learns
    read = work.policy_share + 1 + work.critic_body_learns
    return {
        "pretrain": FIXED_S["pretrain"] + work.pretrain_steps * speeds.train_step_s,
        "sft": FIXED_S["sft"] + work.sft_steps * speeds.train_step_s,
        "sample": work.rounds * FIXED_S["sample"] + ranked * speeds.completion_s,
        "reward": work.rounds
        * FIXED_S["reward"]  # a later round learns from the earlier rounds' comparisons too
        + ranked * (work.rounds + 1) / 2 * CONVERSATION_TOKENS * scored_token_s * _REWARD_OVERHEAD,
        "ppo": work.rounds * FIXED_S["ppo"]
        + rollouts
        * _PPO_OVERHEAD
        * (
            speeds.completion_s
            + CONVERSATION_TOKENS * (trained * speeds.train_token_s + read * speeds.forward_token_s)
        ),
    }


def fit(reference: Work, speeds: Speeds, budget_s: float) -> Work:
    """The reference scaled by one factor so that its cost meets the budget; below half of it, one round is enough."""
    work, factor = _fit(reference, speeds, budget_s)
    return work if factor >= 0.5 else _fit(replace(reference, rounds=1), speeds, budget_s)[0]


def _fit(reference: Work, speeds: Speeds, budget_s: float) -> tuple[Work, float]:
    def scaled(factor: float) -> Work:
        return replace(
            reference,
            pretrain_steps=max(SMALLEST.pretrain_steps, round(reference.pretrain_steps * factor)),
            sft_steps=max(SMALLEST.sft_steps, round(reference.sft_steps * factor)),
            prompts_to_rank=max(
                SMALLEST.prompts_to_rank, round(reference.prompts_to_rank * min(2.0, factor))
            ),
            ppo_steps=max(SMALLEST.ppo_steps, round(reference.ppo_steps * factor)),
            rollouts_per_step=reference.rollouts_per_step if factor >= 0.25 else SMALLEST.rollouts_per_step,
        )

    low, high = 0.0, 64.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if sum(costs(scaled(middle), speeds).values()) <= budget_s else (low, middle)
        )
    return scaled(low), low


def measure_speeds(
    config: ModelConfig,
    *,
    step_tokens: int = 1152,
    row_tokens: int = 128,
    seconds: float = 4.0,
    early_exit: Mapping[str, Any] = MappingProxyType({}),
) -> Speeds:
    """Time the four units on a fresh model of this shape, each for about a quarter of `seconds`.

    `early_exit`: that of stages 1 and 2, as in their settings.
    """
    import torch

    from ziggurat.engine.generate import generate
    from ziggurat.engine.params import SamplingParams
    from ziggurat.memory import keep_freed_memory
    from ziggurat.model.cpu import accelerate
    from ziggurat.model.transformer import Transformer, set_compute_dtype
    from ziggurat.stages.losses import TokenBatch, batch_loss, text_loss
    from ziggurat.training.config import EarlyExit, TrainConfig
    from ziggurat.training.optimizers import build_optimizer
    from ziggurat.training.precision import choose_dtype

    keep_freed_memory()
    model = Transformer(config)
    set_compute_dtype(accelerate(model), choose_dtype("auto")[0])
    optimizers = build_optimizer(model, TrainConfig(lr_matrix=0.0, lr_adam=0.0))
    small = torch.randint(0, config.vocab_size, (max(1, step_tokens // row_tokens), row_tokens))
    large = torch.randint(0, config.vocab_size, (128, 32))

    def learn(ids: torch.Tensor, loss: Any = batch_loss) -> None:
        total, count = loss(model, TokenBatch(ids, ids))
        torch.autograd.backward(total / count)

    text = text_loss(config.layers, EarlyExit(**early_exit))

    def step() -> None:
        learn(small, text)
        optimizers.step()
        optimizers.zero_grad()

    def forward() -> None:
        with torch.no_grad():
            model.hidden(large)

    prompts = [[7] * 20 for _ in range(256)]
    params = SamplingParams(max_tokens=COMPLETION_TOKENS, min_tokens=COMPLETION_TOKENS)
    share = seconds / 4
    return Speeds(
        train_step_s=_typical(step, share),
        train_token_s=_typical(lambda: learn(large), share) / large.numel(),
        forward_token_s=_typical(forward, share) / large.numel(),
        completion_s=_typical(lambda: generate(model, prompts, params), share, warm=1) / len(prompts),
    )


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
