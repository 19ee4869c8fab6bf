"""Memory and time of a PPO step, from the shapes of its networks (training/cost.py has the parts)."""

from __future__ import annotations

from collections.abc import Sequence

from ziggurat.model.accounting import (
    cache_bytes_per_token,
    forward_flops_per_token,
    matrix_parameters,
    total_parameters,
)
from ziggurat.model.config import ModelConfig
from ziggurat.stages.ppo_config import PPOConfig
from ziggurat.stages.rollouts import CACHE_BYTES
from ziggurat.training.cost import (
    COMPARED_AT_ONCE,
    FP32,
    Cost,
    microbatch_tokens,
    trained_blocks,
    trained_memory,
    training_flops,
)
from ziggurat.training.precision import choose_dtype

LOGIT_COPIES = 6
"""Of each action, while a microbatch is assessed: logits and log-softmax of policy and reference, and two products."""


def shared_microbatch(shapes: Sequence[ModelConfig], device: str) -> int:
    """Tokens of a microbatch that every network computes."""
    return min(microbatch_tokens(shape, device=device) for shape in shapes)


def ppo_cost(config: PPOConfig, shapes: Sequence[ModelConfig], prompts: Sequence[Sequence[int]]) -> Cost:
    """`shapes`: of policy, reference and reward model; the critic has that of the reward model. `prompts`: ids."""
    policy, reference, reward = shapes
    count, longest = config.rollouts_per_step, config.max_new_tokens
    T = round(sum(map(len, prompts)) / len(prompts)) + longest
    tokens = count * T
    at_once = min(config.microbatch_tokens, tokens)
    dtype = config.train.dtype
    again = config.train.recompute
    policy_memory = trained_memory(
        policy, config.policy, at_once, logits=0, dtype=dtype, T=T, recompute=again
    )
    critic_memory = trained_memory(
        reward, config.critic, at_once, logits=0, dtype=dtype, T=T, recompute=again
    )
    activations = f"activations of {at_once:,} tokens"
    still_critic = config.critic.adapts or config.critic.trainable == "head"
    frozen = FP32 * (total_parameters(reference) + total_parameters(reward))
    if config.policy.adapts:  # the reference is the policy's base; a reward model may be another
        frozen = choose_dtype(dtype)[0].itemsize * total_parameters(reward)
    memory = {
        name: policy_memory[name] + critic_memory[name] for name in ("parameters", "gradients", "optimizer")
    }
    memory["parameters"] += frozen - (critic_memory["parameters"] if still_critic else 0)
    memory[activations] = max(policy_memory[activations], critic_memory[activations])
    at_once_logits = min(at_once, count * longest, max(1, COMPARED_AT_ONCE // policy.vocab_size))
    memory["logits"] = FP32 * LOGIT_COPIES * policy.vocab_size * at_once_logits
    cache = cache_bytes_per_token(policy, choose_dtype(dtype)[0])
    memory["keys and values"] = min(CACHE_BYTES, count * T * cache)
    if trained_blocks(policy, config.policy.trainable, config.policy.lora) < policy.layers:
        memory["states of the frozen blocks"] = tokens * policy.d_model * choose_dtype(dtype)[0].itemsize
    forward = sum(forward_flops_per_token(shape, T) for shape in (policy, policy, reference, reward, reward))
    policy_epochs, critic_epochs = config.epochs, max(config.epochs, config.critic.epochs)
    learned = policy_epochs * training_flops(
        policy, config.policy.trainable, T, lora=config.policy.lora, recompute=again
    )
    if not still_critic:  # a frozen body is read once
        learned += critic_epochs * training_flops(reward, config.critic.trainable, T)
    documents = config.epochs * config.minibatches * config.ptx_rows * config.ptx_row_tokens
    return Cost(
        memory,
        tokens * (forward + learned)
        + bool(config.ptx_weight)
        * documents
        * training_flops(policy, config.policy.trainable, config.ptx_row_tokens),
        step_bytes=longest * 2.0 * matrix_parameters(policy),
        steps=config.train.steps,
    )
