"""A model served with weights of 8 or 4 bits: a quarter to a half of the bytes that bf16 reads for a token.

Every matrix lies in groups of 32 columns with a scale each (`groups.py`), a tied embedding in 8 bits too, and a router
of experts as it is. On a CPU its
products round activations to 8 bits, per group as well (`compiled_groups.py`); elsewhere the weights are widened.

For models to be served: nothing learns afterwards. Left out: keys and values of few bits. Measured: docs/engine.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ziggurat.errors import UsageError
from ziggurat.memory import give_back_freed_memory
from ziggurat.model.cpu import kernels
from ziggurat.model.cpu.groups import COMPILED, GroupedLinear, put_grouped
from ziggurat.model.experts import mixtures_of
from ziggurat.model.hub.adapters import is_adapter
from ziggurat.model.hub.blocks import load_grouped
from ziggurat.model.hub.load import load_model, stored_dtype
from ziggurat.model.layers import Linear
from ziggurat.model.transformer import Transformer

BITS = {"int8": 8, "int4": 4}
"""What `--weights` may be beside auto."""


def load_to_serve(
    folder: Path,
    dtype: torch.dtype,
    weights: str = "auto",
    *,
    base: Path | None = None,
    device: torch.device | None = None,
) -> Transformer:
    """The Transformer of `folder`, computing in `dtype` on `device`; nothing may learn from it. `base`: of an adapter.

    Raises UsageError for other `weights` than auto, int8 and int4.
    """
    if weights == "auto":
        return load_model(folder, dtype=dtype, base=base).to(device or "cpu")
    if weights not in BITS:
        raise UsageError(
            f"--weights is {weights!r}; it must be auto (the dtype computed in) or {' or '.join(BITS)}."
        )
    if is_adapter(folder):
        model = load_model(folder, dtype=stored_dtype(base or folder), base=base).to(device or "cpu")
        quantize(model, dtype, BITS[weights])
        model.adapter = None  # the base of virtual tokens would keep its weights
    else:
        model = load_grouped(folder, dtype, BITS[weights]).to(device or "cpu")
    give_back_freed_memory()  # of matrices on their way, and of whatever was loaded before: 58 MiB beside SmolLM2
    return model


def quantize(model: Transformer, dtype: torch.dtype | None = None, bits: int = 8) -> None:
    """Round every matrix of `model` to 8 or 4 bits a weight, in place, and compute in `dtype`.

    Best given the weights as they are stored: those that were rounded to bf16 first are rounded twice.
    `model` must be on the device it serves on.
    """
    dtype = dtype or model.compute_dtype
    tied = model.config.tied and model.unembedding.weight is model.embedding.weight
    matrices = [(name, module) for name, module in model.named_modules() if isinstance(module, Linear)]
    for name, module in matrices:
        both = tied and name == "unembedding"
        matrix = GroupedLinear.rounded(module.weight.detach(), None, 8 if both else bits)
        put_grouped(model, "embedding.weight" if both else f"{name}.weight", matrix)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.requires_grad_(False)
    model.compute_dtype = dtype


def numerics(model: Transformer) -> str:
    """In words, what a model's products are computed in."""
    dtype = str(model.compute_dtype).removeprefix("torch.")
    block: Any = model.blocks[0]
    matrix: nn.Module = getattr(block.mlp, "down", block.attention.out)  # a layer with experts has no `down`
    if not isinstance(matrix, GroupedLinear):
        return dtype
    rounds = matrix.strips.is_cpu and model.compute_dtype in COMPILED and kernels.group_loops() is not None
    return f"{dtype}, int{matrix.bits} weights" + (", int8 activations in matrix products" if rounds else "")


def bytes_a_token(model: Transformer) -> int:
    """Of the matrices that are read for every token; of a layer's experts those that one token passes."""

    def read(modules: Iterable[nn.Module]) -> int:
        total = 0
        for module in modules:
            if isinstance(module, GroupedLinear):
                total += module.code_bytes
            elif isinstance(module, Linear):
                total += module.weight.numel() * model.compute_dtype.itemsize
        return total

    alike = [(one.config, read(one.experts.modules())) for one in mixtures_of(model)]
    passed_over = sum(whole - whole * e.active // e.count for e, whole in alike)
    return read(model.modules()) - passed_over


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights, codes and scales; second copies in an order that is faster are not counted."""
    stored = sum(p.numel() * p.element_size() for p in model.parameters())
    return stored + sum(getattr(module, "code_bytes", 0) for module in model.modules())
