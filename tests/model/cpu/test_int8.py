"""int8 weights: the products are those of the rounded weights, and nothing else changes."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu import int8, kernels
from ziggurat.model.layers import Linear
from ziggurat.model.transformer import Transformer

integers = pytest.mark.skipif(not int8.multiplies_int8(), reason="this CPU does not multiply int8")


def tiny(**sizes: Any) -> Transformer:
    shape = {"layers": 2, "d_model": 32, "heads": 4, "kv_heads": 2, "d_head": 8, "d_ff": 48}
    model = Transformer(ModelConfig(vocab_size=61, context=48, **{**shape, **sizes})).eval()
    with torch.no_grad():
        model.norm.weight.mul_(20)
    return model


@pytest.fixture(params=["integers", "widened"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "widened":
        monkeypatch.setattr(int8, "multiplies_int8", lambda: False)
    elif not int8.multiplies_int8():
        pytest.skip("this CPU does not multiply int8")
    return str(request.param)


def linear(out: int, columns: int, *, bias: bool = False) -> Linear:
    made = Linear(columns, out, bias=bias)
    with torch.no_grad():
        made.weight.copy_(torch.randn(out, columns) * torch.logspace(-3, 1, out)[:, None])
        if bias:
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
def test_products_are_those_of_the_rounded_weights(path: str, rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    made = linear(50, 96, bias=True)
    small = int8.Int8Linear(made.weight.detach(), made.bias)
    x = torch.randn(rows, 96).to(dtype)
    with torch.inference_mode():
        found = small(x).double()
    rounded = small.weight_as(torch.float64)
    wide = x.double()
    compiled = rows <= int8.COMPILED_ROWS and dtype == torch.bfloat16 and int8._loops() is not None
    if path == "integers" and not compiled:  # activations are rounded as well: 127 steps up and down from 0
        step = wide.abs().amax(-1, keepdim=True) / 127
        wide = (wide / step).round() * step
    expected = F.linear(wide, rounded, made.bias.double())
    error = (found - expected).norm() / expected.norm()
    assert error < (1e-3 if dtype == torch.float32 else 5e-3)  # a tie may be rounded the other way


@integers
def test_a_row_is_the_same_alone_and_among_others() -> None:
    torch.manual_seed(0)
    small = int8.Int8Linear(linear(70, 96).weight.detach(), None)
    x = torch.randn(9, 96) * torch.logspace(-4, 4, 9)[:, None]
    x[4] = 0
    together = small(x)
    assert all(torch.equal(together[i : i + 1], small(x[i : i + 1])) for i in range(9))
    assert not together[4].any()


@pytest.mark.skipif(kernels._compiled() is None or int8._loops() is None, reason="no numba here")
@pytest.mark.parametrize("columns", [8, 96, 1000, 5000])
def test_the_compiled_product_reads_activations_as_bf16_has_them(columns: int) -> None:
    torch.manual_seed(0)
    made = linear(70, columns)
    small = int8.Int8Linear(made.weight.detach(), None)
    x = torch.randn(2, columns).bfloat16()
    x[1] = 300  # the largest sums that there can be
    with torch.inference_mode():
        found = torch.cat([small(x[:1]), small(x[1:])])
        assert torch.equal(found, small(x))
    expected = x.double() @ small.weight_as(torch.float64).T
    error = (found.double() - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 0.003  # what rounding the result to bf16 takes


@integers
def test_threads_do_not_share_a_buffer() -> None:
    torch.manual_seed(0)
    small = int8.Int8Linear(linear(64, 512).weight.detach(), None)
    inputs = [torch.randn(2, 512) for _ in range(4)]
    expected = [small(x) for x in inputs]
    wrong = []

    def work(i: int) -> None:
        wrong.extend(1 for _ in range(300) if not torch.equal(small(inputs[i]), expected[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_becomes_small_and_says_nearly_the_same(path: str, tied: bool) -> None:
    model, small = tiny(tied=tied), tiny(tied=tied)
    before = int8.weight_bytes(model)
    int8.quantize(small)
    assert int8.numerics(model) == "float32"
    words = {"integers": "float32, int8 weights and activations in matrix products"}
    assert int8.numerics(small) == words.get(path, "float32, int8 weights")
    assert not any(isinstance(module, Linear) for module in small.modules())
    assert int8.weight_bytes(small) < before * (0.6 if tied else 0.45)
    ids = torch.randint(61, (3, 20))
    with torch.inference_mode():
        ours, theirs = small(ids).log_softmax(-1), model(ids).log_softmax(-1)
    assert 0 < float((theirs.exp() * (theirs - ours)).sum(-1).mean()) < 5e-3  # nats
    nll = small.nll(small.hidden(ids).flatten(0, 1)[:5], torch.arange(5))
    assert torch.isfinite(nll).all()


def test_it_generates_alike_alone_and_in_a_crowd(path: str) -> None:
    model = tiny()
    int8.quantize(model)
    prompts = [[i, 2 * i, 5] for i in range(1, 12)]
    params = SamplingParams(temperature=0, max_tokens=12)
    together = [c.ids for c in generate(model, prompts, params)]
    assert together == [generate(model, [prompt], params)[0].ids for prompt in prompts]


def test_it_takes_no_other_weights() -> None:
    small = tiny()
    int8.quantize(small)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        small.load_state_dict(tiny().state_dict())
