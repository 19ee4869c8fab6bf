"""Write an adapter as a PEFT folder (`hub.adapters` says what is in it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ziggurat.errors import ModelFolderError
from ziggurat.files import FORMAT_VERSION, atomic_write_text, replacing
from ziggurat.home import portable
from ziggurat.model.hub.adapter_names import (
    ADAPTER_FORMAT,
    OURS,
    PREFIX,
    WEIGHTS,
    Stored,
    adapted_pieces,
    stored_layers,
    to_stored,
)
from ziggurat.model.hub.adapters import weights_hash
from ziggurat.model.hub.family import Source
from ziggurat.model.hub.prefix_folder import prefix_config, prefix_tensors
from ziggurat.model.hub.save import SavesTokenizer, family_of
from ziggurat.model.lora import LoraConfig, LoraLinear, adapters_of
from ziggurat.model.transformer import Transformer
from ziggurat.places import ADAPTER_CONFIG
from ziggurat.processes import writes


def save_adapter(
    view: Transformer,
    folder: Path,
    tokenizer: SavesTokenizer | None = None,
    *,
    head: Mapping[str, Any] | None = None,
    head_tensors: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the adapter of `view`; `head`, `head_tensors`: of a reward model or critic.

    adapter_config.json is written last, so that a folder without it is no adapter.
    """
    assert view.adapter is not None
    tensors: dict[str, Tensor] = {f"{PREFIX}{n}": t.detach().cpu() for n, t in (head_tensors or {}).items()}
    is_scalar = "score.weight" in (head_tensors or {})
    targets = []
    if view.prefix is not None:
        tensors |= prefix_tensors(view)
    else:
        layers = stored_layers(view.config)
        for ours, layer in adapters_of(view).items():
            pieces, source = layers[ours]
            tensors |= {f"{PREFIX}{name}": t for name, t in _stored(layer, pieces, source).items()}
            targets += [name.rpartition(".")[2] for name, _ in adapted_pieces(layer, pieces)]
    base = view.adapter.base_folder
    own: dict[str, Any] = {FORMAT_VERSION: ADAPTER_FORMAT, "base": None, "head": dict(head or {})}
    if base is not None:
        own["base"] = {"path": portable(base), "weights": weights_hash(base)}
    if not writes():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / WEIGHTS) as aside:
            save_file({n: t.cpu().contiguous() for n, t in tensors.items()}, aside, metadata={"format": "pt"})
        if tokenizer is not None:
            tokenizer.save(folder)
        atomic_write_text(folder / OURS, _json(own))
        if view.prefix is not None:
            raw = prefix_config(view, base, is_scalar=is_scalar)
        else:
            raw = _peft_config(view, list(dict.fromkeys(targets)), base, is_scalar=is_scalar)
        atomic_write_text(folder / ADAPTER_CONFIG, _json(raw))
    except (OSError, SafetensorError) as error:
        raise ModelFolderError(
            f"{folder}: the adapter cannot be written ({error}); check free space and write permission."
        ) from error


def _peft_config(
    view: Transformer, targets: list[str], base: Path | None, *, is_scalar: bool
) -> dict[str, Any]:
    assert view.adapter is not None
    config = view.adapter.config
    assert isinstance(config, LoraConfig)
    numbers = sorted({int(name.split(".")[1]) for name in adapters_of(view) if name.startswith("blocks.")})
    family, _ = family_of(view.config)
    transposed = any(source.transposed for source in family.sources(view.config).values())
    return {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if is_scalar else "CAUSAL_LM",
        "base_model_name_or_path": None if base is None else str(base.resolve()),
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": targets,
        "layers_to_transform": None if len(numbers) == view.config.layers else numbers,
        "use_dora": config.dora,
        "use_rslora": False,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "modules_to_save": ["score"] if is_scalar else None,
        "inference_mode": True,
    }


def _stored(layer: LoraLinear, pieces: Stored, source: Source) -> dict[str, Tensor]:
    rank, at, found = layer.lora_b.shape[1], 0, dict[str, Tensor]()
    for number, (name, rows) in enumerate(adapted_pieces(layer, pieces)):
        of = slice(at, at + len(rows))
        own = {
            "lora_A.weight": layer.lora_a[number * rank : (number + 1) * rank],
            "lora_B.weight": to_stored(layer.lora_b[of], source),
        }
        if layer.magnitude is not None:
            own["lora_magnitude_vector"] = to_stored(layer.magnitude[of], source)
        found |= {f"{name}.{kind}": t.detach().cpu() for kind, t in own.items()}
        at += len(rows)
    return found


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
