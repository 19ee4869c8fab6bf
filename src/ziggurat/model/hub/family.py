"""What one Hugging Face family is to us: two config translations and a table of tensor names.

A stored tensor is ours up to three harmless changes, which `Source` names: it may be transposed, have its rows in
another order, or hold a gain less one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer, matrix_parts


class Unreadable(ValueError):
    """A config.json asks for something our Transformer does not have; the loader adds the folder."""


@dataclass(frozen=True)
class Source:
    """Where one of our parameters lies in their file: tensors stacked by rows, each transposed first if so stored."""

    names: tuple[str, ...]
    transposed: bool = False
    offset: float = 0.0
    """What is added to the stored numbers (Gemma stores gains less 1)."""
    rows: Tensor | None = field(default=None, compare=False)
    """Our row of each stored row, where the orders differ."""


@dataclass(frozen=True)
class Family:
    model_types: tuple[str, ...]
    """Values of `model_type` in config.json that this family reads."""
    body: str
    """Prefix of the body's tensors, e.g. `model.`; some published files lack it."""
    reads: Callable[[Mapping[str, Any]], ModelConfig]
    """Their config.json -> ours; raises Unreadable."""
    writes: Callable[[ModelConfig], dict[str, Any] | None]
    """Ours -> their config.json (with `model_type` and `architectures`), or None if this family cannot express it."""
    sources: Callable[[ModelConfig], dict[str, Source]]
    """Our parameter name -> where it is stored."""
    buffers: tuple[str, ...] = ()
    """Endings of stored tensors that are not weights and are passed over."""


def rows_of(model: Transformer, ours: str) -> list[int]:
    """Rows of each part stacked in our parameter: several for q, k, v and gate, up (their biases too)."""
    stem = ours.rpartition(".")[0]
    whole = model.get_parameter(ours).shape[0]
    return list(matrix_parts(model.config).get(f"{stem}.weight", (whole,)))


def expect(raw: Mapping[str, Any], key: str, allowed: tuple[Any, ...], default: Any) -> Any:
    """The value of `key`, which must be one of `allowed`."""
    value = raw.get(key, default)
    if value not in allowed:
        raise Unreadable(f"{key} is {value!r}, where only {' or '.join(map(repr, allowed))} can be computed")
    return value


def number(raw: Mapping[str, Any], key: str) -> Any:
    """The value of a required `key`."""
    if raw.get(key) is None:
        raise Unreadable(f"{key} is missing")
    return raw[key]
