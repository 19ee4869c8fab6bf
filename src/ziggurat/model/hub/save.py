"""Write a model as a Hugging Face folder: config.json, model.safetensors and, if given, the tokenizer's files.

The family is the first that can express the config, so our presets are saved as Qwen3. Weights are written in the
dtype they have (fp32 masters while training). config.json is written last; each file appears whole or not at all.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ziggurat.errors import ModelFolderError
from ziggurat.model.config import ModelConfig
from ziggurat.model.heads import RewardModel, ScalarModel
from ziggurat.model.hub.family import Family, rows_of
from ziggurat.model.hub.gpt2 import GPT2
from ziggurat.model.hub.llama import LLAMA
from ziggurat.model.hub.native import NATIVE
from ziggurat.model.hub.qwen3 import QWEN3
from ziggurat.model.transformer import Transformer

FAMILIES = (QWEN3, LLAMA, GPT2, NATIVE)


class SavesTokenizer(Protocol):
    """What a folder needs of a tokenizer."""

    @property
    def endoftext_id(self) -> int: ...

    @property
    def pad_id(self) -> int: ...

    @property
    def end_id(self) -> int | None: ...

    def save(self, folder: Path) -> None: ...


def save_model(model: Transformer, folder: Path, tokenizer: SavesTokenizer | None = None) -> None:
    family, raw = family_of(model.config)
    _write(folder, raw, stored_tensors(model, family), tokenizer)


def save_scalar(model: ScalarModel, folder: Path, tokenizer: SavesTokenizer | None = None) -> None:
    """As `save_model`, with `score.weight` and the kind of head: transformers reads it as one-label classification."""
    family, raw = family_of(model.body.config)
    causal = raw["architectures"][0]
    name = causal.removesuffix("LMHeadModel").removesuffix("ForCausalLM")
    head: dict[str, Any] = {"head": "critic"}
    if isinstance(model, RewardModel):
        shift, scale = model.reward_shift.item(), model.reward_scale.item()
        head = {"head": "reward", "reward_shift": shift, "reward_scale": scale}
        if model.doubt_after is not None:
            head |= {"doubt_after": model.doubt_after, "doubt_heads": model.doubt.heads}
    raw |= {
        "architectures": [f"{name}ForSequenceClassification"],
        "id2label": {"0": "score"},
        "ziggurat": head,
    }
    tensors = stored_tensors(model.body, family)
    tensors["score.weight"] = model.head.weight.detach()
    if "doubt_after" in head:
        assert isinstance(model, RewardModel)
        tensors["doubt.look"] = model.doubt.look.weight.detach()
        tensors["doubt.weigh"] = model.doubt.weigh.detach()
    else:
        tensors.pop("lm_head.weight", None)
    _write(folder, raw, tensors, tokenizer)


def family_of(config: ModelConfig) -> tuple[Family, dict[str, Any]]:
    """The first family that can express `config`, and its config.json."""
    for family in FAMILIES:
        raw = family.writes(config)
        if raw is not None:
            return family, raw
    raise AssertionError("the native family expresses every config")


def stored_tensors(model: Transformer, family: Family) -> dict[str, Tensor]:
    """Their tensor names -> our weights, split by rows and turned as they store them."""
    parameters = {name: parameter.detach().cpu() for name, parameter in model.named_parameters()}
    stored = {}
    for ours, source in family.sources(model.config).items():
        whole = parameters.pop(ours)
        pieces = whole.split_with_sizes(rows_of(model, ours)) if len(source.names) > 1 else (whole,)
        for name, piece in zip(source.names, pieces, strict=True):
            stored[name] = (piece.T if source.transposed else piece).contiguous()
    assert not parameters, f"no stored name for {sorted(parameters)}"
    return stored


def _write(
    folder: Path, raw: dict[str, Any], tensors: dict[str, Tensor], tokenizer: SavesTokenizer | None
) -> None:
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    raw = {**raw, "dtype": dtype, "torch_dtype": dtype}
    generation: dict[str, Any] = {}
    if tokenizer is not None:
        stops = (
            [tokenizer.endoftext_id]
            if tokenizer.end_id is None
            else [tokenizer.end_id, tokenizer.endoftext_id]
        )
        raw |= {
            "bos_token_id": None,
            "eos_token_id": tokenizer.endoftext_id,
            "pad_token_id": tokenizer.pad_id,
        }
        generation = {"eos_token_id": stops, "pad_token_id": tokenizer.pad_id}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(
            folder / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"})
        )
        if tokenizer is not None:
            tokenizer.save(folder)
            _replace(folder / "generation_config.json", lambda path: path.write_text(_json(generation)))
        _replace(folder / "config.json", lambda path: path.write_text(_json(raw)))
    except (OSError, SafetensorError) as error:
        raise ModelFolderError(
            f"{folder}: the model cannot be written ({error}); check free space and write permission."
        ) from error


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def _replace(path: Path, write: Any) -> None:
    """Write beside `path`, then rename; nothing half-written is left behind."""
    beside = path.with_name(f".{path.name}.part")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
