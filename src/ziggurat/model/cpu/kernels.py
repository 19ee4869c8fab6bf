"""The operations between the matrix products, and which loops compute them where.

On a CPU, torch computes RMSNorm, rotation, SwiGLU and their gradients as dozens of passes over memory; together they
cost more than all matrix products of a small model. `layers` defines what each operation means, in plain torch. Here
each has the same signature and runs loops that read and write everything once: `compiled_training` with gradients (and
for every loss), in bf16 and fp32; `compiled_decoding` without gradients, in bf16. On other devices, in other dtypes and
where numba does not work, the plain operation runs. Tests compare both. Attention stays with torch's matrix products;
only what its backward pass keeps is ours.

Row statistics are accumulated in fp32; products are rounded to the dtype of the activations.
Measured: see docs/model.md. Left out: double backward.

Legend: B batch, T time, H query heads, K key/value heads, D head width, C width, V vocabulary, N = B * T.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ziggurat.model import layers

LONGEST_KEPT_SCORES = 1024
"""Up to this many tokens attention keeps its (T, T) weights for the backward pass; beyond, torch's flash attention."""
ROWS = 128
"""Tokens whose logits are made at a time. Fewer read the unembedding too often: at 49,152 x 576 in bf16 the logits of
600 tokens take 134 ms of one core, 222 ms with 64 rows and 545 ms with 21."""
SLOW = "numba's compiled loops do not work on this machine; plain torch computes instead, more slowly"
TRAINED_DTYPES = (torch.bfloat16, torch.float32)


def _apply(function: type[torch.autograd.Function], *inputs: Any) -> Any:
    return function.apply(*inputs)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def loops_for(x: Tensor) -> ModuleType | None:
    """The loops that compute with x, if there are any."""
    return decoding_loops(x) or training_loops(x)


def decoding_loops(x: Tensor) -> ModuleType | None:
    """`compiled_decoding` if it computes with x: bf16 on a CPU, without gradients."""
    if not x.is_cpu or x.dtype != torch.bfloat16 or torch.is_grad_enabled():
        return None
    return _compiled()


@functools.cache
def _compiled() -> ModuleType | None:
    """Imported at the first call; None, with one warning, where they do not work."""
    try:
        from ziggurat.model.cpu import compiled_decoding
    except (ImportError, RuntimeError) as problem:  # no numba; no place to keep what it compiles
        warnings.warn(f"{SLOW} ({problem})", RuntimeWarning, stacklevel=2)
        return None
    if compiled_decoding.work():
        return compiled_decoding
    warnings.warn(SLOW, RuntimeWarning, stacklevel=2)
    return None


def block_loops(x: Tensor) -> ModuleType | None:
    """`compiled_blocks` if it computes with x, as `decoding_loops`."""
    return None if decoding_loops(x) is None else _whole_blocks()


@functools.cache
def _whole_blocks() -> ModuleType | None:
    return _working("compiled_blocks")


@functools.cache
def group_loops() -> ModuleType | None:
    """`compiled_groups` where it works: bf16 and fp32 on a CPU."""
    return None if _compiled() is None else _working("compiled_groups")


def _working(name: str) -> ModuleType | None:
    """A module of loops; None, with a warning, where they do not compile or compute wrongly here."""
    module = importlib.import_module(f"ziggurat.model.cpu.{name}")
    if module.work():
        return module
    warnings.warn(SLOW, RuntimeWarning, stacklevel=3)
    return None


def training_loops(x: Tensor) -> ModuleType | None:
    """`compiled_training` if it computes with x: bf16 or fp32 on a CPU, with gradients."""
    return _trained(x.device.type, x.dtype) if x.is_cpu and torch.is_grad_enabled() else None


@functools.cache
def _trained(device: str, dtype: torch.dtype) -> ModuleType | None:
    """Every loop has run once when this returns them, so that none fails to compile in the middle of a training."""
    if device != "cpu" or dtype not in TRAINED_DTYPES or _compiled() is None:
        return None
    from ziggurat.model.cpu import compiled_training

    if compiled_training.work(dtype):
        return compiled_training
    warnings.warn(SLOW, RuntimeWarning, stacklevel=2)
    return None


# RMSNorm: y = x r g, with r = 1 / sqrt(mean(x^2) + eps).
# With u = dy x: dg = sum over rows of u r; dx = r (dy g) - x r^3 / C sum over columns of u g.


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """(..., C) -> (..., C); gain (C,) in any dtype."""
    if loops := decoding_loops(x):
        y: Tensor = loops.rms_norm(x, gain, eps)
    elif loops := training_loops(x):
        y = _apply(_RMSNorm, x, gain, eps, loops)
    else:
        y = layers.rms_norm(x, gain, eps)
    return y


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float, loops: Any) -> Tensor:
        y: Tensor
        y, r = loops.rms_norm(x, gain, eps)
        ctx.save_for_backward(x, gain, r)
        ctx.loops = loops
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, gain, r = ctx.saved_tensors
        dx, dgain = ctx.loops.rms_norm_backward(dy, x, gain, r)
        return dx, dgain.to(gain.dtype), None, None


# Heads: qkv -> q, k, v per head, q and k RMS-normalised with gains and rotated.
# With xhat = x r and the halves of sin signed (-, +): z = xhat (g cos) + roll(xhat) (roll(g) sin).
# Backward: a = R^T dz = dz cos + roll(dz sin); then as RMSNorm with dy = a.


def normed_heads(
    qkv: Tensor, gains: Tensor, rotary: Tensor, K: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """qkv (B, T, (H + 2K) D), gains (H + K, D), rotary (T, 1, 2, D) or (B, T, 1, 2, D) -> q, k, v (B, H or K, T, D).

    Only where there are `loops_for(qkv)`; elsewhere `Attention.heads` computes this.
    """
    if loops := decoding_loops(qkv):
        q, k, v = loops.normed_heads(qkv, gains, rotary, K, eps)
    else:
        q, k, v = _apply(_NormedHeads, qkv, gains, rotary, K, eps, training_loops(qkv))
    return q, k, v


class _NormedHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, gains: Tensor, rotary: Tensor, K: int, eps: float, loops: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        z, v, r = loops.normed_heads(qkv, gains, rotary, K, eps)
        ctx.save_for_backward(qkv, gains, rotary, r)
        ctx.loops = loops
        q, k = z.split_with_sizes((z.shape[1] - K, K), dim=1)
        return q, k, v

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor
    ) -> tuple[Tensor, Tensor, None, None, None, None]:
        qkv, gains, rotary, r = ctx.saved_tensors
        dqkv, dgains = ctx.loops.normed_heads_backward(dq, dk, dv, qkv, gains, rotary, r)
        return dqkv, dgains.to(gains.dtype), None, None, None, None


# SwiGLU: y = g sigma(g) u for a gate g and an up-projection u. dg = dy u sigma (1 + g (1 - sigma)); du = dy g sigma.


def swiglu(x: Tensor) -> Tensor:
    """(..., 2 F), gate and up -> (..., F)."""
    if loops := decoding_loops(x):
        y: Tensor = loops.swiglu(x)
    elif loops := training_loops(x):
        y = _apply(_SwiGLU, x, loops)
    else:
        y = layers.swiglu(x)
    return y


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, loops: Any) -> Tensor:
        ctx.save_for_backward(x)
        ctx.loops = loops
        y: Tensor = loops.swiglu(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.loops.swiglu_backward(dy, x), None


# Causal attention. With p = softmax(s): ds = p (dp - sum(dp p)), the rest are matrix products.
# The G = H / K query heads that read one key head are laid behind one another, so that they are one product too.


def causal_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """q (B, H, T, D), k and v (B, K, T, D) -> (B, H, T, D); bias (B, 1, T, T) from `causal_bias`, or plainly causal."""
    if not (q.is_cpu and torch.is_grad_enabled() and q.requires_grad and q.shape[2] <= LONGEST_KEPT_SCORES):
        return layers.causal_attention(q, k, v, bias)
    y: Tensor = _apply(_CausalAttention, q, k, v, bias)
    return y


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        B, H, T, D = q.shape
        K, G = k.shape[1], H // k.shape[1]
        q, k, v = q.reshape(B * K, G * T, D), k.reshape(B * K, T, D), v.reshape(B * K, T, D)
        if bias is None:
            bias = q.new_full((T, T), -torch.inf).triu_(1).repeat(G, 1)  # (GT, T)
        else:
            bias = bias[:, :, None].expand(B, K, G, T, T).reshape(B * K, G * T, T)
        p = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=D**-0.5).softmax(-1)  # (BK, GT, T)
        ctx.save_for_backward(q, k, v, p)
        return (p @ v).view(B, H, T, D)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, p = ctx.saved_tensors
        B, H, T, D = dy.shape
        dy = dy.reshape(q.shape)
        dv = p.transpose(1, 2) @ dy
        ds = torch._softmax_backward_data(dy @ v.transpose(1, 2), p, -1, p.dtype)
        dq = (ds @ k).mul_(D**-0.5)
        dk = (ds.transpose(1, 2) @ q).mul_(D**-0.5)
        return dq.view(B, H, T, D), dk.view(B, -1, T, D), dv.view(B, -1, T, D), None


# Next-token loss: -log p(target) from hidden states. d = p - onehot(target) is kept in the activations' dtype, made a
# few rows at a time while their logits are in the processor's cache. With g the gradient of each row's loss:
# dhidden = g (d W); dW = d^T (g hidden), so nothing of size (N, V) is touched twice. Where W stays still, d W is made
# at once and d is dropped, so that nothing of size (N, V) is ever there.


def has_nll_loop(hidden: Tensor) -> bool:
    """Whether `token_nll` has a compiled loop for such states."""
    return _trained(hidden.device.type, hidden.dtype) is not None


def token_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """hidden (N, C), weight (V, C) of the same dtype, targets (N) -> (N) in at least fp32."""
    loops = _trained(hidden.device.type, hidden.dtype)
    if loops is None:
        return layers.token_nll(hidden, weight, targets)
    if len(targets) and (int(targets.min()) < 0 or int(targets.max()) >= len(weight)):
        raise IndexError(f"a target is not in the vocabulary of {len(weight)} tokens")
    learns = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    nll: Tensor = _apply(_TokenNLL, hidden, weight, targets, learns, loops)
    return nll


class _TokenNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, learns: bool, loops: Any
    ) -> Tensor:
        nll = torch.empty(len(hidden), dtype=torch.float32)
        ctx.still = not ctx.needs_input_grad[1]
        d = hidden.new_empty(0 if not learns else ROWS if ctx.still else len(hidden), len(weight))
        dhidden = torch.empty_like(hidden) if learns and ctx.still else None
        for i in range(0, len(hidden), ROWS):
            piece = slice(i, i + ROWS)
            of = d[: len(hidden[piece])] if ctx.still else d[piece]
            loops.token_nll(F.linear(hidden[piece], weight), targets[piece], nll[piece], of)
            if dhidden is not None:
                torch.mm(of, weight, out=dhidden[piece])
        ctx.save_for_backward(*((dhidden,) if ctx.still else (hidden, weight, d)))
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        if ctx.still:
            (dhidden,) = ctx.saved_tensors
            return dhidden * g[:, None].to(dhidden.dtype), None, None, None, None
        hidden, weight, d = ctx.saved_tensors
        g = g[:, None].to(hidden.dtype)
        dhidden = (d @ weight).mul_(g) if ctx.needs_input_grad[0] else None
        dweight = d.T @ (hidden * g) if ctx.needs_input_grad[1] else None
        return dhidden, dweight, None, None, None
