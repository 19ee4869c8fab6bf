# mypy: allow-untyped-defs, allow-untyped-calls
"""Loops of decoding in bf16 on a CPU, compiled by numba, where torch's kernels are slow.

Writing a token is reading memory: every weight, and every key and value of the sequence, once. torch's products copy
keys that do not lie together and reach half of the memory's speed on one row; these read everything once, where it
lies. They run on the threads of torch's own OpenMP pool, and sum in fp32. Measured in docs/log/serving.md.

bf16 tensors come in as int16 (`compiled_numbers`). numba needs half a second to be imported and, once per machine,
seconds to compile, so nothing here is imported before it is used (`kernels.decoding_loops`). Where numba does not work,
torch's kernels are used.

Legend: B batch, H query heads, K key/value heads, D head width, T tokens in the cache, C columns, N rows.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from numba import njit, prange
from numba.core.errors import NumbaError
from torch import Tensor

from ziggurat.model.cpu import compiled_training
from ziggurat.model.cpu.compiled_numbers import bits, exp, inverse_rms, narrow, rounded, share_threads, widen

Lengths = npt.NDArray[np.int64]
ROWS_AT_ONCE = 64
"""Rows of a matrix that a thread takes at a time."""


# --- a matrix and one row ----------------------------------------------------------------------------------------


@njit(parallel=True, fastmath=True, nogil=True, cache=True)
def _product(weight, x, y):
    """y (N) = weight (N, C) x (C); the weight bf16, the others fp32."""
    N, C = weight.shape
    for block in prange((N + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE):
        for n in range(block * ROWS_AT_ONCE, min(N, (block + 1) * ROWS_AT_ONCE)):
            row = weight[n]
            total = np.float32(0)
            for c in range(C):
                total += x[c] * widen(row[c])
            y[n] = total


@njit(fastmath=True, nogil=True, cache=True)
def _times_row(weight, x, y):
    wide, product = np.empty(len(x), np.float32), np.empty(len(y), np.float32)
    for c in range(len(x)):
        wide[c] = widen(x[c])
    _product(weight, wide, product)
    for n in range(len(y)):
        y[n] = narrow(product[n])


def linear_row(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (1, C), weight (N, C), both bf16 and contiguous -> (1, N)."""
    y = torch.empty(1, len(weight), dtype=torch.bfloat16)
    share_threads()
    _times_row(bits(weight), bits(x)[0], bits(y)[0])
    return y if bias is None else y.add_(bias)


# --- between the matrices ----------------------------------------------------------------------------------------


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """x (..., C) -> (..., C), both bf16; gain (C,) in any dtype, rounded as the weights are."""
    y, _ = compiled_training.rms_norm(x, gain, eps)
    return y


def normed_heads(
    qkv: Tensor, gains: Tensor, rotary: Tensor, K: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As in `kernels`, in bf16."""
    z, v, _ = compiled_training.normed_heads(qkv, gains, rotary, K, eps)
    q, k = z.split_with_sizes((z.shape[1] - K, K), dim=1)
    return q, k, v


swiglu = compiled_training.swiglu


# --- one new token of every sequence -----------------------------------------------------------------------------


@njit(fastmath=True, inline="always")
def _turned(head, gain, eps, cos_sin, out):
    """One head of q or k as fp32: RMS-normalised where there is a gain, rotated where there is a table."""
    D = len(head)
    for d in range(D):
        out[d] = widen(head[d])
    if len(gain):
        scale = inverse_rms(out, eps)
        for d in range(D):
            out[d] *= scale * gain[d]
    if cos_sin.shape[1]:
        half = D // 2
        for d in range(half):
            first, second = out[d], out[d + half]
            out[d] = first * widen(cos_sin[0, d]) + second * widen(cos_sin[1, d])
            out[d + half] = second * widen(cos_sin[0, d + half]) + first * widen(cos_sin[1, d + half])


@njit(fastmath=True, nogil=True, cache=True)
def attend_heads(qkv, gains, eps, turn, keys, values, at, first, last, score, desk, y):
    """Heads `first` to `last` - 1, which share a key head, of the new token behind `at` others.

    qkv ((H + 2 K) D) bf16, gains (H + K, D or 0), turn (2, D or 0), keys and values (K, capacity, D), score (at + 1)
    and desk (3, D) fp32 to work on, y (H D) bf16. The first head of a key head stores the new key and value.
    """
    K, D = keys.shape[0], keys.shape[2]
    H = len(y) // D
    k = first // (H // K)
    scale = np.float32(1 / math.sqrt(D))
    q, new, mixed = desk[0], desk[1], desk[2]
    _turned(qkv[(H + k) * D : (H + k + 1) * D], gains[H + k], eps, turn, new)
    value = qkv[(H + K + k) * D : (H + K + k + 1) * D]
    for d in range(D):
        new[d] = widen(narrow(new[d]))
    if first == k * (H // K):
        for d in range(D):
            keys[k, at, d] = narrow(new[d])
            values[k, at, d] = value[d]
    for h in range(first, last):
        _turned(qkv[h * D : (h + 1) * D], gains[h], eps, turn, q)
        product = np.float32(0)
        for d in range(D):
            product += q[d] * new[d]
        score[at] = best = product * scale
        for t in range(at):
            row = keys[k, t]
            product = np.float32(0)
            for d in range(D):
                product += q[d] * widen(row[d])
            score[t] = product * scale
            best = max(best, score[t])
        total = np.float32(0)
        for t in range(at + 1):
            score[t] = exp(score[t] - best)
            total += score[t]
        for d in range(D):
            mixed[d] = score[at] * widen(value[d])
        for t in range(at):
            row, share = values[k, t], score[t]
            for d in range(D):
                mixed[d] += share * widen(row[d])
        for d in range(D):
            y[h * D + d] = narrow(mixed[d] / total)


@njit(parallel=True, fastmath=True, nogil=True, cache=True)
def _attend_new(qkv, gains, eps, rotary, keys, values, lengths, y):
    B, K, D = qkv.shape[0], keys.shape[1], keys.shape[3]
    G = y.shape[1] // D // K
    scores = np.empty((B * K, np.max(lengths) + 1), np.float32)
    desk = np.empty((B * K, 3, D), np.float32)
    for pair in prange(B * K):
        b, k = pair // K, pair % K
        attend_heads(
            qkv[b], gains, eps, rotary[b], keys[b], values[b], lengths[b], k * G, (k + 1) * G, scores[pair],
            desk[pair], y[b],
        )  # fmt: skip


def attend_new(
    qkv: Tensor,
    gains: Tensor | None,
    eps: float,
    rotary: Tensor | None,
    keys: Tensor,
    values: Tensor,
    lengths: Lengths,
) -> Tensor:
    """Normalise, rotate, store and attend, for the one new token of each of B sequences.

    qkv (B, (H + 2K) D) bf16; gains (H + K, D) or None; rotary (B, 2, D) bf16 or None; keys and values (slots, K,
    capacity, D) bf16, of which slots 0..B-1 hold `lengths` (B,) tokens and get one more -> (B, H D) bf16.
    """
    B, K, D = len(qkv), keys.shape[1], keys.shape[3]
    y = torch.empty(B, qkv.shape[1] - 2 * K * D, dtype=torch.bfloat16)
    per_head = np.empty((y.shape[1] // D + K, 0), np.float32) if gains is None else rounded(gains, qkv)
    turn = np.empty((B, 2, 0), np.int16) if rotary is None else bits(rotary)
    share_threads()
    _attend_new(bits(qkv), per_head, np.float32(eps), turn, bits(keys), bits(values), lengths, bits(y))
    return y


# --- does it work? ----------------------------------------------------------------------------------------------------


def work() -> bool:
    """Whether they compile and run here, and multiply rightly. Draws nothing from torch's own random numbers."""
    weight = torch.linspace(-2000, 2000, 70 * 40).sin().view(70, 40).bfloat16()
    x = weight[:1].flip(1)
    try:
        with torch.inference_mode():
            y = linear_row(x, weight, None).float()
            return torch.allclose(y, x.float() @ weight.float().T, atol=0.1)
    except (NumbaError, ValueError, OSError):  # no OpenMP, no compiler for this processor, no place to cache
        return False
