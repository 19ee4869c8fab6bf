"""Read a Hugging Face folder (ours or anyone's) as our Transformer.

Strict on purpose: a tensor that is missing, misshapen or left over is an error, because a dropped bias is a model that
talks almost right. Left out: pickled weights (pytorch_model.bin), which can run code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ziggurat.errors import ModelFolderError, did_you_mean
from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu import accelerate
from ziggurat.model.doubt import HEARD
from ziggurat.model.heads import RewardModel, ScalarModel
from ziggurat.model.hub.family import Family, Unreadable, rows_of
from ziggurat.model.hub.save import FAMILIES
from ziggurat.model.transformer import Transformer


def load_config(folder: Path) -> ModelConfig:
    return _read_config(folder)[1]


def is_scalar(folder: Path) -> bool:
    """Whether a folder holds a reward model or a critic, told by its tensors' names alone."""
    _, _, family = _read_config(folder)
    return "score.weight" in StoredTensors(folder, family).names


def load_model(folder: Path, *, dtype: torch.dtype = torch.float32) -> Transformer:
    """The Transformer of `folder`; `dtype` is that of its parameters and of its computation.

    To train, load fp32 masters and `set_compute_dtype` to bf16; to serve, load bf16 and no cast is ever paid.
    """
    _, config, family = _read_config(folder)
    stored = StoredTensors(folder, family)
    if "score.weight" in stored.names:
        raise ModelFolderError(
            f"{folder} holds a reward model or critic, not a language model; give the run it scores."
        )
    model = _fill(Transformer(config, seed=None), stored, family)
    stored.refuse_leftovers(config)
    return _in_dtype(model, dtype)


def load_scalar(folder: Path, *, dtype: torch.dtype = torch.float32) -> ScalarModel:
    """The RewardModel or critic of `folder`; a foreign one-label classifier is a RewardModel with shift 0, scale 1."""
    raw, config, family = _read_config(folder)
    stored = StoredTensors(folder, family)
    if "score.weight" not in stored.names:
        raise ModelFolderError(
            f"{folder} has no score.weight: it is a language model; give a reward model's folder."
        )
    body = _fill(Transformer(config, seed=None), stored, family, headless=True)
    head = raw.get("ziggurat", {"head": "reward"})
    if head.get("head") == "critic":
        model = ScalarModel(body)
    else:
        shift, scale = head.get("reward_shift", 0.0), head.get("reward_scale", 1.0)
        after, heads = head.get("doubt_after"), head.get("doubt_heads", 4)  # 4 before it was saved
        model = RewardModel(
            body, reward_shift=shift, reward_scale=scale, doubt_after=after, doubt_heads=heads
        )
    with torch.no_grad():
        model.head.weight.copy_(stored.take("score.weight", (1, config.d_model)))
        if isinstance(model, RewardModel) and model.doubt_after is not None:
            model.doubt.look.weight.copy_(stored.take("doubt.look", (heads, config.d_model)))
            model.doubt.weigh.copy_(stored.take("doubt.weigh", (heads, HEARD)))
    stored.refuse_leftovers(config)
    _in_dtype(model.body, dtype)
    return model


def _read_config(folder: Path) -> tuple[dict[str, Any], ModelConfig, Family]:
    path = folder / "config.json"
    if not path.is_file():
        what = "has no config.json" if folder.is_dir() else "does not exist"
        raise ModelFolderError(
            f"{folder} {what}; give a folder in Hugging Face layout (config.json, model.safetensors)."
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise ValueError("it is not a JSON object")
    except ValueError as error:
        raise ModelFolderError(
            f"{path} is not valid JSON ({error}); fetch or write the file again."
        ) from error
    kind = str(raw.get("model_type"))
    known = [name for family in FAMILIES for name in family.model_types]
    if kind not in known:
        raise ModelFolderError(
            f"{path}: model_type {kind!r} is not one of {', '.join(known)}.{did_you_mean(kind, known)}"
        )
    family = next(family for family in FAMILIES if kind in family.model_types)
    try:
        return raw, family.reads(raw), family
    except Unreadable as error:
        raise ModelFolderError(f"{path}: {error}; use a model without it.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = f"{where}: {first['msg']}" if where else first["msg"]
        raise ModelFolderError(f"{path}: {said}; correct the file or fetch it again.") from error


class StoredTensors:
    """The tensors of a folder's safetensors files, by name; each is read when it is taken."""

    def __init__(self, folder: Path, family: Family) -> None:
        self.folder, self.family = folder, family
        self.files: dict[str, Path] = {}
        for path in _weight_files(folder):
            with _opened(path) as file:
                self.files |= dict.fromkeys(file.keys(), path)
        self.names = {self._full(name): name for name in self.files}
        self.taken: set[str] = set()

    def _full(self, name: str) -> str:
        """The name with the body's prefix, which some published GPT-2 files leave out."""
        body = self.family.body
        bare = not any(stored.startswith(body) for stored in self.files)
        return f"{body}{name}" if bare and not name.startswith(("lm_head.", "score.")) else name

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        if name not in self.names:
            raise ModelFolderError(f"{self.folder} lacks the tensor {name}, which its config.json implies.")
        stored = self.names[name]
        with _opened(self.files[stored]) as file:
            tensor: Tensor = file.get_tensor(stored)
        self.taken.add(name)
        if tuple(tensor.shape) != shape:
            raise ModelFolderError(
                f"{self.folder}: {name} has the shape {tuple(tensor.shape)}, where config.json implies {shape}; "
                "the weights and the config belong to different models."
            )
        return tensor

    def refuse_leftovers(self, config: ModelConfig) -> None:
        passed = self.family.buffers + (("lm_head.weight",) if config.tied else ())
        left = sorted(name for name in self.names if name not in self.taken and not name.endswith(passed))
        if left:
            raise ModelFolderError(
                f"{self.folder}: config.json leaves no place for the tensor {left[0]}"
                f"{f' and {len(left) - 1} others' if len(left) > 1 else ''}; correct the config or the weights."
            )


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ModelFolderError(
            f"{folder} has no model.safetensors; only safetensors are read, convert other weights first."
        )
    try:
        paths = [
            folder / name
            for name in sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFolderError(f"{index} is not a list of weight files; fetch it again.") from error
    for path in paths:
        if path.parent != folder or not path.is_file():
            raise ModelFolderError(f"{index} names {path.name}, which is not in the folder; fetch it.")
    return paths


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelFolderError(f"{path} cannot be read ({error}); fetch or write the file again.") from error


@torch.no_grad()
def _fill(
    model: Transformer, stored: StoredTensors, family: Family, *, headless: bool = False
) -> Transformer:
    """Copy every parameter from `stored`; a headless one may lack its untied unembedding: the embedding stands in."""
    parameters = dict(model.named_parameters())
    for ours, source in family.sources(model.config).items():
        if headless and ours == "unembedding.weight" and source.names[0] not in stored.names:
            parameters[ours].copy_(parameters["embedding.weight"])
            continue
        target = parameters[ours]
        rows = rows_of(model, ours) if len(source.names) > 1 else [target.shape[0]]
        shapes = [(count, *target.shape[1:]) for count in rows]
        pieces = [
            stored.take(name, shape[::-1] if source.transposed else shape)
            for name, shape in zip(source.names, shapes, strict=True)
        ]
        target.copy_(torch.cat([piece.T if source.transposed else piece for piece in pieces]))
    return model


def _in_dtype(model: Transformer, dtype: torch.dtype) -> Transformer:
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.compute_dtype = dtype
    return model
