# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""The innermost loop of products with weights of 8 and 4 bits: 16 outputs of a few rows, in vector instructions.

A matrix lies in strips of 16 outputs; along the input, 32 columns share a scale (the blocks of llama.cpp's Q8_0 and
Q4_1, `groups.py`). A strip of G groups, its first byte at a multiple of 64:

    scales    G x 16 fp16, filled up to a multiple of 64 bytes
    least     the same again, 4 bits only: what is added to every weight of the group
    codes     8 bits: 8 vectors of 64 bytes a group; byte 4 r + i of vector k is column 4 k + i of output r, plus 128
              4 bits: 4 vectors a group; the low halves are vector 2 k of 8 bits, the high halves vector 2 k + 1

A row of activations is rounded per group too, to steps of its own (`compiled_groups.round_row`), so that

    y = sum over groups of   scale * step * (sum of code * digit)   +   least * step * (sum of digits)

The inner sum is of integers and exact; the outer one is made in fp32, group by group, one fused multiply-add each. So
a row's result does not depend on how many rows there are, nor on which of the loops below computes it:

    512 bits   x86 with AVX-512 VNNI: one instruction multiplies 64 codes by digits and adds them up by fours
    256 bits   x86 with AVX-VNNI: the same by 32
    plain      anywhere else: numba's own loops, which LLVM turns into what the processor has

LLVM ends the process where it is asked for an instruction that the target lacks, so the target's features are looked
up first. Instructions: Intel 64 and IA-32 Architectures Software Developer's Manual, vol. 2, VPDPBUSD.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils

from ziggurat.model.cpu.compiled_numbers import config, intrinsic

_numba: Any = numba
carray = _numba.carray  # type checkers do not know it
STRIP = 16
"""Outputs of a strip."""
GROUP = 32
"""Columns that share a scale."""
BITS8, BITS4 = 8, 4
TILE = 8
"""Rows of activations that lie together: group by group, and within a group row by row."""
SIZES = (TILE, 4, 2, 1)
"""Rows that a vector loop takes at once."""

_INT8, _INT32, _INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _vector_bits() -> int:
    """512, 256, or 0 where there are only the plain loops."""
    if (
        config.CPU_NAME or config.CPU_FEATURES is not None or config.DISABLE_JIT
    ):  # compiled for another processor
        return 0
    try:
        has = llvmlite.binding.get_host_cpu_features()
    except RuntimeError:
        return 0
    if not (has.get("fma") and has.get("f16c")):
        return 0
    if has.get("avx512vnni") and has.get("avx512bw"):
        return 512
    return 256 if has.get("avxvnni") or (has.get("avx512vnni") and has.get("avx512vl")) else 0


VECTOR_BITS = _vector_bits()


# --- single numbers ---------------------------------------------------------------------------------------------------


@intrinsic
def fused(_typing: Any, _a: Any, _b: Any, _c: Any) -> Any:
    """a * b + c, rounded once."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        signature = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 3)
        return builder.call(
            cgutils.get_or_insert_function(builder.module, signature, "llvm.fma.f32"), arguments
        )

    return types.float32(types.float32, types.float32, types.float32), generate


@intrinsic
def from_half(_typing: Any, _number: Any) -> Any:
    """uint16 holding a finite fp16 number -> float32."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = builder.zext(arguments[0], _INT32)
        magnitude = builder.shl(builder.and_(word, _INT32(0x7FFF)), _INT32(13))
        exact = builder.fmul(builder.bitcast(magnitude, ir.FloatType()), ir.FloatType()(2.0**112))
        sign = builder.shl(builder.and_(word, _INT32(0x8000)), _INT32(16))
        return builder.bitcast(builder.or_(builder.bitcast(exact, _INT32), sign), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def at_address(_typing: Any, _address: Any) -> Any:
    """int64 -> a pointer, for `numba.carray`."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


# --- vector loops ---------------------------------------------------------------------------------------------------


class _Vectors:
    """Writes the loop of one tile. Addresses are integers, offsets bytes."""

    def __init__(self, builder: Any, bits: int) -> None:
        self.builder, self.lanes = builder, bits // 32
        self.ints = ir.VectorType(_INT32, self.lanes)
        self.floats = ir.VectorType(ir.FloatType(), self.lanes)
        self.halves = ir.VectorType(ir.HalfType(), self.lanes)
        name = f"llvm.x86.avx512.vpdpbusd.{bits}"
        signature = ir.FunctionType(self.ints, [self.ints] * 3)
        self.multiply = cgutils.get_or_insert_function(builder.module, signature, name)
        fma = f"llvm.fma.v{self.lanes}f32"
        self.fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.floats, [self.floats] * 3), fma
        )

    def load(self, kind: Any, address: Any, offset: int = 0) -> Any:
        where = self.builder.add(address, _INT64(offset)) if offset else address
        return self.builder.load(self.builder.inttoptr(where, kind.as_pointer()), align=2)

    def spread(self, kind: Any, address: Any, offset: int = 0) -> Any:
        """One number of memory in every lane."""
        vector = ir.VectorType(kind, self.lanes)
        one = self.builder.insert_element(
            ir.Constant(vector, ir.Undefined), self.load(kind, address, offset), _INT32(0)
        )
        zeros = ir.Constant(ir.VectorType(_INT32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

    def same(self, number: int) -> Any:
        return ir.Constant(self.ints, [number] * self.lanes)

    def codes(self, address: Any, k: int, bits: int) -> Any:
        """Vector k of a group, a code a byte; `address`: of the group's codes, or of the half that is computed."""
        if bits == BITS8:
            return self.load(self.ints, address, 64 * k)
        both = self.load(self.ints, address, 64 * (k // 2))
        both = self.builder.lshr(both, self.same(4)) if k % 2 else both
        return self.builder.and_(both, self.same(0x0F0F0F0F))


def _tile(bits: int, rows: int, vector_bits: int) -> Any:
    """tile(strip, groups, digits, steps, offsets, shares, out): addresses of a strip, of `rows` rows within a tile of
    rounded ones (`compiled_groups.round_row`), and of (rows, 16) fp32 results."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _write_tile(builder, arguments, bits, rows, vector_bits)
        return context.get_dummy_value()

    @intrinsic
    def tile(
        _typing: Any, strip: Any, groups: Any, digits: Any, steps: Any, offsets: Any, shares: Any, out: Any
    ) -> Any:
        return types.void(strip, groups, digits, steps, offsets, shares, out), generate

    return tile


def _write_tile(builder: Any, arguments: Any, bits: int, rows: int, vector_bits: int) -> None:
    strip, groups, digits, steps, offsets, shares, out = arguments
    add, times = builder.add, builder.mul
    vectors = _Vectors(builder, vector_bits)
    numbers = builder.and_(add(times(groups, _INT64(2 * STRIP)), _INT64(63)), _INT64(-64))  # bytes of scales
    least = add(strip, numbers)
    codes = add(least, numbers) if bits == BITS4 else least
    group_bytes = GROUP * STRIP * bits // 8
    for part in range(STRIP // vectors.lanes):
        lane = part * vectors.lanes
        totals = [cgutils.alloca_once_value(builder, ir.Constant(vectors.floats, None)) for _ in range(rows)]
        for total in totals:
            builder.store(ir.Constant(vectors.floats, None), total)
        with cgutils.for_range(builder, groups) as loop:
            g = loop.index
            own = add(add(codes, times(g, _INT64(group_bytes))), _INT64(4 * lane))
            half = add(times(g, _INT64(2 * STRIP)), _INT64(2 * lane))
            scale = builder.fpext(vectors.load(vectors.halves, add(strip, half)), vectors.floats)
            place = times(g, _INT64(TILE))  # of the group of the first row
            own_digits = add(digits, times(place, _INT64(GROUP)))
            own_steps, own_offsets, own_shares = (
                add(numbers, times(place, _INT64(4))) for numbers in (steps, offsets, shares)
            )
            wholes = [
                vectors.spread(_INT32, own_offsets, 4 * m) if bits == BITS8 else vectors.same(0)
                for m in range(rows)
            ]
            for k in range(GROUP // 4):
                weights = vectors.codes(own, k, bits)
                for m in range(rows):
                    four = vectors.spread(_INT32, own_digits, GROUP * m + 4 * k)
                    wholes[m] = builder.call(vectors.multiply, [wholes[m], weights, four])
            for m in range(rows):
                step = vectors.spread(ir.FloatType(), own_steps, 4 * m)
                product = builder.fmul(builder.sitofp(wholes[m], vectors.floats), step)
                new = builder.call(vectors.fma, [product, scale, builder.load(totals[m])])
                if bits == BITS4:
                    lowest = builder.fpext(vectors.load(vectors.halves, add(least, half)), vectors.floats)
                    share = vectors.spread(ir.FloatType(), own_shares, 4 * m)
                    new = builder.call(vectors.fma, [share, lowest, new])
                builder.store(new, totals[m])
        for m, total in enumerate(totals):
            where = add(out, _INT64(4 * (m * STRIP + lane)))
            builder.store(builder.load(total), builder.inttoptr(where, vectors.floats.as_pointer()), align=4)


# --- the plain loop ---------------------------------------------------------------------------------------------------


@njit(nogil=True, cache=True)
def plain_tile(bits, strip, groups, rows, digits, steps, offsets, shares, out):
    """As the vector loops, in numba's own terms."""
    numbers = (groups * 2 * STRIP + 63) // 64 * 64
    codes_at = strip + (2 * numbers if bits == BITS4 else numbers)
    scales = carray(at_address(strip), (groups, STRIP), np.uint16)
    least = carray(at_address(strip + numbers), (groups, STRIP), np.uint16)  # read for 4 bits only
    vectors = GROUP // 4 if bits == BITS8 else GROUP // 8
    codes = carray(at_address(codes_at), (groups, vectors, STRIP, 4), np.uint8)
    row_digits = carray(at_address(digits), (groups, TILE, GROUP // 4, 4), np.int8)
    row_steps = carray(at_address(steps), (groups, TILE), np.float32)
    row_offsets = carray(at_address(offsets), (groups, TILE), np.int32)
    row_shares = carray(at_address(shares), (groups, TILE), np.float32)
    totals = carray(at_address(out), (rows, STRIP), np.float32)
    whole = np.empty(STRIP, np.int32)
    for m in range(rows):
        totals[m, :] = np.float32(0)
        for g in range(groups):
            whole[:] = row_offsets[g, m] if bits == BITS8 else np.int32(0)
            for k in range(GROUP // 4):
                for r in range(STRIP):
                    for i in range(4):
                        if bits == BITS8:
                            code = np.int32(codes[g, k, r, i])
                        else:
                            code = np.int32((codes[g, k // 2, r, i] >> np.uint8(4 * (k % 2))) & np.uint8(15))
                        whole[r] += code * np.int32(row_digits[g, m, k, i])
            for r in range(STRIP):
                product = np.float32(whole[r]) * row_steps[g, m]
                totals[m, r] = fused(product, from_half(scales[g, r]), totals[m, r])
                if bits == BITS4:
                    totals[m, r] = fused(row_shares[g, m], from_half(least[g, r]), totals[m, r])


# --- either -----------------------------------------------------------------------------------------------------------

if VECTOR_BITS:
    _EIGHT_8, _FOUR_8, _TWO_8, _ONE_8 = (_tile(BITS8, rows, VECTOR_BITS) for rows in SIZES)
    _EIGHT_4, _FOUR_4, _TWO_4, _ONE_4 = (_tile(BITS4, rows, VECTOR_BITS) for rows in SIZES)

    @njit(nogil=True, cache=True)
    def tile(bits, strip, groups, rows, digits, steps, offsets, shares, out):
        """`rows` (1, 2, 4 or 8) rows times a strip of `bits` a weight -> (rows, 16) fp32 at the address `out`."""
        if bits == BITS8:
            if rows == 8:
                _EIGHT_8(strip, groups, digits, steps, offsets, shares, out)
            elif rows == 4:
                _FOUR_8(strip, groups, digits, steps, offsets, shares, out)
            elif rows == 2:
                _TWO_8(strip, groups, digits, steps, offsets, shares, out)
            else:
                _ONE_8(strip, groups, digits, steps, offsets, shares, out)
        elif rows == 8:
            _EIGHT_4(strip, groups, digits, steps, offsets, shares, out)
        elif rows == 4:
            _FOUR_4(strip, groups, digits, steps, offsets, shares, out)
        elif rows == 2:
            _TWO_4(strip, groups, digits, steps, offsets, shares, out)
        else:
            _ONE_4(strip, groups, digits, steps, offsets, shares, out)

else:
    tile = plain_tile
