"""An int8 base of training: products are those of the rounded weights, and gradients pass through them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu import int8
from ziggurat.model.cpu.quantized import weight_bytes
from ziggurat.model.layers import Linear
from ziggurat.model.transformer import Transformer


def linear(out: int, columns: int) -> Linear:
    made = Linear(columns, out)
    with torch.no_grad():
        made.weight.copy_(torch.randn(out, columns) * torch.logspace(-3, 1, out)[:, None])
        made.bias.normal_()
    return made


def test_codes_are_the_nearest_of_255_steps_of_each_row() -> None:
    weight = linear(40, 64).weight.detach()
    weight[3] = 0
    codes, scales = int8.to_int8(weight)
    assert codes.dtype == torch.int8
    assert int(codes.abs().max()) == 127
    assert torch.equal(scales, scales.bfloat16().float())
    # half a step, and what rounding the scale to bf16 takes off the largest weight
    largest = weight.abs().amax(1, keepdim=True)
    assert bool(((codes * scales[:, None] - weight).abs() <= 0.5 * scales[:, None] + 0.004 * largest).all())
    assert not codes[3].any()


@pytest.mark.parametrize("rows", [1, 3, 17, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_those_of_the_rounded_weights(rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    made = linear(50, 96)
    held = int8.Int8Linear(made.weight.detach(), made.bias)
    x = torch.randn(rows, 96).to(dtype)
    with torch.inference_mode():
        found = held(x).double()
    expected = F.linear(x.double(), held.weight_as(torch.float64), made.bias.double())
    error = (found - expected).norm() / expected.norm()
    assert error < (1e-3 if dtype == torch.float32 else 5e-3)


def test_gradients_are_those_of_the_rounded_weights() -> None:
    torch.manual_seed(0)
    held = int8.Int8Linear(linear(50, 96).weight.detach(), None)
    x = torch.randn(7, 96, requires_grad=True)
    dy = torch.randn(7, 50)
    held(x).backward(dy)
    torch.testing.assert_close(x.grad, dy @ held.weight_as(torch.float32))


def test_a_held_model_takes_half_the_bytes_of_bf16() -> None:
    shape = {"layers": 2, "d_model": 32, "heads": 4, "kv_heads": 2, "d_head": 8, "d_ff": 48}
    model = Transformer(ModelConfig(vocab_size=61, context=48, tied=False, **shape)).bfloat16()
    matrices = weight_bytes(model) - model.embedding.weight.numel() * 2
    int8.hold_int8(model)
    assert weight_bytes(model) - model.embedding.weight.numel() * 2 < 0.62 * matrices
    assert not any(isinstance(module, Linear) for module in model.modules())
