"""Write a model as a Hugging Face folder: config.json, model.safetensors and, if given, the tokenizer's files.

Special token ids are those of the folder that the model was loaded from, else the tokenizer's.
The family is the first that can express the config, so our presets are saved as Qwen3. Weights are written in the
dtype they have (fp32 masters while training). config.json is written last; each file appears whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ziggurat.errors import ModelFolderError
from ziggurat.files import atomic_write_text, replacing
from ziggurat.model.config import ModelConfig
from ziggurat.model.heads import RewardModel, ScalarModel
from ziggurat.model.hub.families import families
from ziggurat.model.hub.family import Family, rows_of
from ziggurat.model.transformer import Transformer
from ziggurat.processes import writes

FORMAT_VERSION = 2
"""Of what config.json holds under `ziggurat`. 1: the confidence head under its old names, in a classifier."""

REWARD_TYPE = "ziggurat_reward"
"""`model_type` of a reward model with a confidence head; the body's own config.json is under `body`."""

TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Fields of config.json and generation_config.json that stay as the source of a model has them."""


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
    """The whole model; of one with an adapter, the adapter alone (`hub.save_adapter`)."""
    if model.adapter is not None:
        from ziggurat.model.hub.save_adapter import save_adapter

        return save_adapter(model, folder, tokenizer)
    family, raw = family_of(model.config)
    return _write(folder, raw, stored_tensors(model, family), model.token_ids, tokenizer)


def save_scalar(model: ScalarModel, folder: Path, tokenizer: SavesTokenizer | None = None) -> None:
    """As `save_model`, with `score.weight` and the kind of head.

    transformers reads it as one-label classification. A model with a confidence head is of our own type instead, which
    transformers refuses: it would compute another score.
    """
    head, heads = head_of(model)
    if model.body.adapter is not None:
        from ziggurat.model.hub.save_adapter import save_adapter

        return save_adapter(model.body, folder, tokenizer, head=head, head_tensors=heads)
    family, raw = family_of(model.body.config)
    tensors = stored_tensors(model.body, family)
    if "confidence.query" in heads:
        raw = {"architectures": ["ZigguratRewardModel"], "model_type": REWARD_TYPE, "body": raw}
    else:
        for unembedding in ("lm_head.weight", "embed_out.weight"):
            tensors.pop(unembedding, None)
        name = raw["architectures"][0].removesuffix("LMHeadModel").removesuffix("ForCausalLM")
        raw |= {"architectures": [f"{name}ForSequenceClassification"], "id2label": {"0": "score"}}
    raw["ziggurat"] = head | {"format_version": FORMAT_VERSION}
    return _write(folder, raw, tensors | heads, model.body.token_ids, tokenizer)


def head_of(model: ScalarModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a file says of the heads, and their tensors by stored names."""
    head: dict[str, Any] = {"head": "critic"}
    tensors = {"score.weight": model.head.weight.detach()}
    if isinstance(model, RewardModel):
        shift, scale = model.reward_shift.item(), model.reward_scale.item()
        head = {"head": "reward", "reward_shift": shift, "reward_scale": scale}
        if model.confidence is not None:
            one = model.confidence
            head |= {"answer_after": one.answer_after, "confidence_heads": one.heads}
            tensors |= {
                "confidence.query": one.query.weight.detach(),
                "confidence.weights": one.weights.detach(),
            }
    return head, tensors


def family_of(config: ModelConfig) -> tuple[Family, dict[str, Any]]:
    """The first family that can express `config`, and its config.json."""
    for family in families():
        raw = family.writes(config)
        if raw is not None:
            return family, raw
    raise AssertionError("the native family expresses every config")


def stored_tensors(model: Transformer, family: Family) -> dict[str, Tensor]:
    """Their tensor names -> our weights, split by rows and turned as they store them."""
    parameters = {name: whole_of(parameter) for name, parameter in model.named_parameters()}
    stored = {}
    for ours, source in family.sources(model.config).items():
        whole = parameters.pop(ours)
        pieces = whole.split_with_sizes(rows_of(model, ours)) if len(source.names) > 1 else (whole,)
        for name, piece in zip(source.names, pieces, strict=True):
            turned = piece.T if source.transposed else piece
            ordered = turned if source.rows is None else turned[source.rows]
            less = (ordered.float() - source.offset).to(ordered.dtype) if source.offset else ordered
            stored[name] = less.contiguous()
    assert not parameters, f"no stored name for {sorted(parameters)}"
    return stored


def whole_of(parameter: Tensor) -> Tensor:
    """On the CPU. One in shards is gathered: every process of the run must ask, and process 0 alone keeps it."""
    gather = getattr(parameter.detach(), "full_tensor", None)
    whole: Tensor = parameter.detach() if gather is None else gather()
    return whole.cpu() if writes() else whole.to("meta")


def _write(
    folder: Path,
    raw: dict[str, Any],
    tensors: dict[str, Tensor],
    source_ids: Mapping[str, Mapping[str, Any]],
    tokenizer: SavesTokenizer | None,
) -> None:
    if not writes():
        return
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    ids = dict(source_ids.get("config", {}))
    if ids.get("pad_token_id") is None:  # classification of several rows needs one
        ids.pop("pad_token_id", None)
    raw = {**raw, "dtype": dtype, "torch_dtype": dtype, **ids}
    generation = dict(source_ids.get("generation", {}))
    if tokenizer is not None:
        raw = _ids_of(tokenizer) | raw
        generation = {
            "pad_token_id": raw["pad_token_id"],
            **generation,
            "eos_token_id": _stops(generation.get("eos_token_id"), tokenizer),
        }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "model.safetensors") as aside:
            save_file(tensors, aside, metadata={"format": "pt"})
        if tokenizer is not None:
            tokenizer.save(folder)
            atomic_write_text(folder / "generation_config.json", _json(generation))
        atomic_write_text(folder / "config.json", _json(raw))
    except (OSError, SafetensorError) as error:
        raise ModelFolderError(
            f"{folder}: the model cannot be written ({error}); check free space and write permission."
        ) from error


def _ids_of(tokenizer: SavesTokenizer) -> dict[str, Any]:
    """The special token ids of a model that has none from where it was loaded."""
    return {
        "bos_token_id": getattr(tokenizer, "bos_id", None),
        "eos_token_id": tokenizer.endoftext_id,
        "pad_token_id": tokenizer.pad_id,
    }


def _stops(source: int | list[int] | None, tokenizer: SavesTokenizer) -> int | list[int]:
    """What ends an answer: the source's own ids, and the end of a turn."""
    stops = [tokenizer.endoftext_id] if source is None else [source] if isinstance(source, int) else source
    if tokenizer.end_id is not None and tokenizer.end_id not in stops:
        stops = [tokenizer.end_id, *stops]
    return source if source is not None and stops in ([source], source) else stops


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
