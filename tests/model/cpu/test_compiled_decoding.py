"""The compiled loops compute what torch's kernels compute: bf16 in, sums in fp32, bf16 out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ziggurat.engine.engine import Engine
from ziggurat.engine.params import SamplingParams
from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu import kernels
from ziggurat.model.cpu.fast import FastLinear
from ziggurat.model.transformer import Transformer, set_compute_dtype

HALF_ULP = 2**-8  # of a bf16 number, relative


@pytest.fixture(autouse=True)
def without_gradients() -> None:
    with torch.inference_mode():
        if kernels.decoding_loops(torch.zeros(1, dtype=torch.bfloat16)) is None:
            pytest.skip("numba's loops do not work on this machine")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def close(found: Tensor, exact: Tensor, slack: float = 1.01) -> None:
    torch.testing.assert_close(found.double(), exact.double(), rtol=slack * HALF_ULP, atol=2e-3)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 40), (64, 64), (200, 33)])
@torch.inference_mode()
def test_a_matrix_times_a_row(rows: int, columns: int) -> None:
    from ziggurat.model.cpu.compiled_decoding import linear_row

    x, weight, bias = drawn(1, columns), drawn(rows, columns, seed=1), drawn(rows, seed=2)
    close(linear_row(x, weight, None), x.double() @ weight.double().T)
    torch.testing.assert_close(linear_row(x, weight, bias), linear_row(x, weight, None) + bias)


@torch.inference_mode()
def test_rounding_is_to_the_nearest_even() -> None:
    from ziggurat.model.cpu.compiled_decoding import linear_row

    numbers = torch.cat((torch.randn(4096), torch.tensor([0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 3e38, 1e-39])))
    upper = numbers.bfloat16()
    lower = (numbers - upper.float()).bfloat16()
    pairs = torch.stack((upper, lower), -1)  # (N, 2): their sum is rounded once
    summed = (pairs.float().sum(-1)).bfloat16()
    assert torch.equal(linear_row(torch.ones(1, 2).bfloat16(), pairs, None)[0], summed)


@torch.inference_mode()
def test_norm_and_gate() -> None:
    from ziggurat.model.cpu.compiled_decoding import rms_norm, swiglu

    x, gain = drawn(3, 5, 48), drawn(48, seed=1)
    close(rms_norm(x, gain, 1e-6), F.rms_norm(x.double(), (48,), gain.double(), 1e-6))
    gate, up = x.double().chunk(2, dim=-1)
    close(swiglu(x), F.silu(gate) * up)
    extreme = torch.tensor([[-300.0, 300.0, -88.0, 0.0, 1.0, 1.0, 1.0, 1.0]]).bfloat16()
    close(swiglu(extreme), torch.tensor([[0.0, 300.0, 0.0, 0.0]]))


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize(("normed", "rotated"), [(True, True), (False, True), (True, False), (False, False)])
@torch.inference_mode()
def test_attention_of_new_tokens(heads: tuple[int, int], normed: bool, rotated: bool) -> None:
    from ziggurat.model.cpu.compiled_decoding import attend_new

    (H, K), D, lengths = heads, 16, np.array([0, 5, 30])
    keys, values = drawn(4, K, 32, D, seed=1), drawn(4, K, 32, D, seed=2)
    qkv = drawn(3, (H + 2 * K) * D, seed=3)
    gains = drawn(H + K, D, seed=4).float() if normed else None
    rotary = drawn(3, 2, D, seed=5) if rotated else None
    before = keys.clone(), values.clone()
    y = attend_new(qkv, gains, 1e-6, rotary, keys, values, lengths)
    q, k, v = qkv.double().view(3, H + 2 * K, D).split((H, K, K), dim=1)
    if gains is not None:
        q = F.rms_norm(q, (D,), None, 1e-6) * gains[:H].double()
        k = F.rms_norm(k, (D,), None, 1e-6) * gains[H:].double()
    if rotary is not None:
        cos, sin = rotary.double()[:, None].unbind(-2)
        q, k = (x * cos + x.roll(D // 2, -1) * sin for x in (q, k))
    for row, length in enumerate(lengths.tolist()):
        close(keys[row, :, length], k[row])
        assert torch.equal(values[row, :, length], v[row].bfloat16())
        held_k = torch.cat(
            (before[0][row, :, :length].double(), keys[row, :, length : length + 1].double()), 1
        )
        held_v = torch.cat((before[1][row, :, :length].double(), v[row][:, None]), 1)
        exact = F.scaled_dot_product_attention(q[row][:, None], held_k, held_v, enable_gqa=True)
        close(y[row].view(H, D), exact[:, 0], slack=2)
        keys[row, :, length], values[row, :, length] = before[0][row, :, length], before[1][row, :, length]
    assert torch.equal(keys, before[0])  # and nothing else was touched
    assert torch.equal(values, before[1])


SHAPES = {
    "qwen": {"qk_norm": True, "kv_heads": 2},
    "llama": {"qk_norm": False, "kv_heads": 4},
    "gpt": {
        "norm": "layernorm", "activation": "gelu_tanh", "positions": "learned", "qk_norm": False, "kv_heads": 4,
        "qkv_bias": True, "out_bias": True, "mlp_bias": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("streams", [1, 3])
def test_the_engine_says_what_it_says_without_them(
    shape: str, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-probabilities along one path of tokens: prompts of 15 and more, 12 new ones."""
    config = ModelConfig(
        layers=3, d_model=64, heads=4, d_head=16, d_ff=96, vocab_size=90, context=64, **SHAPES[shape]
    )
    model = Transformer(config, seed=1).eval()
    set_compute_dtype(model, torch.bfloat16)

    def logprobs() -> list[list[float]]:
        engine = Engine(model, max_slots=streams)
        found: list[list[float]] = [[] for _ in range(streams)]
        forced = (tuple((token, 60.0) for token in [7]),)  # every completion is 7 7 7 ...
        for i in range(streams):
            params = SamplingParams(temperature=0, max_tokens=12, logit_bias=forced[0])
            engine.submit(list(range(3 + i, 18 + 3 * i)), params)
        while engine.has_work:
            for event in engine.step():
                assert event.token == 7
                found[event.handle].append(event.logprob)
        return found

    fast = logprobs()
    monkeypatch.setattr(kernels, "_compiled", lambda: None)
    slow = logprobs()
    assert np.abs(np.array(fast) - np.array(slow)).max() < 0.03
    assert fast != slow  # both were really run


def test_a_changed_master_is_seen() -> None:
    layer = FastLinear(8, 4, bias=False)
    layer.weight.data.fill_(1.0)
    x = torch.ones(1, 8).bfloat16()
    with torch.inference_mode():
        assert layer(x).tolist() == [[8.0] * 4]
        assert layer(x.expand(3, 8)).tolist() == [[8.0] * 4] * 3
    with torch.no_grad():
        layer.weight.mul_(2.0)
        assert layer(x).tolist() == [[16.0] * 4]
        assert layer(x.expand(3, 8)).tolist() == [[16.0] * 4] * 3
