# mypy: allow-untyped-defs, allow-untyped-calls
"""The passes between the matrix products of a training step on a CPU, compiled by numba for bf16 and for fp32.

torch takes each of them as several passes over memory, with a rounding in each; these read and write everything once
and keep fp32 in between. What they compute is defined by `layers`; the autograd functions of `kernels` call
them; decoding uses the forward passes of norm and gate too. Sums over rows (gradients of gains) are made in a fixed
number of parts, so that they do not depend on the number of threads. Measured in docs/log/training.md.

bf16 tensors come in as int16 (`compiled_numbers`). `x` and what is returned for it are of one dtype.

Legend: B batch, T time, H query heads, K key/value heads, D head width, C width, F MLP width, V vocabulary, N = B * T.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit, prange
from numba.core.errors import NumbaError
from torch import Tensor

from ziggurat.model.cpu.compiled_numbers import (
    bits,
    exp,
    inverse_rms,
    narrow_for,
    rounded,
    share_threads,
    widen,
)

PARTS = 16
"""In how many parts the rows are summed up."""


# --- RMSNorm ------------------------------------------------------------------------------------------------------


@njit(parallel=True, fastmath=True, nogil=True, cache=True)
def _norm(x, gain, eps, y, r):
    N, C = x.shape
    for n in prange(N):
        scale = inverse_rms(x[n], eps)
        r[n] = scale
        for c in range(C):
            y[n, c] = narrow_for(y, widen(x[n, c]) * scale * gain[c])


@njit(parallel=True, fastmath=True, nogil=True, cache=True)
def _norm_backward(dy, x, r, gain, dx, dgain):
    N, C = x.shape
    rows = (N + PARTS - 1) // PARTS
    for part in prange(PARTS):
        total = dgain[part]
        total[:] = np.float32(0)
        for n in range(part * rows, min(N, (part + 1) * rows)):
            along, scale = np.float32(0), r[n]
            for c in range(C):
                u = widen(dy[n, c]) * widen(x[n, c])
                along += u * gain[c]
                total[c] += u * scale
            along *= scale * scale / np.float32(C)
            for c in range(C):
                dx[n, c] = narrow_for(dx, scale * (widen(dy[n, c]) * gain[c] - widen(x[n, c]) * along))


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x (..., C), gain (C,) -> y as x, and r (N,) fp32, one over the root mean square of each row."""
    rows = _rows(x)
    y, r = torch.empty_like(rows), torch.empty(len(rows), dtype=torch.float32)
    share_threads()
    _norm(bits(rows), rounded(gain, x), np.float32(eps), bits(y), r.numpy())
    return y.view(x.shape), r


def rms_norm_backward(dy: Tensor, x: Tensor, gain: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """-> dx as x, dgain (C,) fp32."""
    rows = _rows(x)
    dx, dgain = torch.empty_like(rows), torch.empty(PARTS, x.shape[-1], dtype=torch.float32)
    share_threads()
    _norm_backward(bits(_rows(dy)), bits(rows), r.numpy(), rounded(gain, x), bits(dx), dgain.numpy())
    return dx.view(x.shape), dgain.sum(0)


# --- heads: normalised, rotated, laid out for attention ------------------------------------------------------------


@njit(parallel=True, fastmath=True, nogil=True, cache=True)
def _heads(qkv, gains, rotary, eps, z, v, r):
    B, HK, T, D = z.shape
    half = D // 2
    for row in prange(B * T):
        b, t = row // T, row % T
        turn = rotary[row % len(rotary)]  # by position, or by row where each has its own positions
        for h in range(HK):
            x = qkv[row, h * D : (h + 1) * D]
            g, out = gains[h], z[b, h, t]
            scale = inverse_rms(x, eps)
            r[row, h] = scale
            for d in range(half):
                first, second = widen(x[d]) * scale * g[d], widen(x[d + half]) * scale * g[d + half]
                out[d] = narrow_for(out, first * widen(turn[0, d]) + second * widen(turn[1, d]))
                out[d + half] = narrow_for(
                    out, second * widen(turn[0, d + half]) + first * widen(turn[1, d + half])
                )
        for k in range(v.shape[1]):
            for d in range(D):
                v[b, k, t, d] = qkv[row, (HK + k) * D + d]


@njit(parallel=True, fastmath=True, nogil=True, cache=True)
def _heads_backward(dq, dk, dv, qkv, gains, rotary, r, dqkv, dgains):
    B, H, T, D = dq.shape
    K = dk.shape[1]
    half = D // 2
    rows = (B * T + PARTS - 1) // PARTS
    for part in prange(PARTS):
        total = dgains[part]
        total[:] = np.float32(0)
        a = np.empty(D, np.float32)
        for row in range(part * rows, min(B * T, (part + 1) * rows)):
            b, t = row // T, row % T
            turn = rotary[row % len(rotary)]
            for h in range(H + K):
                dz = dq[b, h, t] if h < H else dk[b, h - H, t]
                x, dx = qkv[row, h * D : (h + 1) * D], dqkv[row, h * D : (h + 1) * D]
                g, dg, scale = gains[h], total[h], r[row, h]
                for d in range(half):
                    first, second = widen(dz[d]), widen(dz[d + half])
                    a[d] = first * widen(turn[0, d]) + second * widen(turn[1, d + half])
                    a[d + half] = second * widen(turn[0, d + half]) + first * widen(turn[1, d])
                along = np.float32(0)
                for d in range(D):
                    u = a[d] * widen(x[d]) * scale
                    dg[d] += u
                    along += u * g[d]
                along *= scale / np.float32(D)
                for d in range(D):
                    dx[d] = narrow_for(dx, scale * (a[d] * g[d] - widen(x[d]) * along))
            for k in range(K):
                for d in range(D):
                    dqkv[row, (H + K + k) * D + d] = dv[b, k, t, d]


def normed_heads(
    qkv: Tensor, gains: Tensor, rotary: Tensor, K: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """qkv (B, T, (H + 2K) D), others as in `kernels` -> z (B, H + K, T, D) and v (B, K, T, D), r (N, H + K)."""
    B, T, _ = qkv.shape
    HK, D = gains.shape
    z, v, r = (
        qkv.new_empty(B, HK, T, D),
        qkv.new_empty(B, K, T, D),
        torch.empty(B * T, HK, dtype=torch.float32),
    )
    share_threads()
    turn = bits(_rows(rotary, 2, D))
    _heads(bits(_rows(qkv)), rounded(gains, qkv), turn, np.float32(eps), bits(z), bits(v), r.numpy())
    return z, v, r


def normed_heads_backward(
    dq: Tensor, dk: Tensor, dv: Tensor, qkv: Tensor, gains: Tensor, rotary: Tensor, r: Tensor
) -> tuple[Tensor, Tensor]:
    """dq (B, H, T, D), dk and dv (B, K, T, D) -> dqkv as qkv, dgains (H + K, D) fp32."""
    HK, D = gains.shape
    rows = _rows(qkv)
    dqkv, dgains = torch.empty_like(rows), torch.empty(PARTS, HK, D, dtype=torch.float32)
    dq, dk, dv = (bits(d.contiguous()) for d in (dq, dk, dv))
    share_threads()
    turn = bits(_rows(rotary, 2, D))
    _heads_backward(dq, dk, dv, bits(rows), rounded(gains, qkv), turn, r.numpy(), bits(dqkv), dgains.numpy())
    return dqkv.view(qkv.shape), dgains.sum(0)


# --- SwiGLU -------------------------------------------------------------------------------------------------------


@njit(parallel=True, fastmath=True, nogil=True, cache=True)
def _gated(x, y):
    N, F = y.shape
    for n in prange(N):
        for f in range(F):
            gate = widen(x[n, f])
            y[n, f] = narrow_for(y, gate / (np.float32(1) + exp(-gate)) * widen(x[n, F + f]))


@njit(parallel=True, fastmath=True, nogil=True, cache=True)
def _gated_backward(dy, x, dx):
    N, F = dy.shape
    for n in prange(N):
        for f in range(F):
            gate, d = widen(x[n, f]), widen(dy[n, f])
            share = np.float32(1) / (np.float32(1) + exp(-gate))  # the gate's sigmoid
            dx[n, f] = narrow_for(
                dx, d * widen(x[n, F + f]) * share * (np.float32(1) + gate * (np.float32(1) - share))
            )
            dx[n, F + f] = narrow_for(dx, d * gate * share)


def swiglu(x: Tensor) -> Tensor:
    """x (..., 2 F), gate and up -> (..., F)."""
    rows = _rows(x)
    y = rows.new_empty(len(rows), x.shape[-1] // 2)
    share_threads()
    _gated(bits(rows), bits(y))
    return y.view(*x.shape[:-1], y.shape[-1])


def swiglu_backward(dy: Tensor, x: Tensor) -> Tensor:
    """dy (..., F), x (..., 2 F) -> dx as x."""
    rows = _rows(x)
    dx = torch.empty_like(rows)
    share_threads()
    _gated_backward(bits(_rows(dy)), bits(rows), bits(dx))
    return dx.view(x.shape)


# --- next-token loss ----------------------------------------------------------------------------------------------


@njit(parallel=True, fastmath=True, nogil=True, cache=True)
def _nll(logits, targets, nll, d):
    N, V = logits.shape
    power = np.empty((N, V), np.float32)
    for n in prange(N):
        row, p, best, total = logits[n], power[n], np.float32(-3.4e38), np.float32(0)
        for v in range(V):
            best = max(best, widen(row[v]))
        for v in range(V):
            p[v] = exp(widen(row[v]) - best)
            total += p[v]
        nll[n] = np.float32(math.log(total)) + best - widen(row[targets[n]])
        if len(d):
            scale = np.float32(1) / total
            p[targets[n]] -= total
            for v in range(V):
                d[n, v] = narrow_for(d, p[v] * scale)


def token_nll(logits: Tensor, targets: Tensor, nll: Tensor, d: Tensor) -> None:
    """logits (N, V), targets (N) -> into nll (N) fp32 and, if it has rows, p - onehot into d (N, V)."""
    share_threads()
    _nll(bits(logits), targets.numpy(), nll.numpy(), bits(d))


def _rows(x: Tensor, *shape: int) -> Tensor:
    """x laid out as (N, C), or (N, *shape)."""
    return x.reshape(-1, *(shape or (x.shape[-1],))).contiguous()


def work(dtype: torch.dtype) -> bool:
    """Whether every loop compiles and runs here in this dtype. Draws nothing from torch's own random numbers."""
    x = torch.linspace(-2, 2, 2 * 3 * 16).view(2, 3, 16).to(dtype)
    gains, rotary = torch.ones(3, 4), torch.ones(3, 1, 2, 4).to(dtype)
    nll, d = torch.empty(6, dtype=torch.float32), x.new_empty(6, 16)
    try:
        y, r = rms_norm(x, torch.ones(16), 1e-6)
        rms_norm_backward(y, x, torch.ones(16), r)
        z, v, turned = normed_heads(x, gains, rotary, 1, 1e-6)
        normed_heads_backward(z[:, :2], z[:, 2:], v, x, gains, rotary, turned)
        swiglu_backward(swiglu(x), x)
        token_nll(x.view(6, 16), torch.arange(6), nll, d)
    except (NumbaError, ValueError, OSError):  # no OpenMP, no compiler for this processor, no place to cache
        return False
    return bool(nll.isfinite().all())
