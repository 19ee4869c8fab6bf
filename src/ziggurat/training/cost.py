"""What a run needs of this machine, estimated from shapes alone: memory by part, and the time of a step.

Memory of an optimizer step: weights, gradients, optimizer states, and what the forward pass keeps for the backward
pass. The last part grows with the tokens that are computed at a time, so a batch is cut into microbatches of at most
`microbatch_tokens` tokens, padding included; the gradients are summed, so the result is that of the whole batch.

    elements kept per token and block = 5 C + 3 F + 2 (Q + K) + (Q + K) (1 + qk_norm) + H T

C: width, F: width of the MLP (2 F without a gate; of a layer with experts 3 F + 2 C for each of those that a token
passes, and 2 E), Q and K: widths of all queries and of all keys, H: query heads, T:
tokens of a row, as long as attention keeps its weights (`kernels.LONGEST_KEPT_SCORES`). With `recompute` a block keeps
the C that it reads, and one block at a time the rest. A frozen base is there once, in the dtype that is computed in.
Counted with `saved_tensors_hooks` for blocks as `model.cpu` computes them; a test compares. Left out: fragmentation,
and temporary tensors inside one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ziggurat.errors import ConfigError
from ziggurat.model.accounting import (
    flops_per_token,
    forward_flops_per_token,
    matrix_parameters,
    parameters,
    total_parameters,
)
from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu.kernels import LONGEST_KEPT_SCORES
from ziggurat.model.heads import (
    LOGITS_AT_ONCE as LOGITS_AT_ONCE,  # what a loss holds; more are made in pieces
)
from ziggurat.model.heads import logits_at_once
from ziggurat.model.lora import LoraConfig
from ziggurat.processes import processes
from ziggurat.training import parallel
from ziggurat.training.config import ADAPTERS, OptimizerConfig, TrainConfig
from ziggurat.training.device import choose_device, free_memory_bytes
from ziggurat.training.precision import Machine, choose_dtype

FP32 = 4
ACTIVATION_BYTES = 2 << 30
"""A microbatch has so many tokens that what it keeps for the backward pass takes about this much in fp32,"""
COMPARED_AT_ONCE = 6 * 1024 * 1024
"""Logits of each of two models whose distributions are compared, at a time on a CPU (fp32: 24 MiB): its caches hold
them between the passes, and several copies of both are there. Chosen by a script that was not kept, on a busy EPYC: 512
actions of 49,152 x 576 in bf16 took one core 0.52 s so, 1.05 s with LOGITS_AT_ONCE, 0.68 s with a quarter of this."""
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
    mlp: float = (3 if c.gated else 2) * c.d_ff
    if c.experts is not None:
        each = (3 if c.gated else 2) * c.experts.d_ff + 2 * c.d_model
        sparse = c.sparse_layers / c.layers
        mlp = (1 - sparse) * mlp + sparse * (c.experts.active * each + 2 * c.experts.count)
    return 5 * c.d_model + mlp + 2 * (q + k) + (q + k) * (1 + c.qk_norm)


def kept_per_token(config: ModelConfig, blocks: int, T: int, *, recompute: bool) -> float:
    """Elements that `blocks` learning blocks keep per token of rows of T tokens."""
    each = kept_elements(config) + (config.heads * T if T <= LONGEST_KEPT_SCORES else 0)
    return blocks * config.d_model + min(1, blocks) * each if recompute else blocks * each


def trained_blocks(config: ModelConfig, trainable: str, lora: LoraConfig | None = None) -> int:
    """How many of the last blocks learn; the backward pass reaches so many."""
    if trainable == "lora" and lora and lora.last_blocks:
        return min(config.layers, lora.last_blocks)
    if trainable == "all" or trainable in ADAPTERS:
        return config.layers
    return min(config.layers, int(trainable.removeprefix("last:"))) if trainable.startswith("last:") else 0


def kept_by(config: ModelConfig, optimizer: OptimizerConfig) -> float:
    """Elements that the learning blocks keep per token, without `recompute`."""
    blocks = trained_blocks(config, optimizer.trainable, optimizer.lora)
    return kept_per_token(config, blocks, LONGEST_KEPT_SCORES + 1, recompute=False)


def microbatch_tokens(
    config: ModelConfig, *, logits: int = 0, recompute: bool = False, device: str = "auto"
) -> int:
    """The largest microbatch of a model, in tokens: what it keeps fits ACTIVATION_BYTES, and a third of what is
    available now on the device. `logits`: copies of the logits of every token that are kept."""
    kept = kept_per_token(config, config.layers, LONGEST_KEPT_SCORES + 1, recompute=recompute)
    per_token = FP32 * (kept + logits * config.vocab_size)
    budget = min(ACTIVATION_BYTES, parallel.least(free_memory_bytes(device)) / 3)
    return max(LEAST_TOKENS, min(MOST_TOKENS, int(budget / per_token) // 256 * 256))


def adapter_parameters(config: ModelConfig, optimizer: OptimizerConfig) -> float:
    """Numbers of an adapter. Of lora those of all linear layers, at most: A and B of each, where q, k and v have their
    own."""
    c, lora = config, optimizer.lora
    if optimizer.trainable == "prompt":
        return optimizer.prefix.tokens * c.d_model
    if optimizer.trainable == "prefix":
        return optimizer.prefix.tokens * 2 * c.layers * c.kv_heads * c.d_head
    q, k = c.heads * c.d_head, c.kv_heads * c.d_head
    up = 2 if c.gated else 1
    attention = 3 * c.d_model + q + q + 2 * k + c.d_model  # in and out of q, k, v and out
    mlp: float = up * c.d_model + c.d_ff + up * c.d_ff + c.d_model
    if c.experts is not None:
        each = up * c.d_model + c.experts.d_ff + up * c.experts.d_ff + c.d_model
        sparse = c.sparse_layers / c.layers
        mlp = (1 - sparse) * mlp + sparse * c.experts.count * each
    return lora.rank * (attention + mlp) * trained_blocks(config, "lora", lora)


@dataclass(frozen=True)
class Cost:
    """What a run needs. Add the costs of parts that are needed at the same time."""

    memory: Mapping[str, float]
    """Bytes by part."""
    step_flops: float = 0.0
    step_bytes: float = 0.0
    """Read from memory in a step by generation, token by token."""
    steps: int = 0
    ways: Mapping[str, float] = field(default_factory=dict)
    """Settings that need less, and the bytes that they need, the least change first."""

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

    def check(self, stage: str, *, allowed: bool, device: str = "auto") -> None:
        """Raise ConfigError if the memory is not available on the device, unless `allowed`."""
        available = free_memory_bytes(device)
        if self.bytes * MARGIN > available and not allowed:
            fits = [(way, size) for way, size in self.ways.items() if size * MARGIN <= available]
            way = "set a smaller microbatch_tokens, let less of the model learn (trainable=last:2)"
            if fits:
                way = f"with --set {fits[0][0]} it needs {gib(fits[0][1])} GiB and fits; set that"
            raise ConfigError(
                f"{stage} needs about {gib(self.bytes)} GiB of memory ({self.parts()}) and {gib(available)} GiB are "
                f"available; {way}, or begin all the same with train.allow_low_memory=true."
            )


def gib(size: float) -> str:
    return f"{size / 2**30:.1f}"


def trained_memory(
    config: ModelConfig,
    optimizer: OptimizerConfig,
    tokens: int,
    *,
    logits: int,
    dtype: str,
    T: int = LONGEST_KEPT_SCORES + 1,
    recompute: bool = False,
) -> dict[str, float]:
    """Bytes by part of one network that learns from rows of T tokens. `logits`: tokens that have theirs at a time.

    Of several processes (`training.parallel`) each holds its shards of what learns without an adapter, and the blocks
    and embeddings that are gathered for a while.
    """
    groups, blocks = parameters(config), trained_blocks(config, optimizer.trainable, optimizer.lora)
    share = blocks / config.layers
    matrices = share * (groups["attention"] + groups["mlp"])
    trained = matrices + share * (groups["norm"] + groups["bias"] + groups["router"])
    if optimizer.trainable == "all":
        trained = total_parameters(config)
    elif optimizer.trainable == "head" and logits:
        trained = groups["unembedding"]
    elif optimizer.adapts:
        trained = adapter_parameters(config, optimizer)
    momentum = matrices if optimizer.optimizer == "muon" and not optimizer.adapts else 0
    itemsize = choose_dtype(dtype)[0].itemsize
    kept = kept_per_token(config, blocks, T, recompute=recompute)
    in_shards = processes() > 1 and blocks > 0 and not optimizer.adapts
    share = 1 / processes() if in_shards else 1.0
    own = FP32 * total_parameters(config) if in_shards else _weights(config, optimizer, itemsize)
    return {
        "parameters": share * own + (FP32 * trained if optimizer.adapts else 0),
        "gradients": share * FP32 * trained,
        "optimizer": share * FP32 * (2 * (trained - momentum) + momentum),
        **({"gathered": gathered_bytes(config, itemsize)} if in_shards else {}),
        f"activations of {tokens:,} tokens": kept * itemsize * tokens,
        "logits": FP32 * LOGIT_COPIES * logits * config.vocab_size,
    }


def gathered_bytes(config: ModelConfig, itemsize: int) -> float:
    """Of a model in shards, while it learns: two blocks as they compute and the gradient of one, as it is computed and
    as it is reduced; embeddings and unembedding with gradient in fp32, and the unembedding cast."""
    rest = total_parameters(config) - block_parameters(config)
    block = block_parameters(config) / config.layers
    return block * (3 * itemsize + FP32) + rest * 2 * FP32 + itemsize * config.vocab_size * config.d_model


def block_parameters(config: ModelConfig) -> int:
    """Of all blocks: everything but embeddings, unembedding and the last norm."""
    groups = parameters(config)
    per_norm = config.d_model * (2 if config.norm == "layernorm" else 1)
    last_norm = 0 if config.norm_placement == "post" else per_norm
    of_blocks = ("attention", "mlp", "router", "norm", "bias")
    return sum(groups[name] for name in of_blocks) - last_norm


def _weights(config: ModelConfig, optimizer: OptimizerConfig, itemsize: int) -> float:
    """Bytes of a network's own weights: masters and what is computed with, or a frozen base alone."""
    total = total_parameters(config)
    if not optimizer.adapts:
        return (FP32 + (itemsize if itemsize < FP32 else 0)) * total
    if optimizer.trainable != "lora" or optimizer.lora.base == "auto":
        return itemsize * total
    return matrix_parameters(config) + itemsize * config.vocab_size * config.d_model


def training_flops(
    config: ModelConfig, trainable: str, T: int, *, lora: LoraConfig | None = None, recompute: bool = False
) -> float:
    """FLOPs of learning from one token of rows of T tokens: the backward pass reaches the blocks that learn; beside
    frozen matrices it has half of the products."""
    forward = forward_flops_per_token(config, T)
    reached = trained_blocks(config, trainable, lora) / config.layers
    backward = (flops_per_token(config, T) - forward) * reached * (0.5 if trainable in ADAPTERS else 1.0)
    return forward * (1 + reached * recompute) + backward


def text_cost(config: ModelConfig, train: TrainConfig, T: int, rows: int) -> Cost:
    """Of a stage whose step learns from `rows` rows of T tokens, with the next token's loss."""

    def memory(train: TrainConfig) -> dict[str, float]:
        tokens = min(rows * T, max(train.microbatch_tokens, T))
        at_once = logits_at_once(choose_device(train.device)[0])
        logits = min(tokens, max(1, at_once // config.vocab_size))
        return trained_memory(
            config, train, tokens, logits=logits, dtype=train.dtype, T=T, recompute=train.recompute
        )

    flops = training_flops(config, train.trainable, T, lora=train.lora, recompute=train.recompute)
    return Cost(memory(train), rows * T * flops, steps=train.steps, ways=ways_to_fit(train, memory))


def ways_to_fit(train: TrainConfig, memory: Callable[[TrainConfig], Mapping[str, float]]) -> dict[str, float]:
    """Settings that need less memory, and what they need: the same result first, then less that learns."""
    found = {}
    changes: list[dict[str, Any]] = [{"recompute": True}, {"trainable": "lora"}]
    changes += [changes[0] | changes[1], changes[0] | changes[1] | {"microbatch_tokens": LEAST_TOKENS}]
    for change in changes:
        named = " --set ".join(f"{name}={str(value).lower()}" for name, value in change.items())
        named = named.replace("microbatch_tokens", "train.microbatch_tokens")
        found[named] = sum(memory(train.model_copy(update=change)).values())
    return found
