"""bf16 matrices in the order in which a CPU's matrix unit reads them: 1.1 to 1.9 times as fast for up to 16 rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pack(weight: Tensor) -> Tensor:
    """(out, in), bf16, on a CPU -> the same for `packed_linear`; its layout is mkldnn's own."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, 16)
    return packed


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """x (N, in) -> (N, out)."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return y


def _can_pack() -> bool:
    """Whether this build of torch and this processor multiply packed bf16 matrices with the result of plain ones."""
    generator = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(rows, 32, generator=generator).bfloat16() for rows in (32, 2))
    try:
        packed_bf16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return packed_bf16 and torch.equal(packed_linear(x, pack(weight), None), F.linear(x, weight))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


PACKS = _can_pack()
