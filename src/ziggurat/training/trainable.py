"""What learns: one setting for every model and every stage (`trainable`).

    value     language model (Transformer)            reward model, critic (ScalarModel)
    all       everything                              everything
    last:k    last k blocks, last norm                last k blocks, last norm, scalar heads
    head      last norm, unembedding                  scalar heads

Embeddings and unembedding stay frozen under last:k. last:k with k of at least the number of blocks means all.
"""

from __future__ import annotations

from torch import nn

from ziggurat.errors import ConfigError
from ziggurat.model.heads import ScalarModel
from ziggurat.model.transformer import Transformer


def freeze(model: nn.Module, trainable: str) -> None:
    """Set `requires_grad` of every parameter of `model` (a Transformer or a ScalarModel) as `trainable` says.

    Raises ConfigError for "head" of a language model whose unembedding is its embedding.
    """
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


def first_trained_block(model: Transformer) -> int:
    """The first block that learns: everything below it, embeddings included, is frozen. 0 .. layers."""
    if any(p.requires_grad for p in model.embedding.parameters()):
        return 0
    learns = [any(p.requires_grad for p in block.parameters()) for block in model.blocks]
    return learns.index(True) if any(learns) else len(learns)
