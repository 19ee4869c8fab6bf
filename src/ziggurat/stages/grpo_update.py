"""One step of GRPO apart from its sampling: what policy and reference say of the rollouts, then the gradients.

Legend: R rollouts, L longest completion, N actions of a microbatch, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ziggurat.errors import TrainingError
from ziggurat.stages.grpo_config import GRPOConfig
from ziggurat.stages.grpo_losses import (
    clipped_objective,
    k3,
    token_weights,
)
from ziggurat.stages.ppo_networks import PolicyAndReference, action_logp, compare
from ziggurat.stages.ppo_update import Tables, empty_tables
from ziggurat.stages.rollouts import Microbatch, Rollout
from ziggurat.training.optimizers import Optimizers, gradient_norm, scale_gradients


@torch.no_grad()
def assess(
    nets: PolicyAndReference,
    rollouts: Sequence[Rollout],
    scores: Tensor,
    minibatches: Sequence[Sequence[Microbatch]],
    config: GRPOConfig,
) -> Tables:
    """What policy and reference say of the rollouts."""
    device = scores.device
    shape = (len(rollouts), max(len(one.completion) for one in rollouts))
    mask, engine_logp, ended = empty_tables(rollouts, shape, device)
    old_logp, ref_logp, kl, ent = (torch.zeros(shape, device=device) for _ in range(4))
    trunks: list[list[Tensor | None]] = [[] for _ in minibatches]
    for number, micro in ((i, micro) for i, group in enumerate(minibatches) for micro in group):
        trunk = nets.trunk(micro.ids, **micro.where)
        trunks[number].append(trunk)
        with torch.enable_grad():  # by the very kernels of the update: so the first ratio is exactly 1
            hidden = nets.policy_hidden(micro.ids, trunk, **micro.where)
            states = micro.states(hidden).detach()
            micro.put(old_logp, action_logp(nets.policy, micro, config.temperature, states).detach())
        del hidden  # and with it all that was kept for a backward pass
        ref_states = micro.states(nets.reference_hidden(micro.ids, trunk, **micro.where))
        found = compare(nets, micro.actions, states, ref_states, config.temperature)
        for table, of_actions in zip((ref_logp, kl, ent), found, strict=True):
            micro.put(table, of_actions)
    return Tables(
        mask=mask,
        old_logp=old_logp,
        ref_logp=ref_logp,
        engine_logp=engine_logp,
        kl=kl,
        entropy=ent,
        scores=scores,
        ended=ended,
        trunks=trunks,
    )


def gradient(
    nets: PolicyAndReference,
    group: Sequence[Microbatch],
    trunks: Sequence[Tensor | None],
    tables: Tables,
    advantages: Tensor,
    config: GRPOConfig,
) -> dict[str, float]:
    """Add the gradient of a minibatch; returns its losses, the share that is clipped, and the largest |ratio - 1|."""
    rows = torch.cat([micro.rows for micro in group])  # (R',)
    lengths = tables.mask.sum(dim=1)  # (R,)
    place = torch.zeros(len(lengths), dtype=torch.long, device=rows.device)
    place[rows] = torch.arange(len(rows), device=rows.device)  # of each rollout in this minibatch
    count = sum(len(micro.actions) for micro in group)
    found = {"policy_loss": 0.0, "kl_loss": 0.0, "clip_fraction": 0.0, "ratio_gap": 0.0}
    for micro, trunk in zip(group, trunks, strict=True):
        hidden = nets.policy_hidden(micro.ids, trunk, **micro.where)
        logp = action_logp(nets.policy, micro, config.temperature, micro.states(hidden))  # (N,)
        old = micro.take(tables.old_logp)
        weight = token_weights(lengths[rows], place[micro.table_row], config.loss_mean, config.max_new_tokens)
        each, clipped = clipped_objective(
            logp, old, advantages[micro.table_row], config.clip_low, config.clip_high
        )
        loss = policy_loss = (each * weight).sum()
        if config.kl_in == "loss" and config.beta:
            kl_loss = config.beta * (k3(logp, micro.take(tables.ref_logp)) * weight).sum()
            loss = loss + kl_loss
            found["kl_loss"] += float(kl_loss.detach())
        loss.backward()  # type: ignore[no-untyped-call]
        found["policy_loss"] += float(policy_loss.detach())
        found["clip_fraction"] += float(clipped.sum()) / count
        found["ratio_gap"] = max(found["ratio_gap"], float((logp.detach() - old).exp().sub(1.0).abs().max()))
    return found


def clip(optimizer: Optimizers, grad_clip: float, step: int) -> float:
    """The norm of the gradient, refused when it is not finite, then scaled down to at most `grad_clip`."""
    norm = float(gradient_norm(optimizer.parameters))
    if not math.isfinite(norm):
        raise TrainingError(
            f"step {step}: the policy's gradient is not finite ({norm}); nothing was changed by this optimizer step. "
            "Resume from the last checkpoint with a lower learning rate."
        )
    if grad_clip and norm > grad_clip:
        scale_gradients(optimizer.parameters, grad_clip / norm)
    return norm
