"""Alignment of tokens, states and tables; minibatches; the order of prompts; the exact first ratio."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import alphabet
import pytest
import torch

from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_model
from ziggurat.model.transformer import set_compute_dtype
from ziggurat.stages.ppo_config import CriticConfig, PolicyConfig, PPOConfig
from ziggurat.stages.ppo_networks import Networks, action_logp, critic_foresight, critic_values
from ziggurat.stages.ppo_update import assess, update
from ziggurat.stages.rollouts import (
    Microbatch,
    PromptOrder,
    Rollout,
    cut_minibatches,
    roll_out,
)
from ziggurat.tokenizer.rendering import render_all
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.optimizers import build_optimizer

CPU = torch.device("cpu")
PAD = 1


def micro(*rollouts: Rollout) -> Microbatch:
    (group,) = cut_minibatches(list(rollouts), 1, 4096, PAD, "x", CPU)
    (only,) = group
    return only


def test_states_are_one_before_their_actions() -> None:
    """Prompt 11 12 13, completion 21 22: states at columns 2 and 3, actions 21 and 22, score read at position 4."""
    found = micro(Rollout([11, 12, 13], [21, 22], [-0.1, -0.2], True))
    assert found.ids.tolist() == [[11, 12, 13, 21, 22]]
    assert found.state_column.tolist() == [2, 3]
    assert found.actions.tolist() == [21, 22]
    assert found.ends.tolist() == [4]
    assert found.table_column.tolist() == [0, 1]


def test_rows_find_their_way_into_the_table_and_back() -> None:
    """The microbatch sorts by length; row 1 (the longer) comes first in it, and still lands in row 1 of the table."""
    found = micro(Rollout([11], [21], [0.0], True), Rollout([12, 13], [22, 23], [0.0, 0.0], False))
    assert found.ids.tolist() == [[12, 13, 22, 23], [11, 21, PAD, PAD]]
    table = torch.zeros(2, 2)
    found.put(table, found.actions.float())
    assert table.tolist() == [[21.0, 0.0], [22.0, 23.0]]
    assert torch.equal(found.take(table), found.actions.float())


def test_every_rollout_is_in_exactly_one_minibatch() -> None:
    rollouts = [Rollout([2] * (1 + i % 5), [3] * (1 + i % 3), [0.0] * (1 + i % 3), True) for i in range(37)]
    groups = cut_minibatches(rollouts, 4, 32, PAD, "seed", CPU)
    assert len(groups) == 4
    assert sorted(row for group in groups for one in group for row in one.rows.tolist()) == list(range(37))
    assert all(one.ids.numel() <= 32 for group in groups for one in group)
    again = cut_minibatches(rollouts, 4, 32, PAD, "seed", CPU)
    assert [one.rows.tolist() for g in groups for one in g] == [one.rows.tolist() for g in again for one in g]


def test_prompt_order_sees_each_prompt_once_a_pass_and_depends_on_the_step_alone() -> None:
    order = PromptOrder(10, 4, seed=3)
    seen = [i for step in range(5) for i in order.at(step)]
    assert sorted(seen[:10]) == list(range(10))
    assert sorted(seen[10:]) == list(range(10))
    assert PromptOrder(10, 4, seed=3).at(2) == seen[8:12]


def test_logp_of_a_padded_microbatch_equals_that_of_each_row_alone(letters_sft: Path) -> None:
    """Right padding is never seen by a causal model: the slow way, row by row without padding, agrees."""
    model = load_model(letters_sft)
    rollouts = [Rollout([7, 8, 9], [10, 11, 6], [0.0] * 3, True), Rollout([7], [10, 6], [0.0] * 2, True)]
    batch = micro(*rollouts)
    logp = action_logp(model, batch, 1.0, batch.states(model.hidden(batch.ids)))
    alone = torch.cat(
        [model(torch.tensor([r.prompt + r.completion]))[0, len(r.prompt) - 1 : -1] for r in rollouts]
    )
    wanted = alone.log_softmax(-1).gather(1, batch.actions[:, None])[:, 0]
    assert torch.allclose(logp, wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_first_ratio_is_exactly_one_and_the_engine_agrees(letters_sft: Path, dtype: torch.dtype) -> None:
    """Old log-probabilities come from the trainer's own microbatches; the engine's differ by rounding only."""
    template = ChatTemplate(alphabet.tokenizer())
    models = [load_model(letters_sft) for _ in range(2)]
    scorers = [RewardModel(load_model(letters_sft)) for _ in range(2)]
    nets = Networks(models[0], models[1], scorers[0], scorers[1])
    for module in (*models, *scorers):
        set_compute_dtype(module, dtype)
    prompts = [one.ids for one in render_all(template, alphabet.prompts()).flat]
    rollouts = roll_out(
        nets.policy, prompts, max_new_tokens=6, temperature=0.7, stop_ids=template.stop_ids, seed=1
    )
    groups = cut_minibatches(rollouts, 2, 64, PAD, "x", CPU)
    config = PPOConfig(temperature=0.7, critic_warmup_steps=0, ptx_weight=0.0)
    experience = assess(nets, rollouts, groups, config, 0.1)
    assert torch.equal(experience.kl, torch.zeros_like(experience.kl)) or experience.kl.max() < 1e-2
    limit = 1e-4 if dtype == torch.float32 else 0.1
    assert ((experience.engine_logp - experience.old_logp).abs() * experience.mask).max() < limit
    optimizers = [build_optimizer(m, PolicyConfig()) for m in (nets.policy, nets.critic)]
    stats = update(nets, *optimizers, groups, experience, config, 0)
    assert stats.first_ratio_gap == 0.0


@pytest.mark.parametrize("body_learns", [True, False])
def test_a_critic_with_passes_of_its_own_learns_more_and_the_policy_no_more(
    letters_reward: Path, body_learns: bool
) -> None:
    """What a still body says of the rollouts is read once, and is what it would say again."""
    from ziggurat.model.hub import load_scalar

    template = ChatTemplate(alphabet.tokenizer())
    prompts = [one.ids for one in render_all(template, alphabet.prompts()).flat]
    found = []
    for critic_epochs in (1, 6):
        policy = load_model(letters_reward.parent / "sft")
        scorer, critic = load_scalar(letters_reward / "model"), load_scalar(letters_reward / "model")
        assert isinstance(scorer, RewardModel)
        assert isinstance(critic, RewardModel)
        critic.body.requires_grad_(body_learns)
        nets = Networks(policy, load_model(letters_reward.parent / "sft"), scorer, critic)
        rollouts = roll_out(
            policy, prompts, max_new_tokens=6, temperature=1.0, stop_ids=template.stop_ids, seed=1
        )
        groups = cut_minibatches(rollouts, 2, 64, PAD, "x", CPU)
        own = CriticConfig(epochs=critic_epochs)
        config = PPOConfig(critic=own, value_clip=10.0, critic_warmup_steps=0, ptx_weight=0.0)
        experience = assess(nets, rollouts, groups, config, 0.1)
        for group, foresights in zip(groups, experience.foresights, strict=True):
            for one, known in zip(group, foresights, strict=True):
                assert (known is None) is body_learns
                if known is not None:
                    fresh = critic_foresight(critic, one)
                    for kept, again in zip(astuple(known), astuple(fresh), strict=True):
                        assert torch.allclose(kept, again, atol=1e-4)
        optimizers = [build_optimizer(m, PolicyConfig(lr_adam=0.003)) for m in (policy, critic)]
        update(nets, *optimizers, groups, experience, config, 0)
        with torch.no_grad():
            error = sum(
                float((critic_values(critic, one) - one.take(experience.returns)).square().sum())
                for group in groups
                for one in group
            )
        found.append((error, policy.embedding.weight.detach().clone()))
    assert found[1][0] < found[0][0]
    assert torch.equal(found[0][1], found[1][1])


def test_truncated_completions_get_the_fixed_score_and_others_the_reward_models(letters_reward: Path) -> None:
    from ziggurat.model.hub import load_scalar

    scorer, critic = load_scalar(letters_reward / "model"), load_scalar(letters_reward / "model")
    assert isinstance(scorer, RewardModel)
    assert isinstance(critic, RewardModel)
    policy = load_model(letters_reward.parent / "sft")
    end = alphabet.tokenizer().end_id
    assert end is not None
    rollouts = [
        Rollout([3, 9, 6, 4], [8, end], [0.0] * 2, True),
        Rollout([3, 9, 6, 4], [8, 8], [0.0] * 2, False),
    ]
    groups = cut_minibatches(rollouts, 1, 64, PAD, "x", CPU)
    experience = assess(Networks(policy, policy, scorer, critic), rollouts, groups, PPOConfig(), 0.1)
    alone = scorer.score(torch.tensor([[3, 9, 6, 4, 8, end]]), torch.tensor([5])).item()
    assert experience.scores.tolist() == pytest.approx([alone, -3.0], abs=1e-5)
    assert experience.rewards[:, 1].tolist() == pytest.approx([alone, -3.0], abs=1e-5)  # KL to itself is 0


def test_the_critic_begins_in_the_units_of_the_reward(letters_reward: Path) -> None:
    """Its value in the state of the end token is the reward model's score there: same weights, shift and scale."""
    from ziggurat.model.hub import load_scalar

    critic = load_scalar(letters_reward / "model")
    assert isinstance(critic, RewardModel)
    found = micro(Rollout([3, 9, 6, 4], [8, 6, 7], [0.0] * 3, True))  # the state before 7 is the end token 6
    score = critic.score(found.ids[:, :6], torch.tensor([5]))
    assert critic_values(critic, found)[2].item() == pytest.approx(score.item(), abs=1e-5)
