"""What learns: one setting for every model and every stage (`trainable`).

    value     language model (Transformer)            reward model, critic (ScalarModel)
    all       everything                              everything
    last:k    last k blocks, last norm                last k blocks, last norm, scalar heads
    head      last norm, unembedding                  scalar heads
    lora      an adapter (`model.lora`)               an adapter, scalar heads

Embeddings and unembedding stay frozen under last:k. last:k with k of at least the number of blocks means all.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ziggurat.console import err
from ziggurat.errors import ConfigError
from ziggurat.model.cpu.int8 import hold_int8
from ziggurat.model.cpu.quantized import weight_bytes
from ziggurat.model.heads import ScalarModel
from ziggurat.model.hub import load_model
from ziggurat.model.hub.adapter_names import layout_of
from ziggurat.model.lora import adapt, adapters_of, is_adapted
from ziggurat.model.transformer import Transformer
from ziggurat.training.config import OptimizerConfig
from ziggurat.training.precision import choose_dtype


def load_to_train(folder: Path, config: OptimizerConfig, *, dtype: str, seed: int) -> Transformer:
    """The model of `folder`, ready for `config.trainable`: with a new adapter, drawn from `seed`, where that is lora.

    `dtype`: the setting of the loop. Masters are fp32; a base that stays still is loaded in what it is computed in.
    Raises ModelFolderError, and ConfigError for targets that the model does not have.
    """
    model = load_model(folder, dtype=weights_dtype(config, dtype))
    return with_adapter(model, config, seed) if config.trainable == "lora" else model


def weights_dtype(config: OptimizerConfig, dtype: str) -> torch.dtype:
    """Of the weights of a model that learns so: fp32, or under lora the dtype that is computed in."""
    return choose_dtype(dtype)[0] if config.trainable == "lora" else torch.float32


def with_adapter(base: Transformer, config: OptimizerConfig, seed: int) -> Transformer:
    """`base`, which is frozen and shared, with a new adapter."""
    if config.lora.base == "int8":
        _hold_int8_aloud(base)
    return adapt(base, config.lora, layout_of(base.config), seed=seed)


PROBE_TOKENS = 256
"""Of the sequence on which an int8 base is compared with what it was."""


@torch.no_grad()
def _hold_int8_aloud(base: Transformer) -> None:
    """Make the frozen matrices int8, and say what that costs: memory saved, and how far predictions move."""
    generator = torch.Generator().manual_seed(0)
    length = min(PROBE_TOKENS, base.config.context)
    ids = torch.randint(0, base.config.vocab_size, (1, length), generator=generator)
    before, bytes_before = base(ids).log_softmax(-1), weight_bytes(base)
    hold_int8(base)
    after, bytes_after = base(ids).log_softmax(-1), weight_bytes(base)
    moved = float((before.exp() * (before - after)).sum(-1).mean())
    err.print(
        f"int8 base: weights take {bytes_after / 2**30:.2f} GiB instead of {bytes_before / 2**30:.2f}; its predictions "
        f"move by {moved:.4f} nats a token (KL on {length} random tokens), and every product widens a matrix again."
    )


def freeze(model: nn.Module, trainable: str) -> None:
    """Set `requires_grad` of every parameter of `model` (a Transformer or a ScalarModel) as `trainable` says.

    Raises ConfigError for "head" of a language model whose unembedding is its embedding, and for "lora" of a model
    without an adapter.
    """
    if trainable == "lora":
        _freeze_all_but_adapter(model)
        return
    model.requires_grad_(True)
    body = model.body if isinstance(model, ScalarModel) else model
    if trainable == "all":
        return
    if not isinstance(body, Transformer):
        raise ConfigError(f"trainable is {trainable!r}, but {type(model).__name__} has no blocks; use all.")
    blocks = list(body.blocks)
    k = int(trainable.removeprefix("last:")) if trainable.startswith("last:") else 0
    if k >= len(blocks):
        return
    body.requires_grad_(False)
    if k:
        parts = [*blocks[-k:], body.norm]
    elif body is not model:
        parts = []
    elif body.config.tied:
        raise ConfigError(
            'trainable is "head", but the unembedding of this model is its embedding; use last:1 or all.'
        )
    else:
        parts = [body.norm, body.unembedding]
    for part in parts:
        part.requires_grad_(True)


def _freeze_all_but_adapter(model: nn.Module) -> None:
    if not is_adapted(model):
        raise ConfigError(
            'trainable is "lora", but this stage loads its model without an adapter; load it by '
            "`training.trainable.load_to_train`, or use all."
        )
    model.requires_grad_(True)
    if isinstance(model, ScalarModel):
        model.body.requires_grad_(False)
    else:
        model.requires_grad_(False)
    for layer in adapters_of(model).values():
        layer.lora_a.requires_grad_(True)
        layer.lora_b.requires_grad_(True)
        if layer.magnitude is not None:
            layer.magnitude.requires_grad_(True)


def first_trained_block(model: Transformer) -> int:
    """The first block that learns: everything below it, embeddings included, is frozen. 0 .. layers."""
    if any(p.requires_grad for p in model.embedding.parameters()):
        return 0
    learns = [any(p.requires_grad for p in block.parameters()) for block in model.blocks]
    return learns.index(True) if any(learns) else len(learns)
