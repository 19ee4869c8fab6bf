"""The compiled passes of training equal the plain bodies computed in fp64: bf16 in, fp32 between, bf16 out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from tests.needs import IN_CI
from torch import Tensor

from ziggurat.model import layers
from ziggurat.model.cpu import kernels
from ziggurat.model.layers import rotary_table
from ziggurat.model.presets import sized

HALF_ULP = 2**-8  # of a bf16 number, relative
B, T, D, WIDTH, VOCABULARY = 3, 37, 16, 48, 1000
Body = Callable[..., Tensor | tuple[Tensor, ...]]


@pytest.fixture(autouse=True)
def compiled() -> None:
    if kernels.training_loops(torch.zeros(1)) is None:
        assert not IN_CI, "numba's loops must work in CI"
        pytest.skip("numba's loops do not work on this machine")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def turns(dtype: torch.dtype, *, own: bool) -> Tensor:
    table = rotary_table(sized(layers=1, d_model=16, vocab_size=3, context=2 * T, d_head=D)).bfloat16()
    where = torch.arange(T) + 5 * torch.arange(B)[:, None] if own else torch.arange(T)
    return table[where].unsqueeze(-3).to(dtype)


def loss(body: Body) -> Body:
    targets = torch.arange(B * T) * 9 % VOCABULARY
    return lambda hidden, weight: body(hidden, weight, targets)


def plain_heads(qkv: Tensor, gains: Tensor, rotary: Tensor, K: int, eps: float) -> tuple[Tensor, ...]:
    """`Attention.heads` with a gain for each head."""
    HK, width = gains.shape
    x, v = qkv.view(B, T, HK + K, width).split((HK, K), dim=2)
    normed = [layers.rms_norm(x[:, :, head], gains[head], eps) for head in range(HK)]
    q, k = layers.rotate(torch.stack(normed, 2), rotary).split((HK - K, K), dim=2)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


CASES: dict[str, tuple[Body, Body, tuple[Tensor, ...]]] = {
    "rms_norm": (
        lambda x, g: kernels.rms_norm(x, g, 1e-3),
        lambda x, g: layers.rms_norm(x, g, 1e-3),
        (drawn(B, T, WIDTH), drawn(WIDTH, seed=1).float() * 1.001),
    ),
    "normed_heads": (
        lambda x, g: kernels.normed_heads(x, g, turns(x.dtype, own=False), 4, 1e-3),
        lambda x, g: plain_heads(x, g, turns(x.dtype, own=False), 4, 1e-3),
        (drawn(B, T, 12 * D), drawn(8, D, seed=1).float() * 1.001),
    ),
    "normed_heads, grouped, with positions of each row": (
        lambda x, g: kernels.normed_heads(x, g, turns(x.dtype, own=True), 2, 1e-3),
        lambda x, g: plain_heads(x, g, turns(x.dtype, own=True), 2, 1e-3),
        (drawn(B, T, 8 * D), drawn(6, D, seed=1).float() * 1.001),
    ),
    "swiglu": (kernels.swiglu, layers.swiglu, (3 * drawn(B, T, WIDTH),)),
    "token_nll": (
        loss(kernels.token_nll),
        loss(layers.token_nll),
        (drawn(B * T, WIDTH), drawn(VOCABULARY, WIDTH, seed=1)),
    ),
}


def forward_and_backward(body: Body, inputs: tuple[Tensor, ...], dtype: torch.dtype) -> list[Tensor]:
    """Outputs and gradients; every output is weighed by bf16 numbers drawn for it. Gains stay fp32 masters."""
    leaves = [x.detach().to(x.dtype if dtype == torch.bfloat16 else dtype).requires_grad_() for x in inputs]
    out = body(*leaves)
    outs = list(out) if isinstance(out, tuple) else [out]
    weights = [drawn(*o.shape, seed=9 + i).to(o.dtype) for i, o in enumerate(outs)]
    return [*outs, *torch.autograd.grad(outs, leaves, weights)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_outputs_and_gradients_are_the_exact_ones_rounded_once(name: str, dtype: torch.dtype) -> None:
    """Of `token_nll` the logits, of a size of 7, are rounded before, and its products after."""
    fast, slow, inputs = CASES[name]
    found = forward_and_backward(fast, inputs, dtype)
    plain = forward_and_backward(slow, inputs, dtype)
    # what the gains are when they are rounded as the weights are
    exact = forward_and_backward(slow, tuple(x.to(dtype) for x in inputs), torch.float64)
    assert [x.dtype for x in found] == [x.dtype for x in plain]
    ulps, atol = (4, 0.1) if name == "token_nll" else (1.01, 2e-3)
    for one, expected in zip(found, exact, strict=True):
        rtol, near = (ulps * HALF_ULP, atol) if dtype == torch.bfloat16 else (1e-5, 1e-5)
        torch.testing.assert_close(one.double(), expected, rtol=rtol, atol=near)


@pytest.mark.parametrize("name", CASES)
def test_rows_that_lie_apart_are_read_rightly(name: str) -> None:
    """Every second token of a wider tensor, and gradients that were expanded from one number."""
    fast, slow, inputs = CASES[name]
    wide = torch.stack((inputs[0].float(), inputs[0].float()), dim=-1)[..., 0]
    assert not wide.is_contiguous()
    results = []
    for body in (fast, slow):
        x = wide.detach().requires_grad_()
        out = body(x, *(other.float() for other in inputs[1:]))
        total = sum(o.sum() for o in out) if isinstance(out, tuple) else out.sum()
        assert isinstance(total, Tensor)
        results.append(torch.autograd.grad(total, x)[0])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_sums_over_rows_do_not_depend_on_the_number_of_threads() -> None:
    fast, _, inputs = CASES["rms_norm"]
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(forward_and_backward(fast, inputs, torch.bfloat16))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_torch_keeps_its_number_of_threads_when_the_loops_start() -> None:
    """numba's threads, when they start, set OpenMP's number; two threads multiply otherwise than one."""
    program = """
import torch
torch.set_num_threads(1)
from ziggurat.model.cpu import kernels
kernels.rms_norm(torch.ones(2, 4, requires_grad=True), torch.ones(4), 1e-6)
print(torch.get_num_threads())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_what_is_not_finite_is_not_made_finite(bad: float, dtype: torch.dtype) -> None:
    """The training loop refuses a step whose loss or gradient is not finite; loops in fast mathematics must show it."""
    hidden = drawn(4, WIDTH).to(dtype)
    hidden[2, 5] = bad
    hidden.requires_grad_()
    weight = drawn(VOCABULARY, WIDTH, seed=1).to(dtype).requires_grad_()
    nll = kernels.token_nll(hidden, weight, torch.arange(4))
    gradient = torch.autograd.grad(nll.sum(), weight)[0]
    assert not (nll.isfinite().all() and gradient.isfinite().all())
    x = drawn(4, WIDTH).to(dtype)
    x[2, 5] = bad
    for y in (
        kernels.rms_norm(x, torch.ones(WIDTH, requires_grad=True), 1e-3),
        kernels.swiglu(x.requires_grad_()),
    ):
        assert not y.isfinite().all()
