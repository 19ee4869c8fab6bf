# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""One or two rows times an int8 matrix on a CPU, compiled by numba: each weight is read once, as the byte that it is.

Activations are rounded to 10 to 15 bits (as many as their sum with 7-bit weights leaves in 32), finer than bf16 itself,
so that products and sums are integers: twice as many a vector as fp32 has, and exact. 134M parameters, 2 cores, the
matrices of one token: 3.7 ms, where fbgemm (`int8.py`) takes 6.0, and bf16 6.4 to 9.6.

Legend: M rows, C columns, N outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, prange, types
from torch import Tensor

from ziggurat.model.cpu.compiled_decoding import ROWS_AT_ONCE
from ziggurat.model.cpu.compiled_numbers import bits, intrinsic, narrow, share_threads, widen

MOST_BITS = 15
"""Of an activation, without its sign."""


@intrinsic
def multiply_add(_typing: Any, _total: Any, _x: Any, _code: Any) -> Any:
    """int32 + int16 * int8 -> int32, which numba itself would widen to 64 bits."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        x, code = (builder.sext(argument, ir.IntType(32)) for argument in arguments[1:])
        return builder.add(arguments[0], builder.mul(x, code))

    return types.int32(types.int32, types.int16, types.int8), generate


@intrinsic
def nearest(_typing: Any, _number: Any) -> Any:
    """float32 -> int16, ties to even."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        rint = builder.module.declare_intrinsic("llvm.rint", [ir.FloatType()])
        return builder.fptosi(builder.call(rint, [arguments[0]]), ir.IntType(16))

    return types.int16(types.float32), generate


@njit(nogil=True, cache=True)
def _rounded(x, largest_digit, digits, steps):
    """x (M, C) bf16 -> digits (M, C) int16 in steps (M) of their own."""
    for m in range(len(x)):
        largest = np.float32(1e-30)
        for c in range(x.shape[1]):
            largest = max(largest, abs(widen(x[m, c])))
        each = largest_digit / largest
        for c in range(x.shape[1]):
            digits[m, c] = nearest(widen(x[m, c]) * each)
        steps[m] = largest / largest_digit


@njit(parallel=True, nogil=True, cache=True)
def _product(codes, scales, digits, steps, y):
    """y (M, N) bf16 = digits (M, C) * steps (M) times codes (N, C) * scales (N)."""
    N, C = codes.shape
    for block in prange((N + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE):
        for n in range(block * ROWS_AT_ONCE, min(N, (block + 1) * ROWS_AT_ONCE)):
            row = codes[n]
            for m in range(len(digits)):
                own, total = digits[m], np.int32(0)
                for c in range(C):
                    total = multiply_add(total, own[c], row[c])
                y[m, n] = narrow(np.float32(total) * steps[m] * scales[n])


@njit(nogil=True, cache=True)
def _times_rows(codes, scales, x, largest_digit, y):
    digits, steps = np.empty(x.shape, np.int16), np.empty(len(x), np.float32)
    _rounded(x, largest_digit, digits, steps)
    _product(codes, scales, digits, steps, y)


def linear_rows(x: Tensor, codes: Tensor, scales: Tensor) -> Tensor:
    """x (M, C) bf16, codes (N, C) int8, scales (N) fp32 -> (M, N) bf16."""
    y = torch.empty(len(x), len(codes), dtype=torch.bfloat16)
    digit_bits = min(MOST_BITS, 31 - 7 - (x.shape[1] - 1).bit_length())
    share_threads()
    _times_rows(
        codes.numpy(), scales.numpy(), bits(x.contiguous()), np.float32((1 << digit_bits) - 1), bits(y)
    )
    return y


def work() -> bool:
    """Whether they compile, run and are right here, at sums near the largest too."""
    x = torch.ones(2, 300, dtype=torch.bfloat16)
    x[1] = torch.linspace(-3, 3, 300)
    codes = torch.full((70, 300), 127, dtype=torch.int8)
    codes[1::2] = -127
    y = linear_rows(x, codes, torch.ones(70))
    return torch.allclose(y.float(), x.float() @ codes.float().T, rtol=0.01, atol=1)
