# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""Rows of activations times a matrix of 8 or 4 bits a weight, compiled by numba: each strip of it is read once.

Activations are rounded to 8 bits as llama.cpp does for its Q8_0 and Q4_1: 32 neighbours share a step, so that an
outlier makes only its own neighbours coarse. A whole row under one step cost SmolLM2-135M 3.6 % of perplexity, since
what goes into `mlp.down` has outliers of 39 times its root mean square (docs/log/serving.md).

Where that is too coarse (`groups.FINE`) a row goes through as two rows, whose digits are 15 bits together.

Legend: M rows, C columns, G = C / 32 groups (the last one filled up with zeros), N outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.core.errors import NumbaError
from torch import Tensor

from ziggurat.model.cpu.compiled_numbers import bits, intrinsic, narrow_for, share_threads, widen
from ziggurat.model.cpu.compiled_tiles import (
    BITS4,
    BITS8,
    GROUP,
    SIZES,
    STRIP,
    TILE,
    at_address,
    carray,
    from_half,
    plain_tile,
    tile,
)

DIGITS = 127
"""The largest digit of an activation."""
STRIPS_AT_ONCE = 4
"""Strips that a thread takes at a time."""


@intrinsic
def _magnitude(_typing: Any, _number: Any) -> Any:
    """float32 -> its absolute value as int32 bits, which are in the same order; that of NaN is the greatest."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = builder.bitcast(arguments[0], ir.IntType(32))
        return builder.and_(word, ir.IntType(32)(0x7FFFFFFF))

    return types.int32(types.float32), generate


@intrinsic
def _as_float(_typing: Any, _word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _nearest(_typing: Any, _number: Any) -> Any:
    """float32 within -127.5..127.5 -> int32, ties to even."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        signature = ir.FunctionType(ir.FloatType(), [ir.FloatType()])
        rint = cgutils.get_or_insert_function(builder.module, signature, "llvm.rint.f32")
        return builder.fptosi(builder.call(rint, arguments), ir.IntType(32))

    return types.int32(types.float32), generate


@njit(nogil=True, cache=True)
def _put(m, g, digit_step, total, steps, offsets, shares):
    at, lane = m // TILE, m % TILE
    steps[at, g, lane], shares[at, g, lane] = digit_step, digit_step * np.float32(total)
    offsets[at, g, lane] = -np.int32(128) * total


@njit(nogil=True, cache=True)
def round_row(row, m, first, last, fine, digits, steps, offsets, shares):
    """Groups `first` to `last` - 1 of row m of x, (C) fp32 or bf16 bits, into its place among tiles of 8 rows.

    digits (tiles, G, 8, 32) int8, steps (tiles, G, 8), offsets as steps, int32, shares as steps. An offset undoes the
    128 in codes of 8 bits, times the digits; a share is step * their sum. `fine`: the row is the sum of two rows, 2 m
    and 2 m + 1, of which the second holds in steps of 1 / 254 what the first leaves.
    """
    C, m = len(row), np.int64(m) * (2 if fine else 1)
    for g in range(first, last):
        start, stop = g * GROUP, min(C, (g + 1) * GROUP)
        largest = np.int32(0)
        for c in range(start, stop):
            largest = max(largest, _magnitude(widen(row[c])))
        scale = _as_float(largest)
        each = np.float32(DIGITS) / scale if scale > np.float32(1e-30) else np.float32(0)
        step, total, rest_total = scale / np.float32(DIGITS), np.int32(0), np.int32(0)
        own, rest = digits[m // TILE, g, m % TILE], digits[(m + 1) // TILE % len(digits), g, (m + 1) % TILE]
        for c in range(start, stop):
            digit = _nearest(widen(row[c]) * each)
            own[c - start] = np.int8(digit)
            total += digit
        for c in range(stop - start, GROUP):
            own[c] = np.int8(0)
        _put(m, g, step, total, steps, offsets, shares)
        if fine:
            for c in range(start, stop):
                left = widen(row[c]) * each - np.float32(own[c - start])
                digit = _nearest(left * np.float32(2 * DIGITS))
                rest[c - start] = np.int8(digit)
                rest_total += digit
            for c in range(stop - start, GROUP):
                rest[c] = np.int8(0)
            _put(m + 1, g, step / np.float32(2 * DIGITS), rest_total, steps, offsets, shares)


@njit(nogil=True, cache=True)
def room(M, C):
    """For M rounded rows of C columns: digits, steps, offsets, shares."""
    tiles, G = (M + TILE - 1) // TILE, (C + GROUP - 1) // GROUP
    digits, steps = np.empty((tiles, G, TILE, GROUP), np.int8), np.empty((tiles, G, TILE), np.float32)
    return digits, steps, np.empty((tiles, G, TILE), np.int32), np.empty((tiles, G, TILE), np.float32)


@njit(nogil=True, cache=True)
def strips_times_rows(kind, matrix, strip_bytes, first, last, fine, digits, steps, offsets, shares, bias, y):
    """y (M, N), columns of strips `first` to `last` - 1: M rounded rows times these strips of the matrix at the address
    `matrix`; bias (N) fp32, or empty. `fine`: each row is two.
    """
    G, (M, N) = steps.shape[1], y.shape
    if fine:
        M *= 2
    digits_at, steps_at = digits.ctypes.data, steps.ctypes.data
    offsets_at, shares_at = offsets.ctypes.data, shares.ctypes.data
    out = np.empty((TILE, STRIP), np.float32)
    out_at = out.ctypes.data
    for strip in range(first, last):
        columns = min(STRIP, N - strip * STRIP)
        m = 0
        while m < M:
            rows = TILE
            while rows > M - m:
                rows //= 2
            place = m // TILE * G * TILE + m % TILE
            tile(
                kind, matrix + strip * strip_bytes, G, rows, digits_at + place * GROUP, steps_at + place * 4,
                offsets_at + place * 4, shares_at + place * 4, out_at,
            )  # fmt: skip
            each = 2 if fine else 1
            for i in range(0, rows, each):
                row = y[(m + i) // each, strip * STRIP : strip * STRIP + columns]
                for n in range(columns):
                    number = out[i, n] + out[i + 1, n] if fine else out[i, n]
                    row[n] = narrow_for(y, number + bias[strip * STRIP + n] if len(bias) else number)
            m += rows


@njit(parallel=True, nogil=True, cache=True)
def _times_rows(kind, matrix, strip_bytes, strips, fine, x, bias, y):
    M, C = x.shape
    digits, steps, offsets, shares = room(2 * M if fine else M, C)
    for m in prange(M):
        round_row(x[m], m, 0, steps.shape[1], fine, digits, steps, offsets, shares)
    for part in prange((strips + STRIPS_AT_ONCE - 1) // STRIPS_AT_ONCE):
        first = part * STRIPS_AT_ONCE
        last = min(strips, first + STRIPS_AT_ONCE)
        strips_times_rows(
            kind, matrix, strip_bytes, first, last, fine, digits, steps, offsets, shares, bias, y
        )


@njit(nogil=True, cache=True)
def _rows(kind, matrix, strip_bytes, ids, y):
    """y (n, C) fp32 = rows `ids` of a matrix."""
    n, C = y.shape
    G = (C + GROUP - 1) // GROUP
    numbers = (G * 2 * STRIP + 63) // 64 * 64
    for i in range(n):
        strip, lane = matrix + ids[i] // STRIP * strip_bytes, ids[i] % STRIP
        scales = carray(at_address(strip), (G, STRIP), np.uint16)
        least = carray(at_address(strip + numbers), (G, STRIP), np.uint16)  # read for 4 bits only
        codes_at = strip + (2 * numbers if kind == BITS4 else numbers)
        vectors = GROUP // 4 if kind == BITS8 else GROUP // 8
        codes = carray(at_address(codes_at), (G, vectors, STRIP, 4), np.uint8)
        for c in range(C):
            g, k = c // GROUP, c % GROUP // 4
            scale = from_half(scales[g, lane])
            if kind == BITS8:
                y[i, c] = (np.float32(codes[g, k, lane, c % 4]) - np.float32(128)) * scale
            else:
                code = (codes[g, k // 2, lane, c % 4] >> np.uint8(4 * (k % 2))) & np.uint8(15)
                y[i, c] = np.float32(code) * scale + from_half(least[g, lane])


def rows(ids: Tensor, strips: Tensor, kind: int, C: int) -> Tensor:
    """Rows of a matrix: ids (n) -> (n, C) fp32."""
    y = torch.empty(len(ids), C)
    _rows(kind, strips.data_ptr(), strips.shape[1], ids.numpy(), y.numpy())
    return y


_NO_BIAS = np.empty(0, np.float32)


def linear_rows(
    x: Tensor, strips: Tensor, kind: int, N: int, bias: Tensor | None, *, fine: bool = False
) -> Tensor:
    """x (M, C) bf16 or fp32, strips (S, bytes) uint8 as `groups.pack` lays them, `kind` 8 or 4 -> (M, N) as x."""
    x = x.contiguous()
    y = torch.empty(len(x), N, dtype=x.dtype)
    added = _NO_BIAS if bias is None else bias.detach().float().numpy()
    share_threads()
    _times_rows(kind, strips.data_ptr(), strips.shape[1], len(strips), fine, bits(x), added, bits(y))
    return y


def work() -> bool:
    """Whether they compile and run here, and multiply rightly, at the largest sums too."""
    try:
        if not all(_agrees(kind, rows) for kind in (BITS8, BITS4) for rows in SIZES):
            return False
        x, ones = torch.ones(3, 2 * GROUP, dtype=torch.bfloat16), 2 * STRIP * 2
        strips = torch.full((1, ones + 2 * GROUP * STRIP), 255, dtype=torch.uint8)  # codes of 127
        strips[0, :ones].view(torch.float16).fill_(1.0)
        expected = torch.full((3, 3), 2.0 * GROUP * DIGITS)
        return torch.equal(linear_rows(x, strips, BITS8, 3, None), expected.bfloat16())
    except (NumbaError, OSError):
        return False


def _agrees(kind: int, rows: int) -> bool:
    """Whether the loops chosen for this processor give the plain one's numbers bit for bit."""
    G, generator = 3, np.random.default_rng(0)
    strip = np.zeros(128 * (1 if kind == BITS8 else 2) + G * GROUP * STRIP * kind // 8, np.uint8)
    strip[:] = generator.integers(0, 120, len(strip))  # no scale is infinite
    digits = generator.integers(-DIGITS, DIGITS + 1, (G, TILE, GROUP)).astype(np.int8)
    digits[:, 0], steps = DIGITS, generator.random((G, TILE), np.float32)
    totals = digits.sum(-1, dtype=np.int32)
    offsets, shares = -128 * totals, steps * totals.astype(np.float32)
    found, plain = np.zeros((2, rows, STRIP), np.float32)
    addresses = [array.ctypes.data for array in (digits, steps, offsets, shares)]
    loops: tuple[Any, Any] = tile, plain_tile
    for loop, out in zip(loops, (found, plain), strict=True):
        loop(kind, strip.ctypes.data, G, rows, *addresses, out.ctypes.data)
    return np.array_equal(found, plain)
