"""The hand-written passes equal plain torch, and their gradients equal finite differences (float64)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from ziggurat.model import kernels
from ziggurat.model.layers import rotary_table
from ziggurat.model.presets import sized

EPS = 1e-3


def leaf(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def rotary(rows: int | None, dtype: torch.dtype) -> Tensor:
    """For 5 tokens of width 4: shared positions (T, 1, 2, D), or, given rows, their own (B, T, 1, 2, D)."""
    table = rotary_table(sized(layers=1, d_model=8, vocab_size=3, context=9, d_head=4)).to(dtype)
    where = torch.arange(5) if rows is None else torch.arange(5) + torch.arange(rows)[:, None]
    return table[where].unsqueeze(-3)


SEGMENTS = torch.tensor([[0, 0, 1, 1, 2], [0, 1, 1, 1, 1]])

Case = tuple[Callable[..., object], Callable[..., object], Callable[[torch.dtype], tuple[Tensor, ...]]]
CASES: dict[str, Case] = {
    "rms_norm": (
        lambda x, g: kernels.rms_norm(x, g, EPS),
        lambda x, g: kernels.slow_rms_norm(x, g, EPS),
        lambda dtype: (leaf(2, 3, 6, dtype=dtype), leaf(6, seed=1, dtype=dtype)),
    ),
    "normed_heads": (
        lambda x, g: kernels.normed_heads(x, g, rotary(None, x.dtype), 2, EPS),
        lambda x, g: kernels.slow_normed_heads(x, g, rotary(None, x.dtype), 2, EPS),
        lambda dtype: (leaf(2, 5, 32, dtype=dtype), leaf(6, 4, seed=1, dtype=dtype)),
    ),
    "normed_heads with positions of each row": (
        lambda x, g: kernels.normed_heads(x, g, rotary(2, x.dtype), 2, EPS),
        lambda x, g: kernels.slow_normed_heads(x, g, rotary(2, x.dtype), 2, EPS),
        lambda dtype: (leaf(2, 5, 32, dtype=dtype), leaf(6, 4, seed=1, dtype=dtype)),
    ),
    "causal_attention": (
        kernels.causal_attention,
        kernels.slow_causal_attention,
        lambda dtype: tuple(leaf(2, heads, 5, 4, seed=i, dtype=dtype) for i, heads in enumerate((4, 4, 4))),
    ),
    "causal_attention, grouped queries": (
        kernels.causal_attention,
        kernels.slow_causal_attention,
        lambda dtype: tuple(leaf(2, heads, 5, 4, seed=i, dtype=dtype) for i, heads in enumerate((4, 2, 2))),
    ),
    "causal_attention inside segments": (
        lambda q, k, v: kernels.causal_attention(q, k, v, kernels.causal_bias(SEGMENTS, q.dtype)),
        lambda q, k, v: kernels.slow_causal_attention(q, k, v, kernels.causal_bias(SEGMENTS, q.dtype)),
        lambda dtype: tuple(leaf(2, heads, 5, 4, seed=i, dtype=dtype) for i, heads in enumerate((4, 2, 2))),
    ),
    "token_nll": (
        lambda h, w: kernels.token_nll(h, w, torch.tensor([1, 8, 0])),
        lambda h, w: kernels.slow_token_nll(h, w, torch.tensor([1, 8, 0])),
        lambda dtype: (leaf(3, 6, dtype=dtype), leaf(9, 6, seed=1, dtype=dtype)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_finite_differences(name: str) -> None:
    fast, _, inputs = CASES[name]
    assert gradcheck(fast, inputs(torch.float64))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.1)]
)
def test_both_bodies_agree_forward_and_backward(name: str, dtype: torch.dtype, close: float) -> None:
    fast, slow, inputs = CASES[name]
    results: list[list[Tensor]] = []
    for body in (fast, slow):
        leaves = inputs(dtype)
        out = body(*leaves)
        outs = out if isinstance(out, tuple) else (out,)
        loss = sum((o.double() * (1 + torch.arange(o.numel()).view(o.shape) % 3)).sum() for o in outs)
        results.append([*outs, *torch.autograd.grad(loss, leaves)])  # type: ignore[arg-type]
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a.double(), b.double(), atol=close, rtol=close)


def test_token_nll_in_many_pieces() -> None:
    """200 rows are more than one piece (64 rows at this vocabulary), the last one short."""
    hidden, weight = leaf(200, 6, dtype=torch.float32), leaf(8192, 6, seed=1, dtype=torch.float32)
    targets = torch.arange(200) * 7
    fast = kernels.token_nll(hidden, weight, targets)
    slow = kernels.slow_token_nll(hidden, weight, targets)
    torch.testing.assert_close(fast, slow)
    weights = torch.arange(200) / 100
    for a, b in zip(
        *(torch.autograd.grad((nll * weights).sum(), (hidden, weight)) for nll in (fast, slow)), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_confident_target_still_has_its_gradient_in_bf16() -> None:
    """p = 0.9990 rounds to 1 in bf16: p - 1 must be taken before rounding, or a nearly learned token stops learning."""
    hidden = torch.tensor([[7.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    kernels.token_nll(hidden, torch.eye(2, dtype=torch.bfloat16), torch.tensor([0])).sum().backward()
    assert hidden.grad is not None
    assert hidden.grad[0, 0].item() == pytest.approx(-torch.tensor(-7.0).sigmoid().item(), rel=0.01)
