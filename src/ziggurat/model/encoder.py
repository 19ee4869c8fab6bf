"""BERT's encoder, for embeddings of texts (all-MiniLM-L6-v2) and whatever reads a text from both sides.

It differs from `transformer` in three things: attention goes both ways, padding is masked, norms stand after each
addition. Left out: dropout, the pooler and the masked-word head; a folder's tensors of those are passed over.
Source: Devlin et al. (arXiv:1810.04805); pooling and unit length, Sentence-BERT (arXiv:1908.10084).

Legend: B texts, T tokens, H heads, D head width, C width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ziggurat.errors import ModelFolderError
from ziggurat.model.config import Activation, ModelConfig
from ziggurat.model.hub.family import Family, Source, Unreadable, expect, number
from ziggurat.model.hub.gpt2 import ACTIVATIONS as GELUS
from ziggurat.model.hub.stored import StoredTensors
from ziggurat.model.layers import ACTIVATIONS, Embedding, LayerNorm, Linear
from ziggurat.settings import Config

PASSED_OVER = (
    "pooler.dense.weight",
    "pooler.dense.bias",
    "embeddings.position_ids",
    "cls.predictions.bias",
    "cls.predictions.decoder.weight",
    "cls.predictions.decoder.bias",
    "cls.predictions.transform.dense.weight",
    "cls.predictions.transform.dense.bias",
    "cls.predictions.transform.LayerNorm.weight",
    "cls.predictions.transform.LayerNorm.bias",
    "cls.seq_relationship.weight",
    "cls.seq_relationship.bias",
)


class EncoderConfig(Config):
    """Sizes of an encoder, named as in ModelConfig."""

    layers: int = Field(ge=1)
    d_model: int = Field(ge=1)
    heads: int = Field(ge=1)
    d_ff: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    context: int = Field(ge=1)
    segments: int = Field(default=2, ge=1)
    """Kinds of text that a pair of texts distinguishes; a single text is of the first."""
    norm_eps: float = Field(default=1e-12, gt=0)
    activation: Activation = "gelu"


class EncoderBlock(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        C = config.d_model
        self.heads, self.activation = config.heads, config.activation
        self.qkv, self.out = Linear(C, 3 * C), Linear(C, C)  # rows: q, then k, then v
        self.up, self.down = Linear(C, config.d_ff), Linear(config.d_ff, C)
        self.norm1, self.norm2 = LayerNorm(C, config.norm_eps), LayerNorm(C, config.norm_eps)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).reshape(B, T, C)
        x = self.norm1(x + self.out(mixed))
        y: Tensor = self.norm2(x + self.down(ACTIVATIONS[self.activation](self.up(x))))
        return y


class Encoder(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config, C = config, config.d_model
        self.embedding, self.position = Embedding(config.vocab_size, C), Embedding(config.context, C)
        self.segment, self.norm = Embedding(config.segments, C), LayerNorm(C, config.norm_eps)
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.layers))

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """ids (B, T) padded on the right, lengths (B,) -> (B, T, C)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x0 = self.embedding(ids) + self.position.weight[places] + self.segment.weight[0]
        beyond = places >= lengths[:, None]  # (B, T)
        bias = torch.zeros(beyond.shape, dtype=x0.dtype, device=x0.device).masked_fill_(beyond, -torch.inf)
        x: Tensor = self.norm(x0)
        for block in self.blocks:
            x = block(x, bias[:, None, None])
        return x

    def embed(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The mean over each text's tokens, of unit length: (B, C), fp32."""
        x = self(ids, lengths).float()
        within = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None])[..., None]
        return F.normalize((x * within).sum(1) / lengths[:, None], dim=-1)


# --- folders ------------------------------------------------------------------------------------------------------


def reads(raw: Mapping[str, Any]) -> EncoderConfig:
    """Their config.json -> ours; raises Unreadable."""
    expect(raw, "position_embedding_type", ("absolute", None), "absolute")
    return EncoderConfig(
        layers=number(raw, "num_hidden_layers"),
        d_model=number(raw, "hidden_size"),
        heads=number(raw, "num_attention_heads"),
        d_ff=number(raw, "intermediate_size"),
        vocab_size=number(raw, "vocab_size"),
        context=number(raw, "max_position_embeddings"),
        segments=raw.get("type_vocab_size", 2),
        norm_eps=raw.get("layer_norm_eps", 1e-12),
        activation=GELUS[expect(raw, "hidden_act", tuple(GELUS), "gelu")],
    )


def sources(config: EncoderConfig) -> dict[str, Source]:
    """Our parameter name -> where it is stored."""
    names: dict[str, tuple[str, ...]] = {
        "embedding.weight": ("bert.embeddings.word_embeddings.weight",),
        "position.weight": ("bert.embeddings.position_embeddings.weight",),
        "segment.weight": ("bert.embeddings.token_type_embeddings.weight",),
        "norm.weight": ("bert.embeddings.LayerNorm.weight",),
        "norm.bias": ("bert.embeddings.LayerNorm.bias",),
    }
    parts = {
        "qkv": tuple(f"attention.self.{part}" for part in ("query", "key", "value")),
        "out": ("attention.output.dense",),
        "norm1": ("attention.output.LayerNorm",),
        "up": ("intermediate.dense",),
        "down": ("output.dense",),
        "norm2": ("output.LayerNorm",),
    }
    for layer in range(config.layers):
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                stored = tuple(f"bert.encoder.layer.{layer}.{part}.{kind}" for part in theirs)
                names[f"blocks.{layer}.{ours}.{kind}"] = stored
    return {ours: Source(theirs) for ours, theirs in names.items()}


def _no_decoder(_: Any) -> ModelConfig:
    raise Unreadable("it is an encoder")


BERT = Family(("bert",), "bert.", _no_decoder, lambda _: None, lambda _: {})
"""For StoredTensors only, which adds the prefix that some files leave out."""


def is_encoder(folder: Path) -> bool:
    """Whether a folder holds an encoder, by its config.json. An adapter's folder has none: it is no encoder."""
    return (folder / "config.json").is_file() and str(_raw(folder).get("model_type")) in BERT.model_types


def load_encoder(folder: Path, *, dtype: torch.dtype = torch.float32) -> Encoder:
    """The encoder of a Hugging Face folder. Raises ModelFolderError as `hub.check_model` does."""
    raw = _raw(folder)
    if raw.get("model_type") not in BERT.model_types:
        raise ModelFolderError(
            f"{folder} holds a {raw.get('model_type')!r} model, not an encoder; for embeddings "
            "`ziggurat models get minilm` fetches one."
        )
    try:
        config = reads(raw)
    except ValueError as error:
        raise ModelFolderError(f"{folder / 'config.json'}: {error}; use another encoder.") from error
    model, stored = Encoder(config), StoredTensors(folder, BERT)
    fills = []
    for ours, source in sources(config).items():
        whole = model.get_parameter(ours).data
        fills += list(zip(source.names, whole.chunk(len(source.names)), strict=True))
    stored.must_be({name: tuple(target.shape) for name, target in fills}, PASSED_OVER)
    for name, target in fills:
        stored.copy(name, target)
    return model.to(dtype).eval().requires_grad_(False)


def _raw(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{path} cannot be read ({error}); give a folder with a model.") from error
    return found
