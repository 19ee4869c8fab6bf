"""The operations between the matrix products, with backward passes written by hand for the CPU.

On a CPU, torch computes RMSNorm, rotation and attention's gradient as dozens of passes over memory; together they cost
more than all matrix products of a small model. Each function here has two bodies with one signature: `slow_*`, the
plain torch that defines the meaning (used on other devices, where torch's own kernels are fused), and an
`autograd.Function` with as few passes as we found. Tests hold them equal, and hold the gradients to finite differences.

Row statistics are accumulated in fp32; products are rounded to the dtype of the activations.
Measured: see docs/model.md. Left out: double backward.

Legend: B batch, T time, H query heads, K key/value heads, D head width, C width, V vocabulary, N = B * T.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

LONGEST_KEPT_SCORES = 1024
"""Up to this many tokens attention keeps its (T, T) weights for the backward pass; beyond, torch's flash attention."""
ROWS_TIMES_VOCABULARY = 1 << 18
"""fp32 logits made at a time (1 MiB, half of a core's second-level cache)."""


def _apply(function: type[torch.autograd.Function], *inputs: Any) -> Any:
    return function.apply(*inputs)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def by_hand(x: Tensor) -> bool:
    """In training. Without gradients there is less to save, and one path for every batch size keeps a completion
    independent of its neighbours in the batch."""
    return x.is_cpu and torch.is_grad_enabled()


def compiled(x: Tensor) -> ModuleType | None:
    """`compiled_kernels`, where they are for x: bf16 on a CPU, without gradients."""
    if not x.is_cpu or x.dtype != torch.bfloat16 or torch.is_grad_enabled():
        return None
    return _compiled()


@functools.cache
def _compiled() -> ModuleType | None:
    """Imported when first asked for; None where they do not work."""
    try:
        from ziggurat.model import compiled_kernels
    except ImportError:
        return None
    return compiled_kernels if compiled_kernels.work() else None


# RMSNorm: y = x r g, with r = 1 / sqrt(mean(x^2) + eps).
# With u = dy x: dg = sum over rows of u r; dx = r (dy g) - x r^3 / C sum over columns of u g.


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """(..., C) -> (..., C); gain (C,) in any dtype."""
    if kernels := compiled(x):
        y: Tensor = kernels.rms_norm(x, gain, eps)
    elif by_hand(x):
        y = _apply(_RMSNorm, x, gain, eps)
    else:
        y = slow_rms_norm(x, gain, eps)
    return y


def slow_rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    y: Tensor = F.rms_norm(x, (x.shape[-1],), gain.to(x.dtype), eps)
    return y


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """(..., C) -> (..., 1), at least fp32."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype)
    r: Tensor = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return r


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        r = inverse_rms(x, eps).to(x.dtype)
        ctx.save_for_backward(x, gain, r)
        return (x * r).mul_(gain.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        x, gain, r = ctx.saved_tensors
        C = x.shape[-1]
        g = gain.to(x.dtype)
        u = (dy * x).reshape(-1, C)  # (N, C)
        dgain = r.reshape(1, -1) @ u  # (1, C)
        along = (u @ g[:, None]).view(r.shape)  # (..., 1)
        dx = (dy * g).mul_(r).addcmul_(x, along * r**3, value=-1 / C)
        return dx, dgain[0].to(gain.dtype), None


# Heads: qkv -> q, k, v per head, q and k RMS-normalised with gains and rotated.
# With xhat = x r and the halves of sin signed (-, +): z = xhat (g cos) + roll(xhat) (roll(g) sin).
# Backward: a = R^T dz = dz cos + roll(dz sin); then as RMSNorm with dy = a.


def normed_heads(
    qkv: Tensor, gains: Tensor, rotary: Tensor, K: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """qkv (B, T, (H + 2K) D), gains (H + K, D), rotary (T, 1, 2, D) or (B, T, 1, 2, D) -> q, k, v (B, H or K, T, D)."""
    if not by_hand(qkv):
        return slow_normed_heads(qkv, gains, rotary, K, eps)
    q, k, v = _apply(_NormedHeads, qkv, gains, rotary, K, eps)
    return q, k, v


def slow_normed_heads(
    qkv: Tensor, gains: Tensor, rotary: Tensor, K: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    HK, D = gains.shape
    x, v = qkv.view(*qkv.shape[:-1], HK + K, D).split_with_sizes((HK, K), dim=2)
    z = rotate(F.rms_norm(x, (D,), None, eps) * gains.to(x.dtype), rotary)
    q, k = z.split_with_sizes((HK - K, K), dim=2)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """x (B, T, H, D) turned by halves: x cos + roll(x, D/2) sin, where sin's first half is negated in the table."""
    cos, sin = rotary.unbind(-2)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


class _NormedHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, gains: Tensor, rotary: Tensor, K: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        B, T, _ = qkv.shape
        HK, D = gains.shape
        x, v = qkv.view(B, T, HK + K, D).split_with_sizes((HK, K), dim=2)
        square = _head_sums(x * x, torch.ones_like(gains))
        r = square.div_(D).add_(eps).rsqrt_()  # (B, T, H + K, 1)
        cos, sin = rotary.unbind(-2)
        g = gains.to(x.dtype)
        xhat = x * r
        turned = xhat.roll(D // 2, -1).mul_(sin * g.roll(D // 2, -1))
        z = x.new_empty(B, HK, T, D)
        torch.addcmul(turned, xhat, cos * g, out=z.transpose(1, 2))
        ctx.save_for_backward(xhat, r, gains, rotary)
        q, k = z.split_with_sizes((HK - K, K), dim=1)
        return q, k, v.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        xhat, r, gains, rotary = ctx.saved_tensors
        B, T, HK, D = xhat.shape
        K = dk.shape[1]
        g = gains.to(xhat.dtype)
        cos, sin = rotary.unbind(-2)
        dz = torch.cat((dq.transpose(1, 2), dk.transpose(1, 2)), dim=2)  # (B, T, H + K, D)
        a = torch.addcmul((dz * sin).roll(D // 2, -1), dz, cos)
        u = a * xhat
        dgains = (u.new_ones(1, B * T) @ u.reshape(B * T, HK * D)).to(gains.dtype).view(HK, D)
        along = _head_sums(u, g)
        a.mul_(g).addcmul_(xhat, along, value=-1 / D)
        dqkv = torch.empty(B, T, HK + K, D, dtype=xhat.dtype)
        torch.mul(a, r, out=dqkv[:, :, :HK])
        dqkv[:, :, HK:] = dv.transpose(1, 2)
        return dqkv.view(B, T, -1), dgains, None, None, None


def _head_sums(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums within heads, x (B, T, H, D), weights (H, D) -> (B, T, H, 1), as one matrix product.

    Its matrix (H D, H) is block diagonal: column h holds the weights of head h in the rows of head h. The products
    with its zeros are cheaper than a reduction over short rows.
    """
    B, T, H, D = x.shape
    blocks = weights.to(x.dtype)[:, :, None] * torch.eye(H, dtype=x.dtype)[:, None]  # (H, D, H)
    return (x.reshape(B * T, H * D) @ blocks.view(H * D, H)).view(B, T, H, 1)


# Causal attention. With p = softmax(s): ds = p (dp - sum(dp p)), the rest are matrix products.
# The G = H / K query heads that read one key head are laid behind one another, so that they are one product too.


def causal_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """q (B, H, T, D), k and v (B, K, T, D) -> (B, H, T, D); bias (B, 1, T, T) from `causal_bias`, or plainly causal."""
    if not (by_hand(q) and q.requires_grad and q.shape[2] <= LONGEST_KEPT_SCORES):
        return slow_causal_attention(q, k, v, bias)
    y: Tensor = _apply(_CausalAttention, q, k, v, bias)
    return y


def slow_causal_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=bias is None, enable_gqa=grouped)


def causal_bias(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T) -> (B, 1, T, T): 0 where the key is not later and of the same segment, elsewhere minus infinity."""
    T = segments.shape[1]
    seen = (segments[:, :, None] == segments[:, None, :]).tril_()
    return torch.zeros(len(segments), T, T, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)[
        :, None
    ]


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
# few rows at a time while their fp32 logits are in the processor's cache. With g the gradient of each row's loss:
# dhidden = g (d W); dW = d^T (g hidden), so nothing of size (N, V) is touched twice.


def token_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """hidden (N, C), weight (V, C) of the same dtype, targets (N) -> (N) in at least fp32."""
    if not hidden.is_cpu:
        return slow_token_nll(hidden, weight, targets)
    learns = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    nll: Tensor = _apply(_TokenNLL, hidden, weight, targets, learns)
    return nll


def slow_token_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    logits = F.linear(hidden, weight)
    return F.cross_entropy(
        logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="none"
    )


class _TokenNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, learns: bool) -> Tensor:
        N, V = len(hidden), len(weight)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        rows = max(64, ROWS_TIMES_VOCABULARY // V)
        nll = torch.empty(N, dtype=exact)
        d = torch.empty(N, V, dtype=hidden.dtype) if learns else hidden.new_empty(0)
        for i in range(0, N, rows):
            target = targets[i : i + rows, None]
            log_p = F.linear(hidden[i : i + rows], weight).log_softmax(-1, dtype=exact)  # (rows, V)
            nll[i : i + rows] = -log_p.gather(1, target)[:, 0]
            if learns:
                p = log_p.exp_()
                d[i : i + rows] = p.scatter_add_(1, target, p.new_full(target.shape, -1.0))
        ctx.save_for_backward(hidden, weight, d)
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden, weight, d = ctx.saved_tensors
        g = g[:, None].to(hidden.dtype)
        return (d @ weight).mul_(g), d.T @ (hidden * g), None, None
