"""The four networks of PPO, and what is read of them: logits of the policy and the reference, values of the critic.

Bodies that are alike and stay so are one object, so that `ppo_update.assess` reads rollouts no oftener than it must.
Legend: N actions of a microbatch, (B, T) its rows and width, C, V as in the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ziggurat.console import err
from ziggurat.errors import ModelFolderError
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_model, load_scalar
from ziggurat.model.transformer import Transformer, set_compute_dtype
from ziggurat.stages.ppo_config import Prepared
from ziggurat.stages.rollouts import Microbatch
from ziggurat.training.precision import choose_dtype


@dataclass
class Networks:
    """The four of PPO: trained, frozen start, scorer, value estimate."""

    policy: Transformer
    reference: Transformer
    reward: RewardModel
    critic: RewardModel
    """Begins as a copy of the reward model, and keeps its shift and scale, so values and rewards share a unit."""

    @property
    def critic_body_learns(self) -> bool:
        return any(p.requires_grad for p in self.critic.body.parameters())


def load_networks(ready: Prepared) -> Networks:
    """Policy, reference, reward model, and a critic that begins as the reward model; all compute in one dtype.

    Bodies that are alike and stay so are one: the reward model's where stage 3 left it still, the critic's where
    `critic.body_learns` is off. `assess` then reads the rollouts twice instead of four times.
    """
    scorer, critic = load_scalar(ready.reward_folder), load_scalar(ready.reward_folder)
    if not isinstance(scorer, RewardModel) or not isinstance(critic, RewardModel):
        raise ModelFolderError(
            f"{ready.reward_folder} is a critic, not a reward model; name a run of stage 3."
        )
    nets = Networks(load_model(ready.policy_folder), load_model(ready.reference_folder), scorer, critic)
    if _alike(scorer.body, nets.reference):
        scorer.body = nets.reference
    if not ready.resolved.config.critic.body_learns:
        critic.body = scorer.body.requires_grad_(False)
    dtype, reason = choose_dtype(ready.resolved.config.dtype)
    for module in (nets.policy, nets.reference, nets.reward, nets.critic):
        set_compute_dtype(module, dtype)
    err.print(f"ppo: computing in {str(dtype).removeprefix('torch.')} because {reason}")
    return nets


def _alike(a: Transformer, b: Transformer) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def critic_values(critic: RewardModel, micro: Microbatch, states: Tensor | None = None) -> Tensor:
    """Values (N,) of the actions' states, in units of the reward; `states` (N, C): the body's, where known already."""
    if states is None:
        states = micro.states(critic.body.hidden(micro.ids))
    return critic.values(states, micro.actions, micro.state_row, len(micro.ids))


def action_logits(
    model: Transformer, micro: Microbatch, temperature: float, hidden: Tensor | None = None
) -> Tensor:
    """Tempered logits (N, V) of the actions' states only: none are made for prompts and padding."""
    return model.logits(micro.states(model.hidden(micro.ids) if hidden is None else hidden)) / temperature
