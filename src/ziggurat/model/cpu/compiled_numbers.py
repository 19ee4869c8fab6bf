# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""Numbers inside compiled loops: bf16 as 16 bits, an exponential that is computed many at a time; how tensors get in.

numba keeps what it compiled by the file that holds a loop, so after a change here the kept loops that use it are
stale; `make` notices, and compiles them again.

A bf16 number is the upper half of an fp32 one: widened by a shift, narrowed by rounding. The exponential is a
polynomial, since libm's is called number by number: 0.26 against 2.3 ns in loops over 540 numbers (AVX-512).
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numba
import numba.extending
import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir
from numba import njit, types
from torch import Tensor

config: Any = numba.config  # made at run time
config.THREADING_LAYER = "omp"  # the one that several threads may call at once, and torch's own pool
intrinsic: Any = numba.extending.intrinsic  # its own types count the typing context among the arguments


@intrinsic
def widen(_typing: Any, number: Any) -> Any:
    """int16 holding a bf16 number -> float32; a float32 stays what it is."""
    return types.float32(number), _widen if number == types.int16 else _last


@intrinsic
def narrow(_typing: Any, _number: Any) -> Any:
    """float32 -> int16 holding the nearest bf16 number, ties to even."""
    return types.int16(types.float32), _narrow


@intrinsic
def narrow_for(_typing: Any, array: Any, _number: Any) -> Any:
    """float32 -> the number that this array holds for it: narrowed for one of int16, as it is for one of float32."""
    return array.dtype(array, types.float32), _narrow if array.dtype == types.int16 else _last


def _last(_context: Any, _builder: Any, _signature: Any, arguments: Any) -> Any:
    return arguments[-1]


def _widen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    word = builder.zext(arguments[-1], ir.IntType(32))
    return builder.bitcast(builder.shl(word, ir.Constant(ir.IntType(32), 16)), ir.FloatType())


def _narrow(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    def constant(value: int) -> Any:
        return ir.Constant(ir.IntType(32), value)

    word = builder.bitcast(arguments[-1], ir.IntType(32))
    odd = builder.and_(builder.lshr(word, constant(16)), constant(1))
    rounded = builder.add(word, builder.add(odd, constant(0x7FFF)))
    return builder.trunc(builder.lshr(rounded, constant(16)), ir.IntType(16))


@intrinsic
def power_of_two(_typing: Any, _exponent: Any) -> Any:
    """int32 n -> float32 2^n, for -127 < n < 128."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        biased = builder.add(arguments[0], ir.Constant(ir.IntType(32), 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(ir.IntType(32), 23)), ir.FloatType())

    return types.float32(types.int32), generate


@njit(fastmath=True, inline="always")
def exp(x):
    """e^x for -87 < x < 88 (clipped), relative error below 3e-7; unlike libm's it is computed 16 numbers at a time.

    x = (n + f) ln 2 with |f| <= 1/2; 2^f by its Taylor series.
    """
    t = min(max(x, np.float32(-87)), np.float32(88)) * np.float32(1.4426950408889634)
    n = np.floor(t + np.float32(0.5))
    f = (t - n) * np.float32(0.6931471805599453)
    p = np.float32(1 / 720)
    p = p * f + np.float32(1 / 120)
    p = p * f + np.float32(1 / 24)
    p = p * f + np.float32(1 / 6)
    p = p * f + np.float32(0.5)
    p = p * f + np.float32(1)
    p = p * f + np.float32(1)
    return p * power_of_two(np.int32(n))


@njit(fastmath=True, inline="always")
def inverse_rms(row, eps):
    """1 / sqrt(mean(row^2) + eps): the number that RMSNorm multiplies a row by."""
    square = np.float32(0)
    for c in range(len(row)):
        square += widen(row[c]) * widen(row[c])
    return np.float32(1) / np.float32(math.sqrt(square / len(row) + eps))


# --- tensors to arrays -----------------------------------------------------------------------------------------------


def bits(x: Tensor) -> Any:
    """bf16 on a CPU -> the same memory as an int16 array; fp32 -> as it is."""
    x = x.detach()
    return (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).numpy()


def rounded(gains: Tensor, like: Tensor) -> npt.NDArray[np.float32]:
    """Gains in fp32, rounded as the weights beside them are, in training and in decoding alike: so a rollout is scored
    with the gains that it was written with.
    """
    floats: npt.NDArray[np.float32] = gains.detach().to(like.dtype).float().numpy()
    return floats


_caller = threading.local()


def share_threads() -> None:
    """As many threads as torch uses here; numba counts them for each calling thread.

    The first call starts numba's threads, which sets OpenMP's number for torch too: that is put back.
    """
    threads = torch.get_num_threads()
    if getattr(_caller, "threads", 0) != threads:
        numba.set_num_threads(min(threads, config.NUMBA_NUM_THREADS))
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        _caller.threads = threads
