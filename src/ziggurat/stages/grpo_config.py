"""Settings of `grpo` (`GRPOConfig`), and all that is settled before its first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ziggurat.errors import UsageError
from ziggurat.lineage import parent_entry
from ziggurat.model.accounting import (
    cache_bytes_per_token,
    forward_flops_per_token,
    matrix_parameters,
    total_parameters,
)
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import check_model, load_config
from ziggurat.places import find_run, model_folder
from ziggurat.records import Prompt
from ziggurat.settings import Config, Resolved, resolve
from ziggurat.stages import method, setup
from ziggurat.stages.answer_length import longest_answer
from ziggurat.stages.doctor import DoctorLimits
from ziggurat.stages.grpo_losses import Baseline, LossMean, Scale
from ziggurat.stages.ppo_config import LARGE, PolicyConfig
from ziggurat.stages.ppo_cost import LOGIT_COPIES, shared_microbatch
from ziggurat.stages.rollouts import CACHE_BYTES
from ziggurat.stages.scorer import RewardFunction, reward_folder_of
from ziggurat.stages.setup import Derived
from ziggurat.stages.shared_prompts import expected_row
from ziggurat.stages.watched import WatchedConfig
from ziggurat.training.config import LoopConfig
from ziggurat.training.cost import COMPARED_AT_ONCE, FP32, Cost, trained_memory, training_flops
from ziggurat.training.precision import choose_dtype

VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "rloo": {"baseline": "leave_one_out", "scale": "none", "loss_mean": "tokens", "kl_in": "reward"},
    "dr_grpo": {"scale": "none", "loss_mean": "constant"},
    "dapo": {"loss_mean": "tokens", "clip_high": 0.28, "beta": 0.0, "resample": 2, "length_penalty": 1.0},
}
"""Defaults of each variant; every setting may be set by itself as well."""


class GRPOConfig(WatchedConfig):
    """Settings of `grpo`. KL is in nats; scores are in whatever unit the reward has."""

    short = {
        "trainable": lambda value: {"policy": {"trainable": value}},
        "lora": lambda value: {"policy": {"lora": value}},
        "prefix": lambda value: {"policy": {"prefix": value}},
        "recompute": lambda value: {"train": {"recompute": value}},
    }

    variant: Literal["grpo", "rloo", "dr_grpo", "dapo"] = "grpo"
    """Which defaults the settings marked * have: those of GRPO, RLOO, Dr. GRPO or DAPO."""

    train: LoopConfig = LoopConfig(
        steps=60, final_lr_factor=0.1, eval_every_steps=10, checkpoint_every_steps=10
    )
    """The loop: a step rolls out, scores and updates; an evaluation is the gold check (where there is one) and the
    choice of the best checkpoint."""

    prompts_per_step: int = Field(default=32, ge=1)
    """Prompts of a step."""

    group: int = Field(default=8, ge=2)
    """Completions of each prompt; each is compared with the others of its group."""

    max_new_tokens: int = Field(default=-1, ge=-1)
    """Longest completion. -1: computed from measured answers (stages/answer_length.py)."""

    temperature: float = Field(default=1.0, gt=0)
    """Of rollouts, ratios and KL alike."""

    reward_function: str = ""
    """`module:function` or `file.py:function`: (prompt, completion, row) -> float (stages/scorer.py)."""

    function_weight: float = 1.0
    """Weight of the function's score,"""

    model_weight: float = 1.0
    """...and of the reward model's, where both are given."""

    truncation_reward: float = -3.0
    """The reward model's score of a completion that never ended."""

    length_penalty: float = Field(default=0.0, ge=0)
    """* Taken off the score of a completion of max_new_tokens; less within `length_buffer` of it."""

    length_buffer: int = Field(default=0, ge=0)
    """Tokens before max_new_tokens over which the penalty rises; 0: a quarter of max_new_tokens."""

    baseline: Baseline = "mean"
    """* What a score is compared with: the mean of its group, or of the others (leave_one_out)."""

    scale: Scale = "group"
    """* What advantages are divided by: the deviation of their group, of the step, or none."""

    loss_mean: LossMean = "completion"
    """* What weighs the same in the loss: each completion, each token (tokens), or each token whatever the length of
    its completion (constant)."""

    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.2, gt=0)
    """* Ratios are clipped to 1 - clip_low ... 1 + clip_high."""

    resample: int = Field(default=0, ge=0, le=16)
    """* How often prompts whose completions all score alike are replaced by others; 0: they stay, and teach nothing."""

    beta: float = Field(default=0.04, ge=0)
    """* Weight of KL to the reference."""

    kl_in: Literal["loss", "reward"] = "loss"
    """* Whether the KL term is in the loss, per token, or taken off the score of a completion."""

    epochs: int = Field(default=1, ge=1, le=16)
    """Passes over a step's rollouts."""

    minibatches: int = Field(default=2, ge=1)
    """Optimizer steps of one pass."""

    microbatch_tokens: int = Field(default=0, ge=0)
    """Tokens computed at a time, padding included; bounds memory, changes nothing else. 0: computed from the shapes."""

    policy: PolicyConfig = PolicyConfig()

    gold_tolerance: float = Field(default=0.0, ge=0)
    """A later checkpoint is preferred while its gold check is less than this below the best."""

    doctor: DoctorLimits = DoctorLimits()

    stop_when_fatal: bool = True
    """A fatal diagnosis stops the run at its best checkpoint."""

    allow_weak_reward_model: bool = False
    """Go on although the reward model failed its report card."""

    @property
    def rollouts_per_step(self) -> int:
        return self.prompts_per_step * self.group


@dataclass(frozen=True, kw_only=True)
class Prepared(method.Prepared[GRPOConfig]):
    """`grpo` before its first step."""

    reward_folder: Path | None
    function: RewardFunction | None

    @property
    def max_new_tokens(self) -> int:
        return self.config.max_new_tokens

    @property
    def manifest(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {**super().manifest}
        if self.reward_folder is not None:
            found["reward_model"] = parent_entry(self.reward_folder)
        if self.function is not None:
            found["reward_function"] = {"name": self.function.name, "sha256": self.function.sha256}
        return found


def grpo_config(policy: str | Path, *layers: tuple[str, Any]) -> Resolved[GRPOConfig]:
    """The configuration from its layers: defaults, those of the variant, what is inherited, what a person sets."""
    folder = find_run(str(policy))
    layer = {"train": setup.inherited_loop(folder), **setup.inherited_records(folder)}
    inherited = ("inherited", layer)
    chosen = [_variant_of(values) for _, values in layers]
    variant = next((name for name in reversed(chosen) if name), "grpo")
    first: list[tuple[str, Any]] = [(f"variant {variant}", VARIANTS.get(variant, {}))]
    if total_parameters(load_config(model_folder(policy))) > setup.LARGE_PARAMETERS:
        first.append(("a large policy", {"prompts_per_step": 8, "policy": LARGE["policy"]}))
    return resolve(GRPOConfig, *first, inherited, *layers)


def _variant_of(values: Mapping[str, Any] | Config) -> str | None:
    found = values.get("variant") if isinstance(values, Mapping) else getattr(values, "variant", None)
    return found if isinstance(found, str) else None


def prepare(
    resolved: Resolved[GRPOConfig],
    policy: str | Path,
    prompts: Sequence[Prompt],
    *,
    reward_model: str | Path | None = None,
    reference: str | Path | None = None,
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check models and function, render the prompts, derive every number; nothing is written."""
    config = resolved.config
    setup.need(prompts, "prompts")
    start = method.open_policy(policy, reference, reasoning=resolved.config.reasoning)
    function = RewardFunction.load(config.reward_function) if config.reward_function else None
    reward_folder = reward_folder_of(
        start.tokenizer,
        start.folder,
        reward_model,
        allow_weak=config.allow_weak_reward_model,
        limits=config.doctor,
    )
    if function is None and reward_folder is None:
        raise UsageError(
            "grpo needs a reward: --set reward_function=module:function, --reward RUN of a reward model, or both."
        )
    scorer = [] if reward_folder is None else [check_model(reward_folder, start.tokenizer.vocab_size)]
    shapes = [start.shape, start.reference_shape, *scorer]
    room = min(shape.context for shape in shapes)
    usable = setup.usable(start.template, prompts, longest=room - 1, skip=config.skip_bad_rows, what="prompt")
    ids = [one.ids for one in usable.flat]
    longest, longest_why = config.max_new_tokens, "max_new_tokens"
    if longest < 0:
        longest, longest_why = longest_answer(
            [start.folder], start.template, ids, context=room, seed=config.train.seed
        )
    budget = config.microbatch_tokens or shared_microbatch(shapes, config.train.device)
    buffer = config.length_buffer or max(1, longest // 4)
    settled = {"max_new_tokens": longest, "microbatch_tokens": budget, "length_buffer": min(buffer, longest)}
    resolved = setup.freeze(resolved, settled)
    config = resolved.config
    count = config.train.steps * config.rollouts_per_step
    derived = [
        Derived("prompts", len(ids), f"{sum(map(len, ids)) / len(ids):.1f} tokens on average"),
        Derived("longest completion", longest, longest_why),
        Derived(
            "passes over the prompts",
            f"{config.train.steps * config.prompts_per_step / len(ids):.2f}",
            "prompts_per_step × steps / prompts",
        ),
        Derived("rollouts", count, f"{config.train.steps} × {config.prompts_per_step} × {config.group}"),
        Derived(
            "optimizer steps",
            config.train.steps * config.epochs * min(config.minibatches, config.rollouts_per_step),
            f"{config.epochs} epochs × {config.minibatches} minibatches",
        ),
        Derived("reward", _reward_text(config, function, reward_folder), "reward_function, --reward"),
    ]
    return Prepared(
        resolved=resolved,
        parent=start.folder,
        reference_folder=start.reference_folder,
        reward_folder=reward_folder,
        function=function,
        tokenizer=start.tokenizer,
        template=start.template,
        prompts=usable.records,
        prompt_ids=ids,
        derived=derived,
        data=setup.entries(data, prompts=prompts),
        cost=_cost(config, shapes, ids),
    )


def _reward_text(config: GRPOConfig, function: RewardFunction | None, folder: Path | None) -> str:
    parts = []
    if function is not None:
        parts.append(f"{config.function_weight:g} × {function.name}")
    if folder is not None:
        parts.append(f"{config.model_weight:g} × {folder.parent.name}")
    return " + ".join(parts)


def _cost(config: GRPOConfig, shapes: Sequence[ModelConfig], prompts: Sequence[Sequence[int]]) -> Cost:
    """`shapes`: of policy, reference (an adapted policy's base) and, where there is one, reward model."""
    policy, *frozen = shapes
    count, longest, dtype = config.rollouts_per_step, config.max_new_tokens, config.train.dtype
    prompt = round(sum(map(len, prompts)) / len(prompts))
    written = count * (prompt + longest)  # keys and values of all completions
    row = expected_row(prompt, longest, config.group, policy)  # what the networks read
    T, tokens = (prompt + longest, written) if row is None else (row, config.prompts_per_step * row)
    at_once = min(config.microbatch_tokens, tokens)
    again, adapted = config.train.recompute, config.policy.adapts
    memory = trained_memory(policy, config.policy, at_once, logits=0, dtype=dtype, T=T, recompute=again)
    still = choose_dtype(dtype)[0].itemsize if adapted else FP32
    memory["parameters"] += still * sum(total_parameters(shape) for shape in frozen[adapted:])
    at_once_logits = min(at_once, count * longest, max(1, COMPARED_AT_ONCE // policy.vocab_size))
    memory["logits"] = FP32 * LOGIT_COPIES * policy.vocab_size * at_once_logits
    cache = cache_bytes_per_token(policy, choose_dtype(dtype)[0])
    memory["keys and values"] = min(CACHE_BYTES, written * cache)
    forward = sum(forward_flops_per_token(shape, T) for shape in (policy, *shapes))
    learned = config.epochs * training_flops(
        policy, config.policy.trainable, T, lora=config.policy.lora, recompute=again
    )
    return Cost(
        memory,
        tokens * (forward + learned),
        step_bytes=longest * 2.0 * matrix_parameters(policy),
        steps=config.train.steps,
    )
