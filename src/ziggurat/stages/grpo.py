"""Improve a policy by comparing its own completions of a prompt: GRPO, RLOO, Dr. GRPO, DAPO. No critic.

One step of the loop (training/loop.py):

    roll out groups -> score -> advantages within each group -> doctor -> save? -> update -> log

The reward is a Python function, a reward model, or both (`scorer.py`); formulas are in `grpo_losses.py`, what the
variants change in `grpo_config.VARIANTS`. Rows of metrics.jsonl are as PPO's (docs/rlhf.md) without the critic's:
row s describes the policy after s updates. The model of the run is the best checkpoint, chosen as in PPO.

What is left out: a value model, rewards for single tokens, several devices.
Sources: arXiv:2402.03300, arXiv:2402.14740, arXiv:2503.20783, arXiv:2503.14476.

    ziggurat grpo --policy town/sft --data prompts.jsonl --set reward_function=rules.py:score
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ziggurat.engine.sampler import derive_key
from ziggurat.model.heads import RewardModel
from ziggurat.model.transformer import Transformer, set_compute_dtype
from ziggurat.records import Prompt
from ziggurat.settings import Resolved
from ziggurat.stages.grpo_config import GRPOConfig, Prepared, grpo_config, prepare
from ziggurat.stages.grpo_losses import (
    equal_groups,
    group_advantages,
    length_penalty,
)
from ziggurat.stages.grpo_update import assess, clip, gradient
from ziggurat.stages.policy_learner import Gold, PolicyLearner, learn_and_report
from ziggurat.stages.ppo_metrics import describe_completions, describe_rollouts
from ziggurat.stages.ppo_networks import PolicyAndReference, load_policy_and_reference, load_scorer
from ziggurat.stages.ppo_update import Tables
from ziggurat.stages.rollouts import PromptOrder, Rollout, cut_minibatches, roll_out
from ziggurat.stages.scorer import Scorer
from ziggurat.stages.shared_prompts import cut_groups, worth_sharing
from ziggurat.stages.stage import begin
from ziggurat.training.learner import Row
from ziggurat.training.optimizers import Optimizers, build_optimizer
from ziggurat.training.trainable import compute_dtype, weights_dtype

__all__ = ["GRPOConfig", "grpo", "grpo_config", "prepare"]


def grpo(
    resolved: Resolved[GRPOConfig],
    policy: str | Path,
    prompts: Sequence[Prompt],
    run_path: Path,
    *,
    reward_model: str | Path | None = None,
    reference: str | Path | None = None,
    gold: Gold | None = None,
    on_step: Callable[[dict[str, Any]], None] | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Run the method and return the run's folder. KL is measured to `reference`, by default the policy's own start."""
    ready = prepare(resolved, policy, prompts, reward_model=reward_model, reference=reference, data=data)
    with begin("grpo", ready, run_path, resume=resume, overwrite=overwrite, manifest=ready.manifest) as run:
        learner = GRPO(ready, gold, on_step)
        learn_and_report(run, learner, label="grpo", resume=resume)
    return run_path


class GRPO(PolicyLearner):
    """A policy with its optimizer."""

    def __init__(
        self,
        ready: Prepared,
        gold: Gold | None = None,
        on_step: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        super().__init__(ready, gold, on_step)
        config = ready.config
        self.nets = PolicyAndReference(
            *load_policy_and_reference(
                ready.base, ready.reference_folder, config.policy, config.train, seed=ready.seed
            )
        )
        self.nets.reference.requires_grad_(False).eval()
        self.scorer = _scorer(ready, self.nets.reference)
        for module in (self.nets.policy, self.nets.reference, self.scorer.model):
            if module is not None:
                set_compute_dtype(module, compute_dtype(config.train))
        self.optimizer = build_optimizer(self.nets.policy, config.policy)
        count = len(ready.prompt_ids)
        self.order = PromptOrder(count, config.prompts_per_step, ready.seed)

    @property
    def live(self) -> Transformer:
        return self.nets.policy

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.nets.policy}

    def optimizers(self) -> dict[str, Optimizers]:
        return {"policy": self.optimizer}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any], rows: list[Row]) -> None:  # noqa: ARG002
        self.examine_again(rows)

    def drift(self, row: Row) -> float:
        """Nats a token where KL is in the loss, which is a mean over tokens: an answer of 100 tokens at 0.1 nats a
        token has 10 nats in all, and beta times those would outweigh any gain of a reward between 0 and 1."""
        kl = super().drift(row)
        return kl if self.config.kl_in == "reward" else kl / max(1.0, float(row["length"]))

    # --- one step ------------------------------------------------------------------------------------------------

    def measure(self, step: int) -> Row:
        """This step's rollouts by the live policy, their scores, and what the networks say of them."""
        started = time.perf_counter()
        rollouts, scores, row = self.groups(step)
        rolled_out = time.perf_counter()
        config, device = self.config, self.nets.policy.embedding.weight.device
        name = f"{self.ready.seed} step {step}"
        pad_id = self.ready.tokenizer.pad_id
        budget = config.microbatch_tokens
        if worth_sharing(rollouts, config.group, self.nets.policy.config):
            self.minibatches = cut_groups(
                rollouts, config.group, config.minibatches, budget, pad_id, name, device
            )
        else:
            self.minibatches = cut_minibatches(rollouts, config.minibatches, budget, pad_id, name, device)
        self.tables = assess(self.nets, rollouts, scores.to(device), self.minibatches, config)
        self.advantages = self.advantages_of(self.tables)
        return {
            **describe_rollouts(self.tables, config.beta),
            "beta": config.beta,
            **describe_completions(rollouts[:: config.group], self.ready.tokenizer),
            **row,
            "tokens": sum(len(one.completion) for one in rollouts),
            "rollout_s": round(rolled_out - started, 4),
            "assess_s": round(time.perf_counter() - rolled_out, 4),
        }

    def groups(self, step: int) -> tuple[list[Rollout], Tensor, Row]:
        """(rollouts, scores (R,), fields of the row); groups that all score alike are replaced `resample` times."""
        G = self.config.group
        rollouts, scores, parts = self.score(self.order.at(step), derive_key(self.ready.seed, step))
        alike_at_first = float(equal_groups(scores, G).float().mean())
        for again in range(self.config.resample):
            dull = equal_groups(scores, G).nonzero()[:, 0].tolist()
            if not dull:
                break
            chance = random.Random(f"{self.ready.seed} step {step} again {again}")
            others = [chance.randrange(len(self.ready.prompt_ids)) for _ in dull]
            key = derive_key(self.ready.seed, step, again)
            fresh, fresh_scores, fresh_parts = self.score(others, key)
            for i, group in enumerate(dull):
                old, new = slice(group * G, group * G + G), slice(i * G, i * G + G)
                rollouts[old], scores[old] = fresh[new], fresh_scores[new]
                for name, values in parts.items():
                    values[old] = fresh_parts[name][new]
        row: Row = {"share_equal_groups": alike_at_first}
        row |= {f"reward_{name}": sum(values) / len(values) for name, values in parts.items()}
        return rollouts, scores, row

    def score(
        self, prompts: Sequence[int], seed: int
    ) -> tuple[list[Rollout], Tensor, dict[str, list[float]]]:
        """A group of completions for each of these prompts, their scores (R,), and the scores' parts."""
        config, ready = self.config, self.ready
        rollouts = roll_out(
            self.nets.policy,
            [ready.prompt_ids[i] for i in prompts],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            stop_ids=ready.template.stop_ids,
            seed=seed,
            n=config.group,
        )
        texts = [
            ready.tokenizer.decode(one.completion[:-1] if one.ended else one.completion) for one in rollouts
        ]
        scores, parts = self.scorer.score(
            [ready.prompts[i] for i in prompts for _ in range(config.group)],
            texts,
            [one.prompt + one.completion for one in rollouts],
            [one.ended for one in rollouts],
            unended=config.truncation_reward,
        )
        lengths = torch.tensor([len(one.completion) for one in rollouts])
        penalty = length_penalty(lengths, config.max_new_tokens, config.length_buffer, config.length_penalty)
        return (
            rollouts,
            torch.tensor(scores) - penalty,
            {name: list(values) for name, values in parts.items()},
        )

    def advantages_of(self, tables: Tables) -> Tensor:
        """(R,)"""
        config, scores = self.config, tables.scores
        if config.kl_in == "reward":
            scores = scores - config.beta * ((tables.old_logp - tables.ref_logp) * tables.mask).sum(dim=1)
        return group_advantages(scores, config.group, baseline=config.baseline, scale=config.scale)

    def update(self, step: int) -> Row:
        """The optimizer steps of this step."""
        config, started = self.config, time.perf_counter()
        self.optimizer.set_lr_factor(config.train.lr_factor(step))
        sums = {"policy_loss": 0.0, "kl_loss": 0.0, "clip_fraction": 0.0, "grad_norm": 0.0}
        gap, taken = 0.0, 0
        for epoch in range(config.epochs):
            order = list(range(len(self.minibatches)))
            random.Random(f"{config.train.seed} step {step} epoch {epoch}").shuffle(order)
            for number in order:
                self.optimizer.zero_grad()
                found = gradient(
                    self.nets,
                    self.minibatches[number],
                    self.tables.trunks[number],
                    self.tables,
                    self.advantages,
                    config,
                )
                found["grad_norm"] = clip(self.optimizer, config.train.grad_clip, step)
                self.optimizer.step()
                gap = found.pop("ratio_gap") if taken == 0 else gap
                for name in sums:
                    sums[name] += found[name]
                taken += 1
        self.optimizer.zero_grad()
        return {
            **{name: value / taken for name, value in sums.items()},
            "first_ratio_gap": gap,
            "lr_adam": self.optimizer.lr_adam,
            "update_s": round(time.perf_counter() - started, 4),
        }


def _scorer(ready: Prepared, reference: Transformer) -> Scorer:
    """The reward; a reward model whose body is the reference's, or an adapter of it, shares it."""
    config = ready.config
    model: RewardModel | None = None
    if ready.reward_folder is not None:
        weights = weights_dtype(config.policy, config.train)
        model = load_scorer(ready.reward_folder, reference, weights)
        model.requires_grad_(False).eval()
    return Scorer(ready.function, model, config.function_weight, config.model_weight, ready.tokenizer.pad_id)
