"""What learns: one setting for every model and every stage (`trainable`).

    value     language model (Transformer)            reward model, critic (ScalarModel)
    all       everything                              everything
    last:k    last k blocks, last norm                last k blocks, last norm, scalar heads
    head      last norm, unembedding                  scalar heads
    lora      an adapter (`model.lora`)               an adapter, scalar heads
    prefix    keys and values of virtual tokens       these, scalar heads
    prompt    embeddings of virtual tokens            these, scalar heads

Embeddings and unembedding stay frozen under last:k. last:k with k of at least the number of blocks means all.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

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
from ziggurat.model.prefix import Kind, prefixed
from ziggurat.model.transformer import Transformer
from ziggurat.training.config import ADAPTERS, LoopConfig, OptimizerConfig
from ziggurat.training.device import device_of, place
from ziggurat.training.precision import choose_dtype


def load_to_train(folder: Path, config: OptimizerConfig, loop: LoopConfig, *, seed: int) -> Transformer:
    """The model of `folder`, ready for `config.trainable`: with a new adapter, drawn from `seed`, where that is one.

    `loop`: its dtype and its device. Masters are fp32; a base that stays still is loaded in what it is computed in.
    Raises ModelFolderError, and ConfigError for targets that the model does not have, and for a folder of virtual
    tokens, which cannot be worked into weights.
    """
    model = place(load_model(folder, dtype=weights_dtype(config, loop)), loop.device)
    if model.prefix is not None:
        raise ConfigError(
            f"{folder} holds virtual tokens, from which no further training can begin; name its base, or use lora."
        )
    return with_adapter(model, config, seed) if config.adapts else model


def compute_dtype(loop: LoopConfig) -> torch.dtype:
    """What the models of a loop compute in, on its device."""
    return choose_dtype(loop.dtype, loop.device)[0]


def weights_dtype(config: OptimizerConfig, loop: LoopConfig) -> torch.dtype:
    """Of the weights of a model that learns so: fp32, or beside an adapter the dtype that is computed in."""
    return compute_dtype(loop) if config.adapts else torch.float32


def with_adapter(base: Transformer, config: OptimizerConfig, seed: int) -> Transformer:
    """`base`, which is frozen and shared, with a new adapter."""
    if config.trainable in get_args(Kind):
        return prefixed(base, config.prefix, cast(Kind, config.trainable), seed=seed)
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
    ids = torch.randint(0, base.config.vocab_size, (1, length), generator=generator).to(device_of(base))
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

    Raises ConfigError for "head" of a language model whose unembedding is its embedding, and for "lora", "prefix" and
    "prompt" of a model without such an adapter.
    """
    if trainable in ADAPTERS:
        _freeze_all_but_adapter(model, trainable)
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


def _freeze_all_but_adapter(model: nn.Module, trainable: str) -> None:
    body = model.body if isinstance(model, ScalarModel) else model
    prefix = getattr(body, "prefix", None)
    if not (is_adapted(model) if trainable == "lora" else prefix is not None):
        raise ConfigError(
            f'trainable is "{trainable}", but this stage loads its model without an adapter; load it by '
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
    if prefix is not None:
        prefix.requires_grad_(True)


def first_trained_block(model: Transformer) -> int:
    """The first block that learns: everything below it, inputs included, is frozen. 0 .. layers."""
    inputs = [model.embedding] if model.prefix is None else [model.embedding, model.prefix]
    if any(p.requires_grad for module in inputs for p in module.parameters()):
        return 0
    learns = [any(p.requires_grad for p in block.parameters()) for block in model.blocks]
    return learns.index(True) if any(learns) else len(learns)
