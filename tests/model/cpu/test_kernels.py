"""Attention with its own backward pass equals plain torch, and its gradients equal finite differences (float64).

What numba compiles is held to the plain bodies in test_compiled_training.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from ziggurat.model import layers
from ziggurat.model.cpu import kernels


def leaf(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


SEGMENTS = torch.tensor([[0, 0, 1, 1, 2], [0, 1, 1, 1, 1]])

Case = tuple[Callable[..., object], Callable[..., object], Callable[[torch.dtype], tuple[Tensor, ...]]]
CASES: dict[str, Case] = {
    "causal_attention": (
        kernels.causal_attention,
        layers.causal_attention,
        lambda dtype: tuple(leaf(2, heads, 5, 4, seed=i, dtype=dtype) for i, heads in enumerate((4, 4, 4))),
    ),
    "causal_attention, grouped queries": (
        kernels.causal_attention,
        layers.causal_attention,
        lambda dtype: tuple(leaf(2, heads, 5, 4, seed=i, dtype=dtype) for i, heads in enumerate((4, 2, 2))),
    ),
    "causal_attention inside segments": (
        lambda q, k, v: kernels.causal_attention(q, k, v, layers.causal_bias(SEGMENTS, q.dtype)),
        lambda q, k, v: layers.causal_attention(q, k, v, layers.causal_bias(SEGMENTS, q.dtype)),
        lambda dtype: tuple(leaf(2, heads, 5, 4, seed=i, dtype=dtype) for i, heads in enumerate((4, 2, 2))),
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
    """200 rows are more than one piece (128 rows), the last one short."""
    hidden, weight = leaf(200, 6, dtype=torch.float32), leaf(8192, 6, seed=1, dtype=torch.float32)
    targets = torch.arange(200) * 7
    fast = kernels.token_nll(hidden, weight, targets)
    slow = layers.token_nll(hidden, weight, targets)
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


@pytest.mark.parametrize("target", [-1, -100, 2])
def test_a_target_that_is_no_token_is_refused(target: int) -> None:
    """A compiled loop would read beside the logits, or count from their end."""
    hidden = torch.zeros(3, 2, requires_grad=True)
    with pytest.raises(IndexError, match="vocabulary of 2 tokens"):
        kernels.token_nll(hidden, torch.eye(2), torch.tensor([0, target, 1]))
