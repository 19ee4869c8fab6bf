"""Muon beside torch's own Muon and beside the singular value decomposition."""

import pytest
import torch
from tests.training.tiny import TINY, tiny_model
from torch import nn

from ziggurat.training.config import TrainConfig
from ziggurat.training.muon import Coefficients, Muon, newton_schulz, polar_express
from ziggurat.training.optimizers import build_optimizer, muon_rows

JORDAN: Coefficients = ((3.4445, -4.7750, 2.0315),) * 5
"""The same in every round; what torch's Muon does."""


def polar_factor(x: torch.Tensor) -> torch.Tensor:
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    return u @ v


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16)])
@pytest.mark.parametrize(
    ("coefficients", "low", "high", "along"),
    [(JORDAN, 0.6, 1.25, 0.97), (polar_express(3), 0.15, 1.9, 0.85), (polar_express(8), 0.99, 1.01, 0.999)],
)
def test_newton_schulz_lands_near_the_polar_factor(
    shape: tuple[int, int], coefficients: Coefficients, low: float, high: float, along: float
) -> None:
    """Its singular vectors are exact; its singular values lie near 1 if the input's are not tiny."""
    torch.manual_seed(0)
    x = torch.randn(3, *shape)
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    x = u @ torch.diag_embed(s.clamp(min=0.05 * s.max().item())) @ v
    y = newton_schulz(x.clone(), coefficients)
    values = torch.linalg.svdvals(y)
    assert values.min() > low
    assert values.max() < high
    inner = (y * polar_factor(x)).flatten(1).sum(1) / (y.flatten(1).norm(dim=1) * min(shape) ** 0.5)
    assert (inner > along).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e8])
@pytest.mark.parametrize("coefficients", [JORDAN, polar_express(3)])
def test_newton_schulz_does_not_care_for_scale(scale: float, coefficients: Coefficients) -> None:
    x = torch.randn(2, 8, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        newton_schulz(x * scale, coefficients), newton_schulz(x.clone(), coefficients), rtol=1e-3, atol=1e-4
    )


def test_zero_gradient_stays_zero() -> None:
    assert torch.equal(
        newton_schulz(torch.zeros(1, 4, 6, dtype=torch.bfloat16), polar_express(3)), torch.zeros(1, 4, 6)
    )


@pytest.mark.parametrize("shape", [(32, 32), (32, 96), (96, 32)])
def test_agrees_with_torch_muon(shape: tuple[int, int]) -> None:
    """Five steps with the same gradients; both iterate in bf16, rounding at other places: 3 % of the way."""
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    a = Muon([ours], lr=0.02, weight_decay=0.1, coefficients=JORDAN)
    b = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95, ns_steps=5)
    for step in range(5):
        grad = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        a.step()
        b.step()
    way = (theirs - start).norm()
    assert float((ours - theirs).detach().norm() / way.detach()) < 0.03


@pytest.mark.parametrize("beta2", [0.0, 0.9])
def test_parts_of_a_fused_weight_move_as_if_they_were_alone(beta2: float) -> None:
    fused = nn.Parameter(torch.zeros(20, 12))
    apart = [nn.Parameter(torch.zeros(rows, 12)) for rows in (14, 6)]  # a tall one and a wide one
    together = Muon([fused], lr=0.1, beta2=beta2, rows={fused: (14, 6)}, dtype=torch.float32)
    alone = Muon(apart, lr=0.1, beta2=beta2, dtype=torch.float32)
    for step in range(3):
        grad = torch.randn(20, 12, generator=torch.Generator().manual_seed(step))
        fused.grad = grad.clone()
        for p, part in zip(apart, grad.split((14, 6)), strict=True):
            p.grad = part.clone()
        together.step()
        alone.step()
    torch.testing.assert_close(fused.detach(), torch.cat([p.detach() for p in apart]))


@pytest.mark.parametrize("shape", [(24, 8), (8, 24)])
def test_normuon_evens_the_longer_side_and_keeps_the_norm(shape: tuple[int, int]) -> None:
    """The first step knows no past: all rows of a tall matrix (columns of a wide one) move equally far."""
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    plain, even = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))
    for p, beta2 in ((plain, 0.0), (even, 0.95)):
        p.grad = grad.clone()
        Muon([p], lr=0.1, beta2=beta2, dtype=torch.float32).step()
    across = 1 if shape[0] > shape[1] else 0
    lengths = even.detach().norm(dim=across)
    torch.testing.assert_close(lengths, lengths.mean().expand_as(lengths))
    torch.testing.assert_close(even.detach().norm(), plain.detach().norm())
    assert plain.detach().norm(dim=across).std() > 0.05 * lengths.mean()


def test_normuon_remembers_the_past() -> None:
    """By hand, from the updates that plain Muon makes of the same gradients (no momentum)."""
    grads = [torch.randn(6, 3, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    p, plain = nn.Parameter(torch.zeros(6, 3)), nn.Parameter(torch.zeros(6, 3))
    ours = Muon([p], lr=1.0, momentum=0.0, beta2=0.8, dtype=torch.float32)
    theirs = Muon([plain], lr=1.0, momentum=0.0, dtype=torch.float32)
    squares, expected = torch.zeros(6), torch.zeros(6, 3)
    for grad in grads:
        p.grad, plain.grad = grad.clone(), grad.clone()
        ours.step()
        before = plain.detach().clone()
        theirs.step()
        update = plain.detach() - before
        squares = 0.8 * squares + 0.2 * update.square().sum(1)
        evened = update / squares.sqrt()[:, None]
        expected += evened * update.norm() / evened.norm()
    torch.testing.assert_close(p.detach(), expected, rtol=1e-4, atol=1e-5)


def test_refuses_a_vector() -> None:
    with pytest.raises(ValueError, match="matrices only"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)


def test_block_matrices_go_to_muon_and_the_rest_to_adamw() -> None:
    model = tiny_model()
    optimizer = build_optimizer(model, TrainConfig())
    muon = {optimizer.names[p] for group in optimizer.members["muon"].param_groups for p in group["params"]}
    assert muon == set(model.muon_matrices())
    assert len(muon) == 4 * TINY.layers
    assert len(optimizer.parameters) == len(list(model.parameters()))


def test_frozen_parameters_are_left_alone() -> None:
    model = tiny_model()
    for p in model.blocks[0].parameters():
        p.requires_grad_(False)
    optimizer = build_optimizer(model, TrainConfig())
    assert len(muon_rows(model)) == 4 * (TINY.layers - 1)
    assert all(p.requires_grad for p in optimizer.parameters)


def test_generation_after_a_step_uses_the_new_weights() -> None:
    """The model keeps cast weights between generations until a master's version rises: our update must raise it."""
    model = tiny_model()
    model.compute_dtype = torch.bfloat16
    ids = torch.arange(6)[None]
    with torch.no_grad():
        model(ids)
    optimizer = build_optimizer(model, TrainConfig(lr_matrix=1.0, lr_adam=0.0))
    model(ids).square().sum().backward()
    optimizer.step()
    fresh = tiny_model()
    fresh.load_state_dict(model.state_dict())
    fresh.compute_dtype = torch.bfloat16
    with torch.no_grad():
        torch.testing.assert_close(model(ids), fresh(ids), rtol=0, atol=0)
