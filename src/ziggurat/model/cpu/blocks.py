"""Which models `compiled_blocks` computes in one call, and the tables that it reads.

A table holds addresses, so it is made anew when a module or a parameter is another one, was written to, or moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu.groups import GroupedLinear
from ziggurat.model.layers import Linear

if TYPE_CHECKING:
    from ziggurat.model.transformer import Transformer

MOST_ROWS = {"plain": 1, "grouped": 1 << 30}
"""Sequences that the one call computes, by the kind of all matrices."""
MATRICES = (("attention", "qkv"), ("attention", "out"), ("mlp", "up"), ("mlp", "down"))


def covered(config: ModelConfig) -> bool:
    """Whether blocks of this shape are what the one call computes."""
    chosen = (config.norm, config.norm_placement, config.activation, config.parallel)
    scaled_alone = config.attention_scale is not None and not config.qk_norm  # not in the gains
    return chosen == ("rmsnorm", "pre", "swiglu", False) and not scaled_alone and config.experts is None


class Table:
    """Of all blocks of a model whose config is `covered`, as they are now."""

    def __init__(self, model: Transformer, loops: Any) -> None:
        """`loops`: compiled_blocks."""
        self.blocks = model.blocks
        self._kept: list[Tensor] = []  # what the addresses point to
        self._places = list(_places(model))
        self._tensors = [it for _, _, it in self._places if isinstance(it, Tensor)]
        self._changing = [it for it in self._tensors if not it.is_inference()]
        self._versions = [it._version for it in self._changing]
        self._addresses = [it.data_ptr() for it in self._tensors]
        kinds = {
            _kind(getattr(getattr(block, part), name)) for block in model.blocks for part, name in MATRICES
        }
        self.most_rows = MOST_ROWS.get(next(iter(kinds)), 0) if len(kinds) == 1 else 0
        """Sequences that the one call computes; 0: none, since these matrices are of other kinds."""
        self.layers: npt.NDArray[np.int64] = np.zeros((model.config.layers, loops.COLUMNS), np.int64)
        if self.most_rows:
            self._fill(model, loops)

    def _fill(self, model: Transformer, loops: Any) -> None:
        config = model.config
        block: Any
        for number, block in enumerate(model.blocks):
            row = self.layers[number]
            row[loops.NORM1], row[loops.NORM2] = (
                self._gain(block.norm1.weight),
                self._gain(block.norm2.weight),
            )
            gains = block.attention.gains()
            row[loops.GAINS] = 0 if gains is None else self._gain(gains)
            own = model.window_table is not None and number in config.windowed
            turns = config.positions == "rotary" and number not in config.unrotated
            row[loops.TURN] = (2 if own else 1) if turns else 0
            for place, (part, name) in enumerate(MATRICES):
                at = loops.MATRICES + place * loops.MATRIX_COLUMNS
                row[at : at + loops.MATRIX_COLUMNS] = self._matrix(getattr(getattr(block, part), name), loops)

    def __deepcopy__(self, memo: object) -> None:
        """A copied model makes its own."""

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return type(None), ()

    def _gain(self, gain: Tensor) -> int:
        """Rounded as the weights are, in fp32."""
        return self._keep(gain.detach().bfloat16().float().contiguous())

    def _keep(self, x: Tensor) -> int:
        self._kept.append(x)
        return x.data_ptr()

    def _matrix(self, matrix: Any, loops: Any) -> tuple[int, ...]:
        bias = 0 if matrix.bias is None else self._gain(matrix.bias)
        if isinstance(matrix, GroupedLinear):
            return matrix.bits, self._keep(matrix.strips), matrix.strips.shape[1], matrix.fine, bias
        return loops.BF16, self._keep(matrix.weight_as(torch.bfloat16)), 0, 0, bias

    # --- is it still true? ------------------------------------------------------------------------------------------

    def fits(self, model: Transformer) -> bool:
        """Whether it is of these blocks and nothing was written to their tensors; for every token, so no more."""
        return model.blocks is self.blocks and [it._version for it in self._changing] == self._versions

    def stands(self, model: Transformer) -> bool:
        """Whether all modules and tensors are still the same ones at the same places; for every prompt."""
        if model.blocks is not self.blocks or any(
            holder.get(name) is not it for holder, name, it in self._places
        ):
            return False
        return [it.data_ptr() for it in self._tensors] == self._addresses


def _places(model: Transformer) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """(dictionary, name, module or tensor) of everything inside the blocks."""
    for block in model.blocks:
        for module in block.modules():
            for holder in (module._modules, module._parameters, module._buffers):
                for name, it in holder.items():
                    yield holder, name, it


def _kind(matrix: Any) -> str:
    if isinstance(matrix, GroupedLinear) and matrix.strips.is_cpu:
        return "grouped"
    return "plain" if isinstance(matrix, Linear) and matrix.weight.is_cpu else "other"
