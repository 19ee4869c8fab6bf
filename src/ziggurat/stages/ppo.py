"""Stage 4: improve a policy against a reward model, kept near its start by a KL penalty.

One step of the loop (training/loop.py):

    roll out -> score, log-probabilities, values -> gold check? -> doctor -> save? -> update -> log

Row s of metrics.jsonl describes the policy after s updates, measured on that step's rollouts before it learns from
them. The model of the run is the best checkpoint: by the gold check where one is given (the latest within its
tolerance), else by reward minus beta times KL (beta of the start).

What is left out, and why that is safe: entropy bonus (the KL reward keeps entropy up), value and policy in one
network (each keeps its own optimizer), top-p in rollouts (the ratio needs the full distribution), reward whitening
(the reward model already has a unit).
Sources: InstructGPT, arXiv:2203.02155, 3.5 and C.4; PPO, arXiv:1707.06347; GAE, arXiv:1506.02438.

    ziggurat ppo --policy town/sft --reward town/reward --data prompts.jsonl --text annals.jsonl
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ziggurat.corpus.pack import RowBatches
from ziggurat.engine.sampler import derive_key
from ziggurat.lineage import parent_entry
from ziggurat.model.transformer import Transformer
from ziggurat.records import Document, Prompt
from ziggurat.settings import Resolved
from ziggurat.stages.policy_learner import Gold, PolicyLearner, learn_and_report
from ziggurat.stages.ppo_config import PPOConfig, ppo_config
from ziggurat.stages.ppo_losses import steer_beta
from ziggurat.stages.ppo_metrics import describe_completions, describe_experience, describe_update
from ziggurat.stages.ppo_networks import load_networks
from ziggurat.stages.ppo_prepare import Prepared, prepare
from ziggurat.stages.ppo_update import assess, update
from ziggurat.stages.rollouts import (
    Microbatch,
    PromptOrder,
    Rollout,
    cut_minibatches,
    own_share,
    roll_out,
)
from ziggurat.stages.stage import begin
from ziggurat.training import parallel
from ziggurat.training.learner import Row
from ziggurat.training.optimizers import Optimizers, build_optimizer
from ziggurat.training.trainable import compute_dtype

__all__ = ["Gold", "PPOConfig", "ppo", "ppo_config", "prepare"]


def ppo(
    resolved: Resolved[PPOConfig],
    policy: str | Path,
    reward_model: str | Path,
    prompts: Sequence[Prompt],
    run_path: Path,
    *,
    reference: str | Path | None = None,
    ptx_documents: Sequence[Document] = (),
    gold: Gold | None = None,
    on_step: Callable[[dict[str, Any]], None] | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Run stage 4 and return the run's folder. KL is measured to `reference`, by default the policy's own start."""
    ready = prepare(
        resolved, policy, reward_model, prompts, reference=reference, ptx_documents=ptx_documents, data=data
    )
    networks = {
        "reference": parent_entry(ready.reference_folder),
        "reward_model": parent_entry(ready.reward_folder),
    }
    with begin("ppo", ready, run_path, resume=resume, overwrite=overwrite, manifest=networks) as run:
        learner = PPO(ready, gold, on_step)
        learn_and_report(run, learner, label="ppo", resume=resume)
    return run_path


class PPO(PolicyLearner):
    """Policy and critic, each with its optimizer."""

    def __init__(
        self,
        ready: Prepared,
        gold: Gold | None = None,
        on_step: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        super().__init__(ready, gold, on_step)
        config = ready.config
        self.nets = load_networks(ready)
        for module in (self.nets.policy, self.nets.critic):
            parallel.shard(module, compute_dtype(config.train))
        self.policy_optimizer = build_optimizer(self.nets.policy, config.policy)
        self.critic_optimizer = build_optimizer(self.nets.critic, config.critic)
        self.order = PromptOrder(len(ready.prompt_ids), config.rollouts_per_step, ready.seed)
        self.ptx = None if ready.ptx_rows is None else RowBatches(ready.ptx_rows, config.ptx_rows, ready.seed)
        self.beta = config.beta

    @property
    def live(self) -> Transformer:
        return self.nets.policy

    def modules(self) -> dict[str, nn.Module]:
        return {"policy": self.nets.policy, "critic": self.nets.critic}

    def optimizers(self) -> dict[str, Optimizers]:
        return {"policy": self.policy_optimizer, "critic": self.critic_optimizer}

    def state(self) -> dict[str, Any]:
        return {"beta": self.beta, "ptx": self.ptx.state() if self.ptx else None}

    def restore(self, state: dict[str, Any], rows: list[Row]) -> None:
        self.beta = state["beta"]
        if self.ptx and state["ptx"]:
            self.ptx.restore(state["ptx"])
        self.examine_again(rows)

    # --- one step ------------------------------------------------------------------------------------------------

    def measure(self, step: int) -> Row:
        """This step's rollouts by the live policy, and what the four networks say of them."""
        started = time.perf_counter()
        self.rollouts, self.minibatches = self.roll_out(step)
        rolled_out = time.perf_counter()
        self.experience = assess(self.nets, self.rollouts, self.minibatches, self.config, self.beta)
        return {
            **describe_experience(self.experience, self.beta),
            "beta": self.beta,
            "kl_target": self.config.kl_target,
            **describe_completions(self.rollouts, self.ready.tokenizer),
            "tokens": sum(len(one.completion) for one in self.rollouts),
            "rollout_s": round(rolled_out - started, 4),
            "assess_s": round(time.perf_counter() - rolled_out, 4),
        }

    def roll_out(self, step: int) -> tuple[list[Rollout], list[list[Microbatch]]]:
        """This step's completions, and their cut into minibatches; of several processes each computes its share."""
        config, ready = self.config, self.ready
        rollouts = roll_out(
            self.nets.policy,
            [ready.prompt_ids[i] for i in self.order.at(step)],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            stop_ids=ready.template.stop_ids,
            seed=derive_key(ready.seed, step),
        )
        device = self.nets.policy.embedding.weight.device
        name = f"{ready.seed} step {step}"
        cut = cut_minibatches(
            rollouts, config.minibatches, config.microbatch_tokens, ready.tokenizer.pad_id, name, device
        )
        return rollouts, [own_share(minibatch) for minibatch in cut]

    def update(self, step: int) -> Row:
        """The optimizer steps of this step, then beta's."""
        config, started = self.config, time.perf_counter()
        self.policy_optimizer.set_lr_factor(config.train.lr_factor(step))
        self.critic_optimizer.set_lr_factor(config.train.lr_factor(step, warmup=False))
        stats = update(
            self.nets,
            self.policy_optimizer,
            self.critic_optimizer,
            self.minibatches,
            self.experience,
            config,
            step,
            self.ptx_rows if self.ptx else None,
        )
        train_policy = step >= config.critic_warmup_steps
        if train_policy:
            self.beta = self.steered_beta()
        return {
            **describe_update(stats),
            "lr_adam": self.policy_optimizer.lr_adam,
            "policy_trained": train_policy,
            "update_s": round(time.perf_counter() - started, 4),
        }

    def steered_beta(self) -> float:
        config, experience = self.config, self.experience
        return steer_beta(
            self.beta,
            float((experience.kl * experience.mask).sum(dim=1).mean()),
            config.kl_target,
            gain=config.kl_gain,
            beta_min=min(config.beta_min, config.beta),
            beta_max=config.beta_max,
        )

    def ptx_rows(self) -> torch.Tensor:
        """The next rows of documents, (n, T+1)."""
        assert self.ptx is not None
        return torch.from_numpy(self.ptx.next()).long().to(self.nets.policy.embedding.weight.device)
