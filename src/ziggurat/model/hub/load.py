"""Read a Hugging Face folder (ours or anyone's) as our Transformer, straight into the requested dtype.

Strict on purpose: a tensor that is missing, misshapen, left over or not finite is an error, because a dropped bias is a
model that talks almost right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from pydantic import ValidationError
from torch import Tensor

from ziggurat.errors import ModelFolderError, did_you_mean
from ziggurat.model.confidence import FEATURES, ConfidenceHead
from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu import accelerate
from ziggurat.model.heads import RewardModel, ScalarModel
from ziggurat.model.hub import adapters
from ziggurat.model.hub.families import by_model_type
from ziggurat.model.hub.family import Family, Source, Unreadable, rows_of
from ziggurat.model.hub.save import FORMAT_VERSION, REWARD_TYPE, TOKEN_IDS
from ziggurat.model.hub.stored import StoredTensors
from ziggurat.model.lora import merged
from ziggurat.model.transformer import Transformer

if TYPE_CHECKING:
    from ziggurat.model.hub.gguf_read import GGUFFile

Tensors: TypeAlias = "StoredTensors | GGUFFile"
UNEMBEDDINGS = ("lm_head.weight", "embed_out.weight")
"""Stored beside a tied embedding by some."""


def load_config(folder: Path) -> ModelConfig:
    """What config.json says of the shape; the weights are not looked at (`check_model` does)."""
    return _read_folder(_whole(folder)).config


def _whole(folder: Path) -> Path:
    """The folder of a whole model: of an adapter, that of the base at the end."""
    while adapters.is_adapter(folder):
        folder = adapters.base_of(folder, check=False)
    return folder


def is_scalar(folder: Path) -> bool:
    """Whether a folder holds a reward model or a critic: it has a tensor score.weight."""
    if adapters.is_adapter(folder):
        return adapters.has_head(folder)
    return "score.weight" in StoredTensors(folder, _read_folder(folder).family)


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype that the weights of `folder` are stored in."""
    folder = _whole(folder)
    return StoredTensors(folder, _read_folder(folder).family).dtype


def check_model(folder: Path, tokenizer_ids: int | None = None) -> ModelConfig:
    """Refuse, before any work, a language or reward model that cannot be loaded; reads all weights and keeps none.

    tokenizer_ids: how many ids its tokenizer has, at most the rows of the embedding. Returns the config.
    Raises ModelFolderError with one sentence: missing, misshapen, unreadable or leftover tensors, dtypes that are not
    read, numbers that are not finite, a tokenizer that is too large.
    """
    if adapters.is_adapter(folder):
        config = check_model(adapters.base_of(folder), tokenizer_ids)
        with torch.device("meta"):
            adapters.attach(Transformer(config, seed=None), adapters.read_adapter(folder))
        return config
    it = _read_folder(folder, tokenizer_ids)
    with torch.device("meta"):
        body = Transformer(it.config, seed=None)
    stored = StoredTensors(folder, it.family)
    expected = _expected(it, body, stored, scalar="score.weight" in stored)
    for name in expected:
        for _ in stored.parts(name):
            pass
    return it.config


def load_model(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    tokenizer_ids: int | None = None,
    base: Path | None = None,
) -> Transformer:
    """The Transformer of `folder`, accelerated; `dtype` is that of its parameters and of its computation.

    An adapter is worked into the weights of its base, which is loaded from `base` or from where the adapter says;
    virtual tokens stay an adapter.

    To train, load fp32 masters and `set_compute_dtype` to bf16; to serve, load bf16 and no cast is ever paid. Raises
    ModelFolderError as `check_model` does.
    """
    refusal = f"{folder} holds a reward model or critic, not a language model; give the run it scores."
    if adapters.is_adapter(folder):
        if adapters.has_head(folder):
            raise ModelFolderError(refusal)
        whole = load_model(adapters.base_of(folder, base), dtype=dtype, tokenizer_ids=tokenizer_ids)
        return _with_source(_one_model(adapters.attach(whole, adapters.read_adapter(folder))), folder)
    it = _read_folder(folder, tokenizer_ids)
    stored = StoredTensors(folder, it.family)
    if "score.weight" in stored:
        raise ModelFolderError(refusal)
    return accelerate(_load_body(it, stored, dtype, scalar=False))


def _one_model(view: Transformer) -> Transformer:
    """An adapter worked into its base's weights; virtual tokens stay what they are."""
    return merged(view) if view.prefix is None else accelerate(view)


def _with_source(model: Transformer, folder: Path) -> Transformer:
    model.source = folder
    return model.requires_grad_(True)


def load_scalar(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    tokenizer_ids: int | None = None,
    over: Transformer | None = None,
) -> ScalarModel:
    """The RewardModel or critic of `folder`; a foreign one-label classifier is a RewardModel with shift 0, scale 1.

    `dtype` is that of the body; heads are fp32. An adapter is worked into its base, or stands over the model `over`,
    which is its base and is shared. Raises ModelFolderError as `check_model` does.
    """
    if adapters.is_adapter(folder):
        stored_adapter = adapters.read_adapter(folder)
        if not stored_adapter.is_scalar:
            raise ModelFolderError(
                f"{folder} has no score.weight: it is a language model; give a reward model's folder."
            )
        if over is not None:
            body = adapters.attach(over, stored_adapter)
        else:
            whole = load_model(adapters.base_of(folder), dtype=dtype, tokenizer_ids=tokenizer_ids)
            body = _with_source(_one_model(adapters.attach(whole, stored_adapter)), folder)
        heads = stored_adapter.head_tensors()
        return accelerate(_scalar(body, stored_adapter.head, heads))
    it = _read_folder(folder, tokenizer_ids)
    stored = StoredTensors(folder, it.family)
    if "score.weight" not in stored:
        raise ModelFolderError(
            f"{folder} has no score.weight: it is a language model; give a reward model's folder."
        )
    body = _load_body(it, stored, dtype, scalar=True)
    heads = {name: _read(stored, name) for name in HEADS if name in stored}
    return accelerate(_scalar(body, it.head, heads))


HEADS = ("score.weight", "confidence.query", "confidence.weights")


def _read(stored: StoredTensors, name: str) -> Tensor:
    whole = torch.empty(stored.shapes[stored.names[name]])
    stored.copy(name, whole)
    return whole


def _scalar(body: Transformer, head: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ScalarModel:
    """A body with the heads of these tensors; `head`: what config.json, or the adapter's file, says of them."""
    model = with_head(body, head)
    load_heads(model, tensors)
    return model


def with_head(body: Transformer, head: Mapping[str, Any]) -> ScalarModel:
    """A body with heads whose weights are not read yet."""
    model: ScalarModel
    if head.get("head") == "critic":
        model = ScalarModel(body)
    else:
        shift, scale = head.get("reward_shift", 0.0), head.get("reward_scale", 1.0)
        confidence, answer_after = None, _answer_after(head)
        if answer_after is not None:
            confidence = ConfidenceHead(body.config.d_model, answer_after, _confidence_heads(head))
        model = RewardModel(body, reward_shift=shift, reward_scale=scale, confidence=confidence)
    return model


@torch.no_grad()
def load_heads(model: ScalarModel, tensors: Mapping[str, Tensor]) -> None:
    """The numbers of stored heads into those that the model has."""
    model.head.weight.copy_(tensors["score.weight"])
    confidence = model.confidence if isinstance(model, RewardModel) else None
    if confidence is not None:
        confidence.query.weight.copy_(tensors["confidence.query"])
        confidence.weights.copy_(tensors["confidence.weights"])


def _answer_after(head: Mapping[str, Any]) -> int | None:
    """The token that opens an answer, if there is a confidence head; `doubt_after` before December 2026."""
    found: int | None = head.get("answer_after", head.get("doubt_after"))
    return found


def _confidence_heads(head: Mapping[str, Any]) -> int:
    """`doubt_heads` before December 2026; 4 before the number was saved."""
    return int(head.get("confidence_heads", head.get("doubt_heads", 4)))


def load_gguf(path: Path, *, dtype: torch.dtype | None = None) -> Transformer:
    """The Transformer of a GGUF file, dequantised, accelerated; in the file's own dtype unless `dtype` is given.

    Raises ModelFolderError for a file that is damaged or holds what cannot be computed.
    """
    from ziggurat.model.hub.gguf_read import GGUFFile

    file = GGUFFile(path)
    it = _Folder(path, file.raw, {}, file.config, by_model_type()[file.raw["model_type"]])
    model = _load_body(it, file, dtype or file.dtype, scalar=False)
    ids = {key: file.raw[key] for key in TOKEN_IDS if key in file.raw}
    model.token_ids = {"config": ids, "generation": ids}
    return accelerate(model)


# --- config.json ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Folder:
    path: Path
    raw: dict[str, Any]
    """config.json of the body."""
    head: dict[str, Any]
    """What config.json says under `ziggurat`."""
    config: ModelConfig
    family: Family


def _read_folder(folder: Path, tokenizer_ids: int | None = None) -> _Folder:
    path = folder / "config.json"
    if not path.is_file():
        what = "has no config.json" if folder.is_dir() else "does not exist"
        raise ModelFolderError(
            f"{folder} {what}; give a folder in Hugging Face layout (config.json, model.safetensors)."
        )
    raw = _read_json(path)
    head = raw.get("ziggurat") or {}
    if (version := head.get("format_version", 1)) > FORMAT_VERSION:
        raise ModelFolderError(
            f"{path} has the format_version {version}, and this Ziggurat reads up to {FORMAT_VERSION}; update Ziggurat."
        )
    ids = {key: raw[key] for key in TOKEN_IDS if key in raw}
    if raw.get("model_type") == REWARD_TYPE:
        raw = raw.get("body") or {}
    raw = raw | ids
    if "quantization_config" in raw:
        method = raw["quantization_config"].get("quant_method", "an unknown method")
        raise ModelFolderError(
            f"{path}: the weights are quantised by {method}, which is not read; use the model's unquantised weights."
        )
    kind = str(raw.get("model_type"))
    known = by_model_type()
    if kind not in known:
        raise ModelFolderError(
            f"{path}: model_type {kind!r} is not one of {', '.join(known)}.{did_you_mean(kind, known)}"
        )
    family = known[kind]
    try:
        it = _Folder(folder, raw, head, family.reads(raw), family)
    except Unreadable as error:
        raise ModelFolderError(f"{path}: {error}; use a model without it.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = f"{where}: {first['msg']}" if where else first["msg"]
        raise ModelFolderError(f"{path}: {said}; correct the file or fetch it again.") from error
    if tokenizer_ids is not None and tokenizer_ids > it.config.vocab_size:
        raise ModelFolderError(
            f"{folder}: its tokenizer has {tokenizer_ids:,} ids, but its model embeds {it.config.vocab_size:,}; "
            "give a folder whose tokenizer and model belong together."
        )
    return it


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise ValueError("it is not a JSON object")
    except ValueError as error:
        raise ModelFolderError(
            f"{path} is not valid JSON ({error}); fetch or write the file again."
        ) from error
    return raw


def _token_ids(it: _Folder) -> dict[str, dict[str, Any]]:
    """The special token ids of config.json and of generation_config.json, which a saver writes again."""
    path = it.path / "generation_config.json"
    files = {"config": it.raw, "generation": _read_json(path) if path.is_file() else {}}
    return {file: {key: raw[key] for key in TOKEN_IDS if key in raw} for file, raw in files.items()}


# --- weights -------------------------------------------------------------------------------------------------------


def _load_body(it: _Folder, stored: Tensors, dtype: torch.dtype, *, scalar: bool) -> Transformer:
    model = Transformer(it.config, seed=None)
    for parameter in model.parameters():  # memory is taken when it is first written to
        parameter.data = torch.empty_like(parameter, dtype=dtype)
    expected = _expected(it, model, stored, scalar=scalar)
    with torch.no_grad():
        for ours, pieces in _pieces(it, model):
            if pieces[0][0] not in expected:  # a scalar model without its untied unembedding
                model.get_parameter(ours).copy_(model.embedding.weight)
                continue
            for name, target, source in pieces:
                stored.copy(name, target, source)
    model.compute_dtype, model.token_ids, model.source = dtype, _token_ids(it), it.path
    return model


def _pieces(it: _Folder, model: Transformer) -> Iterator[tuple[str, list[tuple[str, Tensor, Source]]]]:
    """Each of our parameters, with the stored tensors that it is made of, the part that each one fills, and how."""
    for ours, source in it.family.sources(it.config).items():
        whole = model.get_parameter(ours).data
        parts = whole.split_with_sizes(rows_of(model, ours)) if len(source.names) > 1 else (whole,)
        targets = [part.T if source.transposed else part for part in parts]
        yield ours, [(name, target, source) for name, target in zip(source.names, targets, strict=True)]


def _expected(
    it: _Folder, model: Transformer, stored: Tensors, *, scalar: bool
) -> dict[str, tuple[int, ...]]:
    """The stored tensors that config.json implies, and their shapes; refuses a folder that does not hold them."""
    expected = {
        name: tuple(target.shape)
        for ours, pieces in _pieces(it, model)
        for name, target, _ in pieces
        if not (scalar and ours == "unembedding.weight" and name not in stored)
    }
    if scalar:
        expected["score.weight"] = (1, it.config.d_model)
        if _answer_after(it.head) is not None and it.head.get("head") != "critic":
            expected["confidence.query"] = (_confidence_heads(it.head), it.config.d_model)
            expected["confidence.weights"] = (_confidence_heads(it.head), FEATURES)
    stored.must_be(expected, it.family.buffers + (UNEMBEDDINGS if it.config.tied else ()))
    return expected
