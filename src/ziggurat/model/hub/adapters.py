"""Adapters as PEFT folders: adapter_config.json and adapter_model.safetensors, read and written as `peft` has them.

    base_model.model.<stored name of the layer>.lora_A.weight     (rank, in)
                                               .lora_B.weight     (rows, rank)
                                               .lora_magnitude_vector (rows), for DoRA

Beside them `ziggurat_adapter.json` keeps what PEFT has no place for: where the base is, the hash of its weights, and
the zero and unit of a reward model, whose head is in adapter_model.safetensors as `score.weight`. A folder from
elsewhere lacks that file; its base is `base_model_name_or_path`, or the one that is named with it (BASE@ADAPTER).

Virtual tokens (`prefix_folder`) are adapters too. Left out, and refused with a sentence: other methods, ranks that
differ between layers, trained biases, whole layers saved beside the adapter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ziggurat.errors import ModelFolderError, RunError
from ziggurat.files import read_json, sampled_sha256
from ziggurat.model.hub.adapter_names import ADAPTER_FORMAT, OURS, PREFIX, WEIGHTS, from_stored, stored_layers
from ziggurat.model.hub.family import Source
from ziggurat.model.hub.prefix_folder import (
    PEFT_TYPES,
    StoredPrefix,
    attach_prefix,
    fill_prefix,
    parse_prefix,
)
from ziggurat.model.lora import Layout, LoraConfig, LoraLinear, Piece, adapt, adapters_of
from ziggurat.model.transformer import Transformer
from ziggurat.places import ADAPTER_CONFIG, model_folder

REFUSED: dict[str, Any] = {
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
    "bias": "none",
    "fan_in_fan_out": None,
    "lora_bias": False,
    "layer_replication": None,
    "trainable_token_indices": None,
    "target_parameters": None,
}
"""Settings of PEFT that change what an adapter computes, and the value that is read; None: anything that is empty."""


def is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER_CONFIG).is_file()


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter's folder, read."""

    folder: Path
    config: LoraConfig
    blocks: frozenset[int] | None
    """The blocks that have adapters; None: all."""
    tensors: Mapping[str, Tensor]
    """By their names without PREFIX; the head of a reward model is among them."""
    head: dict[str, Any]
    """Kind of head, zero and unit, as in a reward model's config.json."""

    @property
    def is_scalar(self) -> bool:
        return "score.weight" in self.tensors

    def head_tensors(self) -> dict[str, Tensor]:
        return {name: t for name, t in self.tensors.items() if name.startswith(("score.", "confidence."))}


# --- reading ----------------------------------------------------------------------------------------------------------


def read_adapter(folder: Path) -> StoredAdapter | StoredPrefix:
    """Raises ModelFolderError for a folder that is damaged, or whose adapter cannot be computed."""
    path = folder / ADAPTER_CONFIG
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelFolderError(
            f"{folder} cannot be read as an adapter ({error}); fetch or write {ADAPTER_CONFIG} and {WEIGHTS} again."
        ) from error
    kind = raw.get("peft_type")
    if kind != "LORA" and kind not in PEFT_TYPES:
        known = ", ".join(["LORA", *PEFT_TYPES])
        raise ModelFolderError(f"{path}: peft_type is {kind!r}; what can be computed is {known}.")
    stored = {name.removeprefix(PREFIX).replace(".modules_to_save", ""): t for name, t in tensors.items()}
    if not all(bool(t.isfinite().all()) for t in stored.values()):
        raise ModelFolderError(
            f"{folder}: {WEIGHTS} holds numbers that are not finite; use an earlier checkpoint."
        )
    head = _own(folder).get("head") or {}
    if kind in PEFT_TYPES:
        return parse_prefix(folder, raw, stored, head)
    for key, read in REFUSED.items():
        value = raw.get(key) or None
        heads = key == "modules_to_save" and "score.weight" in stored  # of a classifier: its head
        if value not in (None, read) and not heads and key != "fan_in_fan_out":
            raise ModelFolderError(
                f"{path}: {key} is {value!r}, which cannot be computed; merge it into its base."
            )
    rank, alpha = int(raw["r"]), float(raw["lora_alpha"])
    if raw.get("use_rslora"):
        alpha *= rank**0.5
    blocks = raw.get("layers_to_transform")
    targets = raw.get("target_modules") or ()
    config = LoraConfig(
        rank=rank,
        alpha=alpha,
        dropout=float(raw.get("lora_dropout") or 0.0),
        targets=tuple(sorted(targets)) if not isinstance(targets, str) else ("all",),
        dora=bool(raw.get("use_dora")),
    )
    numbers = None if blocks is None else frozenset([blocks] if isinstance(blocks, int) else blocks)
    return StoredAdapter(folder, config, numbers, stored, head)


def _own(folder: Path) -> dict[str, Any]:
    """ziggurat_adapter.json; nothing for a folder from elsewhere."""
    path = folder / OURS
    return read_json(path, ADAPTER_FORMAT) if path.is_file() else {}


def has_head(folder: Path) -> bool:
    """Whether an adapter's folder is that of a reward model or critic."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            return any(name.endswith("score.weight") for name in file.keys())  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError) as error:
        raise ModelFolderError(
            f"{folder / WEIGHTS} cannot be read ({error}); fetch or write it again."
        ) from error


def is_adapter_of(folder: Path, base: Path | None) -> bool:
    """Whether a folder holds an adapter of the model in `base`: the weights decide."""
    if base is None or not is_adapter(folder):
        return False
    known = _own(folder).get("base") or {}
    return bool(known) and known.get("weights") == weights_hash(base)


def base_of(folder: Path, given: Path | None = None, *, check: bool = True) -> Path:
    """The folder of the model that an adapter belongs to: `given`, or where the adapter says it is.

    Raises ModelFolderError where it is not there, or where the weights there are not those that the adapter was
    trained on.
    """
    known = _own(folder).get("base") or {}
    if given is None:
        given = _recorded(folder, known)
    wanted = known.get("weights")
    if check and wanted is not None and wanted != (found := weights_hash(given)):
        raise ModelFolderError(
            f"{folder} is an adapter of {known.get('path')} (weights {wanted[:12]}), and {given} holds other weights "
            f"({found[:12]}); give the base that it was trained on."
        )
    return given


def _recorded(folder: Path, known: Mapping[str, Any]) -> Path:
    names = [known["path"], known.get("name")] if known else [_foreign_base(folder)]
    for name in names:
        if name:
            try:
                return model_folder(name)
            except RunError:
                continue
    raise ModelFolderError(
        f"{folder} is an adapter of {names[0] or 'a model that it does not name'}, which is not here; "
        "name the base with it, as BASE@ADAPTER."
    )


def _foreign_base(folder: Path) -> str | None:
    raw = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    name: str | None = raw.get("base_model_name_or_path")
    return name


def weights_hash(folder: Path) -> str:
    """Of the weight files of a model or adapter, by samples of large ones; it tells models apart."""
    files = sorted(folder.glob("*.safetensors"))
    return _hash_once(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@lru_cache(maxsize=64)
def _hash_once(files: tuple[tuple[Path, int, int], ...]) -> str:
    return sampled_sha256(path for path, _, _ in files)


def attach(
    base: Transformer, stored: StoredAdapter | StoredPrefix, *, where: Path | None = None
) -> Transformer:
    """`base` with this adapter: a Transformer that shares it. Raises ModelFolderError if they do not fit."""
    if isinstance(stored, StoredPrefix):
        return attach_prefix(base, stored, where=where)
    layers, fits = stored_layers(base.config), dict(stored.tensors)
    names = {piece for pieces, _ in layers.values() for piece, _ in pieces}
    used = {n.rpartition(".lora_A")[0] for n in fits if ".lora_A" in n}
    strange = sorted(used - names)
    last = max(stored.blocks) if stored.blocks else -1
    if strange or not used or last >= base.config.layers:
        what = (
            f"adapts {strange[0]}, which this base does not have"
            if strange
            else "adapts nothing of this base"
        )
        raise ModelFolderError(
            f"{stored.folder} {what} ({where or base.source}); it is an adapter of another model."
        )
    targets = tuple(sorted({name.rpartition(".")[2] for name in used}))
    config = stored.config.model_copy(update={"targets": targets})
    view = adapt(base, config, _only(layers, used))
    with torch.no_grad():
        for ours, layer in adapters_of(view).items():
            pieces, source = layers[ours]
            _fill(layer, [name for name, _ in pieces if name in used], source, fits, stored)
    left = [name for name in fits if ".lora_" in name]
    if left:
        raise ModelFolderError(
            f"{stored.folder}: there is no place for the tensor {left[0]} in {where or base.source}; "
            "it is an adapter of another model."
        )
    return view


def _only(layers: Mapping[str, Any], used: set[str]) -> Layout:
    """The layers of which all or some pieces are used; a piece that is not keeps its rows under no name."""
    return {
        ours: tuple(Piece(name.rpartition(".")[2] if name in used else "", rows) for name, rows in pieces)
        for ours, (pieces, _) in layers.items()
        if any(name in used for name, _ in pieces)
    }


def _fill(
    layer: LoraLinear, names: list[str], source: Source, tensors: dict[str, Tensor], stored: StoredAdapter
) -> None:
    for kind, mine in (
        ("A.weight", layer.lora_a),
        ("B.weight", layer.lora_b),
        ("magnitude_vector", layer.magnitude),
    ):
        found = [tensors.pop(f"{name}.lora_{kind}", torch.empty(0)) for name in names]
        theirs = torch.cat(found if kind == "A.weight" else [from_stored(t, source) for t in found])
        wanted = (0,) if mine is None else tuple(mine.shape)
        if wanted != tuple(theirs.shape):
            raise ModelFolderError(
                f"{stored.folder}: {names[0]} has an adapter of the shape {tuple(theirs.shape)}, where the base and "
                f"{ADAPTER_CONFIG} imply {wanted}; it belongs to another model."
            )
        if mine is not None:
            mine.copy_(theirs)


def load_into(view: Transformer, folder: Path) -> dict[str, Tensor]:
    """The numbers of the adapter in `folder` into the one that `view` has; returns the tensors of a head."""
    stored = read_adapter(folder)
    if isinstance(stored, StoredPrefix):
        fill_prefix(view, stored)
        return stored.head_tensors()
    fits, layers = dict(stored.tensors), stored_layers(view.config)
    with torch.no_grad():
        for ours, layer in adapters_of(view).items():
            pieces, source = layers[ours]
            names = [name for name, _ in pieces if f"{name}.lora_A.weight" in fits]
            _fill(layer, names, source, fits, stored)
    return stored.head_tensors()
