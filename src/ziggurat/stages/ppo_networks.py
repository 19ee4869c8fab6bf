"""The four networks of PPO, and what is computed of them: logits of policy and reference, values of the critic.

Frozen bodies with equal weights are one object. Where only the last blocks of the policy learn, the frozen blocks that
all bodies share (the trunk) are computed once:

    ids -> trunk (blocks 0 ... L-k-1, frozen) -> policy's top (k blocks, learns) -> logits
                                              -> reference's top (frozen) -> logits, reward, values

Legend: N actions of a microbatch, (B, T) its rows and width, C, V as in the model.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from ziggurat.errors import ConfigError, ModelFolderError
from ziggurat.model.heads import Foresight, RewardModel
from ziggurat.model.hub import load_model, load_scalar
from ziggurat.model.hub.adapters import is_adapter_of
from ziggurat.model.transformer import Transformer, set_compute_dtype
from ziggurat.stages.losses import nll_in_pieces
from ziggurat.stages.ppo_losses import entropy, exact_kl, token_logp
from ziggurat.stages.ppo_prepare import Prepared
from ziggurat.stages.rollouts import Microbatch, Where
from ziggurat.training.config import LoopConfig, OptimizerConfig
from ziggurat.training.cost import COMPARED_AT_ONCE, LOGITS_AT_ONCE
from ziggurat.training.device import device_of, place
from ziggurat.training.parallel import is_shard
from ziggurat.training.trainable import (
    compute_dtype,
    first_trained_block,
    freeze,
    weights_dtype,
    with_adapter,
)


@dataclass
class PolicyAndReference:
    """What learns, and its frozen start."""

    policy: Transformer
    reference: Transformer

    @cached_property
    def top(self) -> range:
        """The policy's blocks that learn; all below them is its trunk."""
        return range(first_trained_block(self.policy), self.policy.config.layers)

    @cached_property
    def trunk_is_shared(self) -> bool:
        """Whether the reference begins with the very blocks of the policy that stay still."""
        if self.top.start == 0 or is_shard(self.policy.embedding.weight):
            return False
        return alike(self.policy, self.reference, below=self.top.start)

    @torch.no_grad()
    def trunk(self, ids: Tensor, **where: Unpack[Where]) -> Tensor | None:
        """ids (B, T) -> what the policy's still blocks make of them, (B, T, C); None where all of it learns.

        `where`: positions and segments (B, T), as in `Transformer.hidden`; likewise below."""
        if not self.top.start:
            return None
        return self.policy.through(
            self.policy.embed(ids, where.get("positions")), range(self.top.start), **where
        )

    def policy_hidden(self, ids: Tensor, trunk: Tensor | None, **where: Unpack[Where]) -> Tensor:
        """(B, T), (B, T, C) -> (B, T, C): the policy's states, from its trunk's where that stays still."""
        if trunk is None:
            return self.policy.hidden(ids, **where)
        return _crown(self.policy, trunk, self.top, where)

    @torch.no_grad()
    def reference_hidden(self, ids: Tensor, trunk: Tensor | None, **where: Unpack[Where]) -> Tensor:
        """As `policy_hidden`, of the reference."""
        if trunk is None or not self.trunk_is_shared:
            return self.reference.hidden(ids, **where)
        return _crown(self.reference, trunk, self.top, where)


@dataclass
class Networks(PolicyAndReference):
    """The four of PPO: trained, frozen start, scorer, value estimate."""

    reward: RewardModel
    critic: RewardModel
    """Begins as a copy of the reward model, and keeps its shift and scale, so values and rewards share a unit."""

    @property
    def critic_body_learns(self) -> bool:
        return any(p.requires_grad for p in self.critic.body.parameters())


def _crown(model: Transformer, trunk: Tensor, top: range, where: Where) -> Tensor:
    last: Tensor = model.norm(model.through(trunk, top, **where))
    return last


def load_networks(ready: Prepared) -> Networks:
    """Policy, reference, reward model, and a critic that begins as the reward model; all compute in one dtype.

    With `policy.trainable=lora` (or another adapter) the policy is the reference with it, and a reward model that is an
    adapter of the same base stands over it too: one body for all four. Frozen bodies with equal weights are one object:
    the reward model's where stage 3 trained its head alone, the critic's with `critic.trainable=head`. `assess` then
    computes two bodies instead of four, and where only the policy's last blocks learn, the blocks below them once for
    all.
    """
    config = ready.config
    policy, reference = load_policy_and_reference(
        ready.base, ready.reference_folder, config.policy, config.train, seed=ready.seed
    )
    scorer = load_scorer(ready.reward_folder, reference, weights_dtype(config.policy, config.train))
    nets = Networks(policy, reference, scorer, _critic(ready, scorer, reference))
    freeze(nets.critic, config.critic.trainable)
    for module in (nets.policy, nets.reference, nets.reward, nets.critic):
        set_compute_dtype(module, compute_dtype(config.train))
    return nets


def load_policy_and_reference(
    folder: Path, reference_folder: Path, learns: OptimizerConfig, loop: LoopConfig, *, seed: int
) -> tuple[Transformer, Transformer]:
    """The policy, of which learns what `learns` says, and the reference, which an adapted policy shares as its base.

    `loop`: its dtype and its device; `seed`: of a new adapter."""
    weights = weights_dtype(learns, loop)
    policy = base = place(load_model(folder, dtype=weights), loop.device)
    if learns.adapts:
        policy = with_adapter(base, learns, seed)
    shared = policy is not base and reference_folder == folder
    reference = base if shared else place(load_model(reference_folder, dtype=weights), loop.device)
    freeze(policy, learns.trainable)
    policy.eval()  # no dropout in an adapter: old and new log-probabilities must be of one model
    return policy, reference


def load_scorer(folder: Path, reference: Transformer, dtype: torch.dtype) -> RewardModel:
    """The reward model; its body, or the base of its adapter, is the reference where the weights are the same."""
    over = reference if is_adapter_of(folder, reference.source) else None
    scorer = load_scalar(folder, dtype=dtype, over=over).to(device_of(reference))
    if not isinstance(scorer, RewardModel):
        raise ModelFolderError(f"{folder} is a critic, not a reward model; name a run of stage 3.")
    if alike(scorer.body, reference):
        scorer.body = reference
    return scorer


def _critic(ready: Prepared, scorer: RewardModel, reference: Transformer) -> RewardModel:
    """A copy of the reward model; a body that stays still is the reward model's own, also under an adapter."""
    learns = ready.config.critic
    if learns.adapts or learns.trainable == "head":
        critic: Any = copy.deepcopy(scorer, {id(scorer.body): scorer.body})
        if learns.adapts:
            critic.body = with_adapter(scorer.body, learns, ready.seed + 1)
    else:
        critic = _scorer_alone(ready, reference).to(device_of(reference))
    found: RewardModel = critic
    return found


def _scorer_alone(ready: Prepared, reference: Transformer) -> Any:
    if is_adapter_of(ready.reward_folder, reference.source):
        raise ConfigError(
            f"critic.trainable is {ready.config.critic.trainable!r}, and the reward model is an adapter; "
            "let the critic learn with critic.trainable=head or lora."
        )
    return load_scalar(ready.reward_folder)


def alike(a: Transformer, b: Transformer, below: int | None = None) -> bool:
    """Whether two bodies have the same weights; `below`: in their embeddings and the blocks below this one.

    The weights are compared, not the lineage, although it usually says the same (a reward model of which only the head
    was trained has its parent's body). A manifest says where a model began, not what its folder holds today: it may
    have been copied, edited, or trained again under its name, and a wrong yes would change KL and rewards in silence.
    Models from elsewhere have no manifest. And a resumed run would compute in another way once a run that its lineage
    names is removed. Cost: 1.2 s a run for 134M equal parameters, nothing where they differ; the SHA-256 that a lineage
    would need to be sure takes 2.1 s (one core of a busy Xeon).
    """

    def weights(model: Transformer) -> dict[str, Tensor]:
        found: dict[str, Tensor] = model.state_dict()
        if below is None:
            return found
        above = tuple(f"blocks.{n}." for n in range(below, model.config.layers))
        return {
            name: w for name, w in found.items() if not name.startswith((*above, "norm.", "unembedding."))
        }

    if a.config != b.config:
        return False
    ours, theirs = weights(a), weights(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def critic_foresight(critic: RewardModel, micro: Microbatch, hidden: Tensor | None = None) -> Foresight:
    """What the critic's body makes of the actions' states; `hidden` (B, T, C): of all of them, where known already."""
    states = micro.states(critic.body.hidden(micro.ids) if hidden is None else hidden)
    return critic.foresee(states, micro.actions)


def critic_values(critic: RewardModel, micro: Microbatch, foresight: Foresight | None = None) -> Tensor:
    """Values (N,) of the actions' states, in units of the reward; `foresight`: the body's part, where known already."""
    if foresight is None:
        foresight = critic_foresight(critic, micro)
    return critic.values(foresight, micro.state_row, len(micro.ids))


def action_logp(model: Transformer, micro: Microbatch, temperature: float, states: Tensor) -> Tensor:
    """Tempered log p (N,) of the actions chosen in states (N, C). With a large vocabulary no logits are kept."""
    if len(states) * model.config.vocab_size <= LOGITS_AT_ONCE:
        return token_logp(model.logits(states) / temperature, micro.actions)
    return -nll_in_pieces(model, states if temperature == 1.0 else states / temperature, micro.actions)


@torch.no_grad()
def compare(
    nets: PolicyAndReference, actions: Tensor, states: Tensor, ref_states: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """From the states (N, C) of policy and reference: the reference's log p of the actions, the exact KL and the
    policy's entropy, (N,) each. At most COMPARED_AT_ONCE logits of each are there at a time, elsewhere than on a CPU
    LOGITS_AT_ONCE."""
    piece = max(1, (COMPARED_AT_ONCE if states.is_cpu else LOGITS_AT_ONCE) // nets.policy.config.vocab_size)
    found = []
    for i in range(0, len(actions), piece):
        of = slice(i, i + piece)
        with torch.enable_grad():  # the kernels of the update, as in `assess`
            logits = nets.policy.logits(states[of]).detach()
        logp = (logits / temperature).log_softmax(dim=-1)  # (n, V)
        reference = (nets.reference.logits(ref_states[of]) / temperature).log_softmax(dim=-1)
        ref_logp = reference.gather(1, actions[of, None])[:, 0]
        found.append((ref_logp, exact_kl(logp, reference), entropy(logp)))
    ref_logp, kl, ent = (torch.cat(parts) for parts in zip(*found, strict=True))
    return ref_logp, kl, ent
