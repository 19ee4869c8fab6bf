"""A model of 8 or 4 bits a weight is small, says nearly the same, and says it alike alone and in a crowd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.model.worlds import theirs

from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu import kernels, quantized
from ziggurat.model.cpu.groups import GroupedLinear
from ziggurat.model.hub import save_model
from ziggurat.model.layers import Linear
from ziggurat.model.transformer import Transformer

SIZES = {"layers": 2, "d_model": 64, "heads": 4, "kv_heads": 2, "d_head": 16, "d_ff": 96}


def tiny(**sizes: Any) -> Transformer:
    model = Transformer(ModelConfig(vocab_size=61, context=48, **{**SIZES, **sizes})).eval()
    with torch.no_grad():
        model.norm.weight.mul_(20)
    return model


@pytest.fixture(params=["loops", "widened"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "widened":
        monkeypatch.setattr(kernels, "group_loops", lambda: None)
    elif kernels.group_loops() is None:
        pytest.skip("numba's loops do not work here")
    return str(request.param)


@pytest.mark.parametrize(("bits", "nats"), [(8, 5e-3), (4, 0.5)])
@pytest.mark.parametrize("tied", [True, False])
def test_a_model_becomes_small_and_says_nearly_the_same(
    path: str, tied: bool, bits: int, nats: float
) -> None:
    model, small = tiny(tied=tied), tiny(tied=tied)
    before = quantized.weight_bytes(model)
    quantized.quantize(small, bits=bits)
    assert quantized.numerics(model) == "float32"
    words = f"float32, int{bits} weights" + (
        ", int8 activations in matrix products" if path == "loops" else ""
    )
    assert quantized.numerics(small) == words
    assert not any(isinstance(module, Linear) for module in small.modules())
    assert quantized.weight_bytes(small) < before * (0.35 if bits == 8 else 0.25)
    assert quantized.bytes_a_token(small) < quantized.bytes_a_token(model) * (0.3 if bits == 8 else 0.2)
    ids = torch.randint(61, (3, 20), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = small(ids).log_softmax(-1), model(ids).log_softmax(-1)
    assert 0 < float((theirs.exp() * (theirs - ours)).sum(-1).mean()) < nats
    nll = small.nll(small.hidden(ids).flatten(0, 1)[:5], torch.arange(5))
    assert torch.isfinite(nll).all()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_generates_alike_alone_and_in_a_crowd(path: str, dtype: torch.dtype, bits: int) -> None:
    if path == "widened" and dtype == torch.bfloat16:
        pytest.skip("torch's own bf16 products differ by shape")
    model = tiny()
    quantized.quantize(model, dtype, bits)
    prompts = [[i, 2 * i, 5] for i in range(1, 12)]
    params = SamplingParams(temperature=0, max_tokens=12)
    together = [c.ids for c in generate(model, prompts, params)]
    assert together == [generate(model, [prompt], params)[0].ids for prompt in prompts]


def test_it_takes_no_other_weights() -> None:
    small = tiny()
    quantized.quantize(small)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        small.load_state_dict(tiny().state_dict())


@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_is_rounded_as_a_loaded_model_is(tied: bool, tmp_path: Path) -> None:
    save_model(tiny(tied=tied), tmp_path)
    found = quantized.load_to_serve(tmp_path, torch.bfloat16, "int4")
    expected = tiny(tied=tied)
    quantized.quantize(expected, torch.bfloat16, 4)
    theirs = {name: m for name, m in expected.named_modules() if isinstance(m, GroupedLinear)}
    ours = {name: m for name, m in found.named_modules() if isinstance(m, GroupedLinear)}
    assert list(theirs) == list(ours)
    for name, matrix in ours.items():
        assert torch.equal(matrix.strips, theirs[name].strips)
    assert found.compute_dtype == torch.bfloat16
    assert quantized.weight_bytes(found) == quantized.weight_bytes(expected)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be auto .* or int8 or int4"):
        quantized.load_to_serve(tmp_path, torch.bfloat16, "int3")


@pytest.mark.parametrize(
    "name",
    ["gpt2", "gpt2-untied", "llama-biases", "smollm3", "gemma3", "neox", "qwen3-tied", "qwen3-moe-plain"],
)
def test_every_family_is_served_in_8_bits(name: str, tmp_path: Path) -> None:
    """Transposed matrices, regrouped rows, biases, tied and scaled embeddings: a slip would give other logits."""
    _, ids, expected = theirs(name, tmp_path)
    with torch.inference_mode():
        found = quantized.load_to_serve(tmp_path, torch.float32, "int8")(ids)
    assert (found - expected).abs().mean() <= 0.05 * expected.std()
