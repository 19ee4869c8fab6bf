"""The names that a model's family gives to the linear layers, and to what an adapter stores of them."""

from __future__ import annotations

import torch
from torch import Tensor

from ziggurat.model.config import ModelConfig
from ziggurat.model.hub.family import Source
from ziggurat.model.hub.save import family_of
from ziggurat.model.lora import Layout, LoraLinear, Piece
from ziggurat.model.transformer import Transformer
from ziggurat.places import ADAPTER_ORIGIN

PREFIX = "base_model.model."
"""Before every name in adapter_model.safetensors."""
WEIGHTS, OURS = "adapter_model.safetensors", ADAPTER_ORIGIN
ADAPTER_FORMAT = 1
"""Version of ziggurat_adapter.json."""

Stored = list[tuple[str, int]]
"""Stored name and rows of each piece of one of our layers."""


def layout_of(config: ModelConfig) -> Layout:
    """The linear layers of a model and their pieces, by the names of the model's family."""
    return {
        ours: tuple(Piece(stored.rpartition(".")[2], rows) for stored, rows in pieces)
        for ours, (pieces, _) in stored_layers(config).items()
    }


def stored_layers(config: ModelConfig) -> dict[str, tuple[Stored, Source]]:
    """Linear layer of ours -> (stored name, rows) of each piece, and how they are stored."""
    family, _ = family_of(config)
    with torch.device("meta"):
        model = Transformer(config, seed=None)
    parts, sources = model.muon_matrices(), family.sources(config)
    found = {}
    for ours, source in sources.items():
        if ours not in parts:
            continue
        rows = parts[ours] if len(source.names) > 1 else (sum(parts[ours]),)
        names = [name.removesuffix(".weight") for name in source.names]
        found[ours.removesuffix(".weight")] = (list(zip(names, rows, strict=True)), source)
    source = sources.get("unembedding.weight", Source(("lm_head.weight",)))
    found["unembedding"] = ([(source.names[0].removesuffix(".weight"), config.vocab_size)], source)
    return found


def adapted_pieces(layer: LoraLinear, pieces: Stored) -> list[tuple[str, range]]:
    """Name and rows of the pieces of `layer` that have an adapter."""
    found, at = [], 0
    for name, rows in pieces:
        if range(at, at + rows) in layer.rows:
            found.append((name, range(at, at + rows)))
        at += rows
    return found


def to_stored(rows: Tensor, source: Source) -> Tensor:
    """Our rows in the order in which the family stores them."""
    order = getattr(source, "rows", None)
    return rows if order is None else rows[order]


def from_stored(rows: Tensor, source: Source) -> Tensor:
    """The inverse of `to_stored`."""
    order = getattr(source, "rows", None)
    if order is None:
        return rows
    ours = torch.empty_like(rows)
    ours[order] = rows
    return ours
