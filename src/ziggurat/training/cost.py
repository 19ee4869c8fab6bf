"""What a run needs of this machine, estimated from shapes alone: memory by part, and the time of a step.

Memory of an optimizer step: weights, gradients, optimizer states, and what the forward pass keeps for the backward
pass. The last part grows with the tokens that are computed at a time, so a batch is cut into microbatches of at most
`microbatch_tokens` tokens, padding included; the gradients are summed, so the result is that of the whole batch.

    elements kept per token and block = 5 C + 3 F + 2 (Q + K) + (Q + K) (1 + qk_norm)

C: width, F: width of the MLP (2 F without a gate), Q and K: widths of all queries and of all keys. Counted with
`saved_tensors_hooks` for blocks as `model.cpu` computes them; a test compares. Left out: fragmentation, and temporary
tensors inside one operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ziggurat.errors import ConfigError
from ziggurat.memory import available_memory_bytes
from ziggurat.model.accounting import flops_per_token, forward_flops_per_token, parameters, total_parameters
from ziggurat.model.config import ModelConfig
from ziggurat.model.heads import (
    LOGITS_AT_ONCE as LOGITS_AT_ONCE,  # what a loss holds; more are made in pieces
)
from ziggurat.training.config import OptimizerConfig, TrainConfig
from ziggurat.training.precision import Machine, choose_dtype

FP32 = 4
ACTIVATION_BYTES = 3 << 30
"""A microbatch has so many tokens that what it keeps for the backward pass takes about this much in fp32,"""
LEAST_TOKENS, MOST_TOKENS = 256, 8192
"""within these bounds: larger microbatches are no faster."""
LOGIT_COPIES = 3
"""Logits, their log-softmax and their gradient."""
MARGIN = 1.1
"""The estimate times this must be available."""
UTILISATION = 0.35
"""Share of the measured speed of matrix products that a step reaches."""


def kept_elements(config: ModelConfig) -> float:
    """Elements that one block keeps for the backward pass, per token."""
    c = config
    q, k = c.heads * c.d_head, c.kv_heads * c.d_head
    return 5 * c.d_model + (3 if c.gated else 2) * c.d_ff + 2 * (q + k) + (q + k) * (1 + c.qk_norm)


def trained_blocks(config: ModelConfig, trainable: str) -> int:
    """How many of the last blocks learn."""
    if trainable == "all":
        return config.layers
    return min(config.layers, int(trainable.removeprefix("last:"))) if trainable.startswith("last:") else 0


def microbatch_tokens(config: ModelConfig, *, logits: int = 0) -> int:
    """The largest microbatch of a model, in tokens. `logits`: copies of the logits of every token that are kept."""
    per_token = FP32 * (config.layers * kept_elements(config) + logits * config.vocab_size)
    return max(LEAST_TOKENS, min(MOST_TOKENS, int(ACTIVATION_BYTES / per_token) // 256 * 256))


@dataclass(frozen=True)
class Cost:
    """What a run needs. Add the costs of parts that are needed at the same time."""

    memory: Mapping[str, float]
    """Bytes by part."""
    step_flops: float = 0.0
    step_bytes: float = 0.0
    """Read from memory in a step by generation, token by token."""
    steps: int = 0

    @property
    def bytes(self) -> float:
        return sum(self.memory.values())

    def step_s(self, machine: Machine) -> float:
        """Seconds of a step at a machine's measured speed."""
        compute = self.step_flops / (machine.gflops * 1e9 * UTILISATION)
        return compute + self.step_bytes / (machine.gb_per_s * 1e9)

    def parts(self) -> str:
        """`parameters 0.5, gradients 0.5, ...`, in GiB."""
        return ", ".join(f"{name} {gib(size)}" for name, size in self.memory.items() if size >= 1 << 20)

    def check(self, stage: str, *, allowed: bool) -> None:
        """Raise ConfigError if the memory is not available, unless `allowed`."""
        available = available_memory_bytes()
        if self.bytes * MARGIN > available and not allowed:
            raise ConfigError(
                f"{stage} needs about {gib(self.bytes)} GiB of memory ({self.parts()}) and {gib(available)} GiB are "
                "available; set a smaller microbatch_tokens, let less of the model learn (trainable=last:2), or begin "
                "all the same with train.allow_low_memory=true."
            )


def gib(size: float) -> str:
    return f"{size / 2**30:.1f}"


def trained_memory(
    config: ModelConfig, optimizer: OptimizerConfig, tokens: int, *, logits: int, dtype: str
) -> dict[str, float]:
    """Bytes by part of one network that learns. `logits`: how many tokens have theirs at a time."""
    groups, blocks = parameters(config), trained_blocks(config, optimizer.trainable)
    share = blocks / config.layers
    matrices = share * (groups["attention"] + groups["mlp"])
    trained = matrices + share * (groups["norm"] + groups["bias"])
    if optimizer.trainable == "all":
        trained = total_parameters(config)
    elif optimizer.trainable == "head" and logits:
        trained = groups["unembedding"]
    momentum = matrices if optimizer.optimizer == "muon" else 0
    itemsize = choose_dtype(dtype)[0].itemsize
    copies = total_parameters(config) * itemsize if itemsize < FP32 else 0
    return {
        "parameters": FP32 * total_parameters(config) + copies,
        "gradients": FP32 * trained,
        "optimizer": FP32 * (2 * (trained - momentum) + momentum),
        f"activations of {tokens:,} tokens": blocks * kept_elements(config) * itemsize * tokens,
        "logits": FP32 * LOGIT_COPIES * logits * config.vocab_size,
    }


def training_flops(config: ModelConfig, trainable: str, T: int) -> float:
    """FLOPs of learning from one token of rows of T tokens: the backward pass reaches the blocks that learn."""
    forward = forward_flops_per_token(config, T)
    return (
        forward + (flops_per_token(config, T) - forward) * trained_blocks(config, trainable) / config.layers
    )


def text_cost(config: ModelConfig, train: TrainConfig, T: int, rows: int) -> Cost:
    """Of a stage whose step learns from `rows` rows of T tokens, with the next token's loss."""
    tokens = min(rows * T, max(train.microbatch_tokens, T))
    logits = min(tokens, max(1, LOGITS_AT_ONCE // config.vocab_size))
    memory = trained_memory(config, train, tokens, logits=logits, dtype=train.dtype)
    return Cost(memory, rows * T * training_flops(config, train.trainable, T), steps=train.steps)
