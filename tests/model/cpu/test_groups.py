"""Weights of 8 and 4 bits: products are those of the rounded weights, exactly, whichever loop computes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ziggurat.model.cpu import groups, kernels
from ziggurat.model.cpu.groups import GroupedLinear

needs_loops = pytest.mark.skipif(kernels.group_loops() is None, reason="numba's loops do not work here")
SHAPES = [
    (50, 96),
    (16, 32),
    (33, 40),
    (7, 5),
    (130, 576),
]  # (outputs, columns), whole strips and groups and not


def drawn(N: int, C: int, seed: int = 0) -> Tensor:
    """Rows of very different size, one of zeros."""
    weight = (
        torch.randn(N, C, generator=torch.Generator().manual_seed(seed)) * torch.logspace(-3, 1, N)[:, None]
    )
    weight[N // 2] = 0
    return weight


def rounded_rows(x: Tensor) -> Tensor:
    """Activations as the loops read them: 32 neighbours in 127 steps up and down. The slow, obvious version."""
    wide = x.double()
    for start in range(0, wide.shape[1], 32):
        part = wide[:, start : start + 32]
        step = (part.abs().amax(1, keepdim=True) / 127).clamp_min(1e-30)
        part.copy_((part / step).round() * step)
    return wide


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("N", "C"), SHAPES)
def test_a_weight_is_off_by_half_a_step_of_its_own_group(N: int, C: int, bits: int) -> None:
    weight = drawn(N, C)
    held = GroupedLinear.rounded(weight, None, bits).weight_as(torch.float32)
    assert held.shape == weight.shape
    for start in range(0, C, 32):
        part, found = weight[:, start : start + 32], held[:, start : start + 32]
        span = part.abs().amax(1) * 2 / 254 if bits == 8 else (part.amax(1) - part.amin(1)) / 15
        wrong = (found - part).abs()
        if bits == 4:  # a shorter range may cut the outermost weight for the sake of the others
            assert bool((wrong.amax(1) <= span + 1e-3 * part.abs().amax(1)).all())
        else:  # half a step, and what fp16 takes off the scale
            assert bool((wrong.amax(1) <= 0.5 * span + 1e-3 * part.abs().amax(1) + 1e-7).all())
    assert not held[N // 2].any()


def test_4_bits_are_chosen_better_than_by_range_alone() -> None:
    weight = torch.randn(64, 320, generator=torch.Generator().manual_seed(1))
    held = GroupedLinear.rounded(weight, None, 4).weight_as(torch.float32)
    grouped = weight.view(64, 10, 32)
    low, step = (
        grouped.amin(-1, keepdim=True),
        (grouped.amax(-1, keepdim=True) - grouped.amin(-1, keepdim=True)) / 15,
    )
    plain = ((grouped - low) / step).round() * step + low
    assert (held - weight).square().mean() < 0.93 * (plain - grouped).square().mean()


@needs_loops
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("N", "C"), SHAPES)
@pytest.mark.parametrize("M", [1, 2, 7, 19])
def test_products_equal_those_of_the_widened_weights(N: int, C: int, M: int, bits: int) -> None:
    """Sums of integers are exact, so all that is left is fp32 rounding of a handful of groups."""
    made = GroupedLinear.rounded(drawn(N, C), torch.linspace(-1, 1, N), bits)
    x = torch.randn(M, C, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        found = made(x).double()
    terms = rounded_rows(x), made.weight_as(torch.float64)
    expected = F.linear(*terms, torch.linspace(-1, 1, N).double())
    scale = F.linear(terms[0].abs(), terms[1].abs()) + 1  # of what is added up
    assert bool(((found - expected).abs() <= 2e-6 * scale).all())


@needs_loops
@pytest.mark.parametrize("bits", [8, 4])
def test_a_row_is_the_same_alone_and_among_others(bits: int) -> None:
    made = GroupedLinear.rounded(drawn(70, 96), None, bits)
    x = torch.randn(23, 96).bfloat16() * torch.logspace(-4, 4, 23)[:, None].bfloat16()
    x[4] = 0
    with torch.inference_mode():
        together = made(x)
        assert all(torch.equal(together[i : i + 1], made(x[i : i + 1])) for i in range(len(x)))
    assert not together[4].any()


@needs_loops
@pytest.mark.parametrize("M", [1, 3, 9])
def test_fine_activations_lose_nothing_of_bf16(M: int) -> None:
    made = GroupedLinear.rounded(drawn(50, 100), torch.linspace(-1, 1, 50), 8)
    x = torch.randn(M, 100, generator=torch.Generator().manual_seed(2)).bfloat16().float()
    weight, bias = made.weight_as(torch.float64), torch.linspace(-1, 1, 50).double()
    exact = F.linear(x.double(), weight, bias)
    scale = F.linear(x.double().abs(), weight.abs()) + 1
    with torch.inference_mode():
        coarse = ((made(x) - exact) / scale).abs().max()
        made.fine = True
        fine = ((made(x) - exact) / scale).abs().max()
    assert fine < 2e-5 < 1e-3 < coarse


@needs_loops
def test_an_outlier_makes_only_its_neighbours_coarse() -> None:
    """39 times the root mean square, as in what goes into SmolLM2's mlp.down, where one step a row cost 3.6 %."""
    made = GroupedLinear.rounded(torch.randn(64, 1536, generator=torch.Generator().manual_seed(0)), None, 8)
    x = torch.randn(4, 1536, generator=torch.Generator().manual_seed(1))
    x[:, 700] = 39.0
    with torch.inference_mode():
        found = made(x)
    exact = F.linear(x.double(), made.weight_as(torch.float64))
    assert (found - exact).norm() / exact.norm() < 0.01
    step = x.abs().amax(1, keepdim=True) / 127
    whole_row = F.linear(((x / step).round() * step).double(), made.weight_as(torch.float64))
    assert (whole_row - exact).norm() / exact.norm() > 0.03


@needs_loops
def test_numbers_that_are_not_finite_stay_visible() -> None:
    made = GroupedLinear.rounded(drawn(20, 64), None, 8)
    x = torch.ones(2, 64)
    x[1, 3] = torch.nan
    with torch.inference_mode():
        y = made(x)
    assert torch.isfinite(y[0]).all()
    assert torch.isnan(y[1]).all()


@needs_loops
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("vector_bits", [512, 256])
def test_each_width_of_vectors_gives_the_plain_loops_numbers(bits: int, vector_bits: int) -> None:
    from numba import njit

    from ziggurat.model.cpu import compiled_groups, compiled_tiles

    if vector_bits > compiled_tiles.VECTOR_BITS:
        pytest.skip("this processor has no such instructions")
    chosen = compiled_tiles._tile(bits, 4, vector_bits)

    @njit
    def vectors(strip, groups, digits, steps, offsets, shares, out):  # type: ignore[no-untyped-def]
        chosen(strip, groups, digits, steps, offsets, shares, out)

    def tile(_bits, strip, groups, _rows, *others):  # type: ignore[no-untyped-def]
        vectors(strip, groups, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled_groups, "tile", tile)
        assert compiled_groups._agrees(bits, 4)


@pytest.mark.parametrize("bits", [8, 4])
def test_widened_products_and_gradients_where_no_loop_computes(
    bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = GroupedLinear.rounded(drawn(50, 96), torch.ones(50), bits)
    x = torch.randn(3, 96, requires_grad=True)
    weight = made.weight_as(torch.float32)
    y = made(x)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), F.linear(x.detach(), weight, torch.ones(50)))
    torch.testing.assert_close(x.grad, weight.sum(0).expand(3, 96))
    monkeypatch.setattr(kernels, "group_loops", lambda: None)
    monkeypatch.setattr(groups, "PART_WEIGHTS", 96 * 16)  # in four parts
    with torch.no_grad():
        torch.testing.assert_close(made(x), F.linear(x, weight, torch.ones(50)))


@pytest.mark.parametrize("bits", [8, 4])
def test_rows_are_looked_up(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = GroupedLinear.rounded(drawn(50, 40), None, bits)
    ids = torch.tensor([[0, 49, 17], [16, 15, 25]])
    expected = made.weight_as(torch.float32)[ids]
    assert torch.equal(groups.GroupedEmbedding(made)(ids), expected)
    monkeypatch.setattr(kernels, "group_loops", lambda: None)
    assert torch.equal(groups.GroupedEmbedding(made)(ids), expected)
