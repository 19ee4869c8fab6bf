"""One PPO step apart from its sampling: what the four networks say of the rollouts, then the updates.

`assess` reads the rollouts without gradients and fills the step's tables; `update` takes the optimizer steps. The
mathematics are pure functions in `advantages.py` and `ppo_losses.py`; the calendar is in `ppo.py`.

What it leaves out: any choice about beta, learning rates or when to stop.
Legend: R rollouts, L longest completion, N actions of a microbatch, T width of a microbatch, C, V as in the model.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ziggurat.errors import TrainingError
from ziggurat.model.heads import Foresight, RewardModel
from ziggurat.model.transformer import Transformer
from ziggurat.processes import processes, rank
from ziggurat.stages.advantages import gae, masked_whiten, token_rewards
from ziggurat.stages.losses import next_token_loss
from ziggurat.stages.ppo_config import PPOConfig
from ziggurat.stages.ppo_losses import clipped_policy_loss, clipped_value_loss
from ziggurat.stages.ppo_networks import Networks, action_logp, compare, critic_foresight, critic_values
from ziggurat.stages.rollouts import Microbatch, Rollout
from ziggurat.training import parallel
from ziggurat.training.optimizers import Optimizers, gradient_norm, scale_gradients


@dataclass
class Tables:
    """What policy and reference say of the rollouts of one step, (R, L) unless said otherwise; one of 3 tokens, ended:

    mask        1     1     1     0
    old_logp   -0.2  -0.5  -0.1   0      the policy's, tempered, as the trainer computes it
    ref_logp   -0.3  -0.5  -0.4   0      the reference's
    """

    mask: Tensor
    old_logp: Tensor
    ref_logp: Tensor
    engine_logp: Tensor
    kl: Tensor
    """Exact: over the whole vocabulary, in each state visited."""
    entropy: Tensor
    scores: Tensor
    """(R,) the reward model's, or the truncation reward."""
    ended: Tensor
    """(R,) bool."""
    trunks: list[list[Tensor | None]]
    """Of each microbatch of each minibatch: what the policy's still blocks make of it, (B, T, C); None where all of the
    policy learns."""


@dataclass
class Experience(Tables):
    """With PPO's further tables; the same rollout with beta 0.1 and the score r:

    rewards    -0.01  0    -0.03+r 0     -beta (old_logp - ref_logp), and r on the last token
    values      V0    V1    V2    0      of the states before each token
    """

    values: Tensor
    rewards: Tensor
    advantages: Tensor
    """Whitened over the whole step."""
    returns: Tensor
    """Values plus the advantages before whitening: the critic's targets."""
    foresights: list[list[Foresight | None]]
    """Of each microbatch of each minibatch: what the critic's body makes of it; None if that learns."""


@dataclass
class UpdateStats:
    """Means over the optimizer steps of one PPO step (norms before clipping)."""

    policy_loss: float = 0.0
    value_loss: float = 0.0
    ptx_loss: float | None = None
    clip_fraction: float = 0.0
    value_clip_fraction: float = 0.0
    grad_norm: float = 0.0
    critic_grad_norm: float = 0.0
    first_ratio_gap: float = 0.0
    """Largest |ratio - 1| of the first minibatch: 0, unless old log-probabilities are wrong."""


@torch.no_grad()
def assess(
    nets: Networks,
    rollouts: Sequence[Rollout],
    minibatches: Sequence[Sequence[Microbatch]],
    config: PPOConfig,
    beta: float,
) -> Experience:
    """Fill the step's tables. The most expensive rows are the (N, V) ones; they live one microbatch long."""
    device = nets.policy.embedding.weight.device
    shape = (len(rollouts), max(len(one.completion) for one in rollouts))
    mask, engine_logp, ended = empty_tables(rollouts, shape, device)
    old_logp, ref_logp, kl, ent, values = (torch.zeros(shape, device=device) for _ in range(5))
    scores = torch.zeros(shape[0], device=device)
    foresights: list[list[Foresight | None]] = [[] for _ in minibatches]
    trunks: list[list[Tensor | None]] = [[] for _ in minibatches]
    for number, micro in ((i, micro) for i, group in enumerate(minibatches) for micro in group):
        trunk = nets.trunk(micro.ids)
        trunks[number].append(trunk)
        # by the very kernels of the update, which differ in bf16: so the first ratio is exactly 1
        with torch.enable_grad():
            hidden = nets.policy_hidden(micro.ids, trunk)
            states = micro.states(hidden).detach()
            micro.put(old_logp, action_logp(nets.policy, micro, config.temperature, states).detach())
        del hidden  # and with it all that was kept for a backward pass
        # (B, T, C) of each body; one that serves twice is read once
        read = {nets.reference: nets.reference_hidden(micro.ids, trunk)}
        for body in {nets.reward.body, nets.critic.body} - {nets.reference}:
            read[body] = body.hidden(micro.ids)
        ref_states = micro.states(read[nets.reference])
        for table, found in zip(
            (ref_logp, kl, ent),
            compare(nets, micro.actions, states, ref_states, config.temperature),
            strict=True,
        ):
            micro.put(table, found)
        foresight = critic_foresight(nets.critic, micro, read[nets.critic.body])
        micro.put(values, critic_values(nets.critic, micro, foresight))
        foresights[number].append(None if nets.critic_body_learns else foresight)
        found_scores = nets.reward.score(micro.ids, micro.ends, read[nets.reward.body])
        if not micro.spare:
            scores[micro.rows] = found_scores
    parallel.add_up([old_logp, ref_logp, kl, ent, values, scores])  # each process knows its own rows
    scores = torch.where(ended, scores, torch.full_like(scores, config.truncation_reward))
    rewards = token_rewards(old_logp - ref_logp, scores, mask, beta=beta)
    advantages = gae(rewards, values, mask, gamma=config.gamma, lam=config.lam)
    return Experience(
        mask=mask,
        old_logp=old_logp,
        ref_logp=ref_logp,
        engine_logp=engine_logp,
        kl=kl,
        entropy=ent,
        values=values,
        scores=scores,
        ended=ended,
        rewards=rewards,
        advantages=masked_whiten(advantages, mask),
        returns=advantages + values,
        foresights=foresights,
        trunks=trunks,
    )


def update(
    nets: Networks,
    policy_optimizer: Optimizers,
    critic_optimizer: Optimizers,
    minibatches: Sequence[Sequence[Microbatch]],
    experience: Experience,
    config: PPOConfig,
    step: int,
    ptx_rows: Callable[[], Tensor] | None = None,
) -> UpdateStats:
    """`epochs` passes over the minibatches, each a step of policy and critic; then the critic's further ones.

    Both gradients are computed before either model moves, so that a non-finite one leaves both as they were.
    """
    stats = UpdateStats()
    policy_taken = critic_taken = 0
    for epoch in range(max(config.epochs, config.critic.epochs)):
        train_policy = step >= config.critic_warmup_steps and epoch < config.epochs
        order = list(range(len(minibatches)))
        random.Random(f"{config.train.seed} step {step} epoch {epoch}").shuffle(order)
        for number in order:
            group = minibatches[number]
            policy_optimizer.zero_grad()
            critic_optimizer.zero_grad()
            if train_policy:
                trunks = experience.trunks[number]
                _policy_gradient(nets, group, trunks, experience, config, stats, first=policy_taken == 0)
                if ptx_rows is not None:
                    _ptx_gradient(nets.policy, ptx_rows(), config.ptx_weight, stats)
            _critic_gradient(nets.critic, group, experience.foresights[number], experience, config, stats)
            norms = _clip(config, step, policy_optimizer, critic_optimizer)
            stats.grad_norm += norms[0]
            stats.critic_grad_norm += norms[1]
            if train_policy:
                policy_optimizer.step()
                parallel.forget_gathered(nets.policy)
                policy_taken += 1
            critic_optimizer.step()
            parallel.forget_gathered(nets.critic)
            critic_taken += 1
    policy_optimizer.zero_grad()
    critic_optimizer.zero_grad()
    return _means(_of_all(stats), max(1, policy_taken), critic_taken)


def _policy_gradient(
    nets: Networks,
    group: Sequence[Microbatch],
    trunks: Sequence[Tensor | None],
    experience: Experience,
    config: PPOConfig,
    stats: UpdateStats,
    *,
    first: bool,
) -> None:
    count = _actions(group)
    for micro, trunk in zip(group, trunks, strict=True):
        hidden = nets.policy_hidden(micro.ids, trunk)
        logp = action_logp(nets.policy, micro, config.temperature, micro.states(hidden))  # (N,)
        old = micro.take(experience.old_logp)
        loss, clipped = clipped_policy_loss(logp, old, micro.take(experience.advantages), config.clip)
        (micro.weight * loss / count).backward()  # type: ignore[no-untyped-call]
        if micro.spare:
            continue
        stats.policy_loss += float(loss.detach()) / count
        stats.clip_fraction += float(clipped) / count
        if first:
            gap = (logp.detach() - old).exp().sub(1.0).abs().max()
            stats.first_ratio_gap = max(stats.first_ratio_gap, float(gap))


def _ptx_gradient(policy: Transformer, rows: Tensor, weight: float, stats: UpdateStats) -> None:
    """Pre-training rows (n, T+1): weight · mean next-token loss, against the alignment tax (PPO-ptx)."""
    mine, twice = rows[rank() :: processes()], 1
    if len(rows) < processes():  # then every process computes them all
        mine, twice = rows, processes()
    loss, _ = next_token_loss(policy, mine[:, :-1], mine[:, 1:])
    count = rows[:, 1:].numel() * twice
    (weight * loss / count).backward()  # type: ignore[no-untyped-call]
    stats.ptx_loss = (stats.ptx_loss or 0.0) + float(loss.detach()) / count


def _critic_gradient(
    critic: RewardModel,
    group: Sequence[Microbatch],
    foresights: Sequence[Foresight | None],
    experience: Experience,
    config: PPOConfig,
    stats: UpdateStats,
) -> None:
    count = _actions(group)
    for micro, known in zip(group, foresights, strict=True):
        values = critic_values(critic, micro, known)
        old, returns = micro.take(experience.values), micro.take(experience.returns)
        loss, clipped = clipped_value_loss(values, old, returns, config.value_clip)
        (micro.weight * loss / count).backward()  # type: ignore[no-untyped-call]
        if micro.spare:
            continue
        stats.value_loss += float(loss.detach()) / count
        stats.value_clip_fraction += float(clipped) / count


def _clip(config: PPOConfig, step: int, *optimizers: Optimizers) -> list[float]:
    """Norms of the gradients, refused when not finite, then scaled down to at most `grad_clip`."""
    for optimizer in optimizers:
        parallel.add_up_gradients(optimizer.parameters)
    norms = [float(gradient_norm(optimizer.parameters)) for optimizer in optimizers]
    for name, norm in zip(("policy", "critic"), norms, strict=True):
        if not math.isfinite(norm):
            raise TrainingError(
                f"step {step}: the {name}'s gradient is not finite ({norm}); nothing was changed by this "
                "optimizer step. Resume from the last checkpoint with a lower learning rate."
            )
    for optimizer, norm in zip(optimizers, norms, strict=True):
        if config.train.grad_clip and norm > config.train.grad_clip:
            scale_gradients(optimizer.parameters, config.train.grad_clip / norm)
    return norms


def _actions(group: Sequence[Microbatch]) -> float:
    """Of one optimizer step, in all processes."""
    return parallel.summed([sum(len(micro.actions) for micro in group if not micro.spare)])[0]


def _of_all(stats: UpdateStats) -> UpdateStats:
    """Sums over all processes; the norms are those of all already."""
    names = ["policy_loss", "value_loss", "clip_fraction", "value_clip_fraction"]
    names += [] if stats.ptx_loss is None else ["ptx_loss"]
    for name, value in zip(names, parallel.summed([getattr(stats, name) for name in names]), strict=True):
        setattr(stats, name, value)
    stats.first_ratio_gap = parallel.most(stats.first_ratio_gap)
    return stats


def _means(stats: UpdateStats, policy_taken: int, critic_taken: int) -> UpdateStats:
    for name in ("policy_loss", "clip_fraction", "grad_norm"):
        setattr(stats, name, getattr(stats, name) / policy_taken)
    for name in ("value_loss", "value_clip_fraction", "critic_grad_norm"):
        setattr(stats, name, getattr(stats, name) / critic_taken)
    if stats.ptx_loss is not None:
        stats.ptx_loss /= policy_taken
    return stats


def empty_tables(
    rollouts: Sequence[Rollout], shape: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """(mask, the engine's log-probabilities, both (R, L); which have ended, (R,))."""
    mask = torch.zeros(shape, dtype=torch.bool)
    engine_logp = torch.zeros(shape)
    for row, one in enumerate(rollouts):
        mask[row, : len(one.completion)] = True
        engine_logp[row, : len(one.completion)] = torch.tensor(one.engine_logp)
    ended = torch.tensor([one.ended for one in rollouts])
    return mask.to(device), engine_logp.to(device), ended.to(device)
