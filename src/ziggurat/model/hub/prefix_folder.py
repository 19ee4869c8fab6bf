"""Virtual tokens as PEFT folders: peft_type PREFIX_TUNING (keys and values) and PROMPT_TUNING (embeddings).

    prompt_embeddings   (m, layers 2 K D)   of a prefix: for each layer its keys, then its values, head by head
                        (m, C)              of a prompt

What a prefix_projection made of its own numbers is what peft saves, so such a folder is read as any other. Left out,
and refused with a sentence: encoder-decoder models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ziggurat.errors import ConfigError, ModelFolderError
from ziggurat.model.prefix import Kind, Prefix, PrefixConfig, prefixed
from ziggurat.model.transformer import Transformer
from ziggurat.places import ADAPTER_CONFIG

PEFT_TYPES: Mapping[str, Kind] = {"PREFIX_TUNING": "prefix", "PROMPT_TUNING": "prompt"}
EMBEDDINGS = "prompt_embeddings"


@dataclass(frozen=True)
class StoredPrefix:
    """The folder of virtual tokens, read."""

    folder: Path
    kind: Kind
    embeddings: Tensor
    tensors: Mapping[str, Tensor]
    """Of a reward model's head."""
    head: dict[str, Any]

    @property
    def is_scalar(self) -> bool:
        return "score.weight" in self.tensors

    def head_tensors(self) -> dict[str, Tensor]:
        return dict(self.tensors)


def parse_prefix(
    folder: Path, raw: Mapping[str, Any], tensors: Mapping[str, Tensor], head: dict[str, Any]
) -> StoredPrefix:
    """`raw`: adapter_config.json. Raises ModelFolderError for a folder that cannot be computed."""
    path, kind = folder / ADAPTER_CONFIG, PEFT_TYPES[raw["peft_type"]]
    if raw.get("num_transformer_submodules", 1) not in (None, 1):
        raise ModelFolderError(f"{path} is of an encoder-decoder model, which is not read.")
    embeddings = tensors.get(EMBEDDINGS)
    if embeddings is None or embeddings.ndim != 2:
        raise ModelFolderError(f"{folder} holds no matrix {EMBEDDINGS}; fetch or write it again.")
    heads = {name: t for name, t in tensors.items() if name != EMBEDDINGS}
    return StoredPrefix(folder, kind, embeddings, heads, head)


def attach_prefix(base: Transformer, stored: StoredPrefix, *, where: Path | None = None) -> Transformer:
    """`base` with these virtual tokens. Raises ModelFolderError if they do not fit."""
    try:
        view = prefixed(base, PrefixConfig(tokens=len(stored.embeddings)), stored.kind, seed=None)
    except ConfigError as error:
        raise ModelFolderError(f"{stored.folder}: {error}") from error
    fill_prefix(view, stored, where=where)
    return view


@torch.no_grad()
def fill_prefix(view: Transformer, stored: StoredPrefix, *, where: Path | None = None) -> None:
    """The stored numbers into the virtual tokens that `view` has."""
    prefix, c = _prefix_of(view), view.config
    columns = c.d_model if prefix.kind == "prompt" else 2 * c.layers * c.kv_heads * c.d_head
    if (stored.kind, *stored.embeddings.shape) != (prefix.kind, prefix.tokens, columns):
        raise ModelFolderError(
            f"{stored.folder} holds {EMBEDDINGS} of the shape {tuple(stored.embeddings.shape)} ({stored.kind}), where "
            f"the model implies {(prefix.tokens, columns)} ({where or view.source}); it belongs to another model."
        )
    if prefix.kind == "prompt":
        prefix.embeddings.copy_(stored.embeddings)
        return
    both = stored.embeddings.view(prefix.tokens, c.layers, 2, c.kv_heads, c.d_head).permute(2, 1, 3, 0, 4)
    prefix.keys.copy_(both[0])  # (layers, K, m, D)
    prefix.values.copy_(both[1])


def prefix_tensors(view: Transformer) -> dict[str, Tensor]:
    """What the folder holds of the virtual tokens."""
    prefix = _prefix_of(view)
    if prefix.kind == "prompt":
        return {EMBEDDINGS: prefix.embeddings.detach()}
    both = torch.stack((prefix.keys, prefix.values)).detach()  # (2, layers, K, m, D)
    return {EMBEDDINGS: both.permute(3, 1, 0, 2, 4).reshape(prefix.tokens, -1)}


def prefix_config(view: Transformer, base: Path | None, *, is_scalar: bool) -> dict[str, Any]:
    """adapter_config.json; peft divides token_dim by the query heads, and takes the key heads that the model has."""
    prefix, c = _prefix_of(view), view.config
    raw: dict[str, Any] = {
        "peft_type": next(name for name, kind in PEFT_TYPES.items() if kind == prefix.kind),
        "task_type": "SEQ_CLS" if is_scalar else "CAUSAL_LM",
        "base_model_name_or_path": None if base is None else str(base.resolve()),
        "num_virtual_tokens": prefix.tokens,
        "num_transformer_submodules": 1,
        "num_layers": c.layers,
        "token_dim": c.d_model if prefix.kind == "prompt" else c.kv_heads * c.d_head,
        "num_attention_heads": c.heads if prefix.kind == "prompt" else c.kv_heads,
        "inference_mode": True,
    }
    kind = {"prompt_tuning_init": "RANDOM"} if prefix.kind == "prompt" else {"prefix_projection": False}
    return raw | kind


def _prefix_of(view: Transformer) -> Prefix:
    assert view.prefix is not None
    return view.prefix
