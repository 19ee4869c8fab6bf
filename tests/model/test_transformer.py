"""What must hold of any Transformer: causal, cached as uncached, segments apart, initialised as its table says."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu import accelerate
from ziggurat.model.presets import OURS, preset
from ziggurat.model.transformer import Transformer, set_compute_dtype

QWEN = ModelConfig(
    layers=2, d_model=32, heads=4, kv_heads=2, d_head=16, d_ff=48, vocab_size=53, context=32, tied=False
)
GPT = QWEN.model_copy(
    update={
        "norm": "layernorm",
        "activation": "gelu_tanh",
        "positions": "learned",
        "qk_norm": False,
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
    }
)
VARIANTS = {
    "qwen": QWEN,
    "gpt": GPT,
    "sinusoidal": QWEN.model_copy(update={"positions": "sinusoidal"}),
    "post": QWEN.model_copy(update={"norm_placement": "post"}),
    "relu2": QWEN.model_copy(update={"activation": "relu2"}),
}
IDS = torch.randint(0, 53, (3, 20), generator=torch.Generator().manual_seed(0))


class SimpleCache:
    """The plainest cache: concatenate, then attend with an explicit mask."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if layer in self.kept:
            k, v = (torch.cat(pair, dim=2) for pair in zip(self.kept[layer], (k, v), strict=True))
        self.kept[layer] = k, v
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_no_token_sees_a_later_one(name: str, grad: bool) -> None:
    model = Transformer(VARIANTS[name])
    changed = IDS.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 53
    with torch.set_grad_enabled(grad):
        a, b = model(IDS), model(changed)
    torch.testing.assert_close(a[:, :12], b[:, :12])
    assert (a[:, 12:] - b[:, 12:]).abs().amax(dim=(0, 2)).min() > 1e-3


@pytest.mark.parametrize("chunks", [(20,), (7, 13), (12, *[1] * 8)])
@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_cached_equals_uncached(name: str, chunks: tuple[int, ...]) -> None:
    model = Transformer(VARIANTS[name])
    cache, at, parts = SimpleCache(), 0, []
    for T in chunks:
        positions = torch.arange(at, at + T).expand(3, T)
        parts.append(model(IDS[:, at : at + T], positions=positions, cache=cache))
        at += T
    torch.testing.assert_close(torch.cat(parts, 1), model(IDS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grad", [False, True])
def test_segments_are_as_if_alone(grad: bool) -> None:
    """Packed: tokens 0-6, 7-11, 12-19, each counted from 0; and each part by itself."""
    model = Transformer(QWEN)
    cuts = (0, 7, 12, 20)
    segments, positions = torch.empty(3, 20, dtype=torch.long), torch.empty(3, 20, dtype=torch.long)
    for number, (a, b) in enumerate(itertools.pairwise(cuts)):
        segments[:, a:b], positions[:, a:b] = number, torch.arange(b - a)
    with torch.set_grad_enabled(grad):
        packed = model(IDS, segments=segments, positions=positions)
        alone = torch.cat([model(IDS[:, a:b]) for a, b in itertools.pairwise(cuts)], 1)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_positions_the_last_token_sees_a_bag_and_with_them_an_order() -> None:
    """One layer: in a deeper causal model, earlier tokens have themselves seen prefixes, and order leaks."""
    order = torch.tensor([3, 0, 2, 1, 4])
    for positions, is_bag in (("none", True), ("rotary", False), ("sinusoidal", False), ("learned", False)):
        model = Transformer(QWEN.model_copy(update={"layers": 1, "positions": positions}))
        a, b = model(IDS[:1, :5])[0, -1], model(IDS[:1, order])[0, -1]
        assert torch.allclose(a, b, atol=1e-5) is is_bag, positions


@torch.no_grad()
def test_first_loss_is_about_ln_v() -> None:
    ids = torch.randint(0, 2048, (4, 65), generator=torch.Generator().manual_seed(0))
    model = Transformer(OURS["town"])
    loss = model.nll(model.hidden(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).mean().item()
    assert loss == pytest.approx(math.log(2048), abs=0.15)


@torch.no_grad()
def test_chain_rule_sums_token_log_probabilities() -> None:
    """log p(w1..wn) by n separate prefixes equals the sum read from one pass."""
    model = Transformer(QWEN)
    ids = IDS[:1, :8]
    together = -model.nll(model.hidden(ids[:, :-1])[0], ids[0, 1:]).sum()
    apart = sum(model(ids[:, :t])[0, -1].log_softmax(-1)[ids[0, t]] for t in range(1, 8))
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("name", ["qwen", "gpt"])
def test_initial_weights_are_as_the_table_says(name: str) -> None:
    """Read from the docstring of `init_weights`, row by row. 6 sigma of a sample's deviation: 1 false alarm in 10^8."""
    sizes = {"layers": 3, "d_model": 128, "d_ff": 96, "vocab_size": 199}
    model = Transformer(VARIANTS[name].model_copy(update=sizes), seed=5)
    rows = [
        line.split("|")[1:3] for line in (Transformer.init_weights.__doc__ or "").splitlines() if "|" in line
    ]
    table = {key.strip(): value.strip() for key, value in rows}
    seen: set[str] = set()
    for parameter_name, parameter in model.named_parameters():
        kind = next(
            (
                key
                for key in table
                for word in key.split(", ")
                if word.split()[-1] in parameter_name and parameter.ndim == 2
            ),
            "biases" if parameter_name.endswith("bias") else "gains of norms",
        )
        seen.add(kind)
        columns, layers = parameter.shape[-1], 3
        meaning = table[kind].removeprefix("normal, std ").replace("2 layers *", "2 * layers *")
        value = eval(meaning, {"sqrt": math.sqrt, "columns": columns, "layers": layers})
        if parameter.ndim == 1:
            assert (parameter == value).all(), parameter_name
            continue
        spread = 6 / math.sqrt(2 * parameter.numel())
        assert parameter.std().item() == pytest.approx(value, rel=spread), parameter_name
        assert abs(parameter.mean().item()) < 6 * value / math.sqrt(parameter.numel()), parameter_name
    assert seen >= set(table) - {"parameter", "-" * 41, "biases"}


def test_the_seed_decides_the_weights() -> None:
    a, b, c = Transformer(QWEN, seed=1), Transformer(QWEN, seed=2), Transformer(QWEN)
    b.init_weights(1)
    states = [model.state_dict() for model in (a, b, c)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["embedding.weight"], states[2]["embedding.weight"])


def steps_taken_by(update: Any) -> bool:
    """Whether bf16 generation notices what `update` did to the fp32 masters."""
    model = accelerate(Transformer(QWEN))
    set_compute_dtype(model, torch.bfloat16)
    with torch.no_grad():
        before = model(IDS)
    update(model)
    with torch.no_grad():
        return not torch.equal(before, model(IDS))


def optimizer_step(make: Any) -> Any:
    def update(model: Transformer) -> None:
        names = model.muon_matrices()
        optimizer = make([model.get_parameter(name) for name in names])
        model(IDS).logsumexp(-1).sum().backward()
        optimizer.step()

    return update


@pytest.mark.parametrize("update", [
    optimizer_step(lambda params: torch.optim.AdamW(params, fused=True)),
    optimizer_step(lambda params: torch.optim.AdamW(params, foreach=True)),
    optimizer_step(torch.optim.Muon),
    lambda model: model.load_state_dict(Transformer(QWEN, seed=3).state_dict()),
    lambda model: model.load_state_dict(Transformer(QWEN, seed=3).state_dict(), assign=True),
    lambda model: model.init_weights(4),
])  # fmt: skip
def test_generation_never_runs_on_stale_casts(update: Any) -> None:
    """Casts of the weights are kept between tokens; a rollout with last step's weights would be a silent disaster."""
    assert steps_taken_by(update)


@pytest.mark.parametrize("name", VARIANTS)
def test_bf16_computes_nearly_the_same_with_fp32_masters_and_gradients(name: str) -> None:
    model = Transformer(VARIANTS[name])
    exact = model(IDS)
    set_compute_dtype(model, torch.bfloat16)
    rounded = model(IDS)
    assert rounded.dtype == torch.float32
    assert (exact - rounded).norm() / exact.norm() < 0.03
    rounded.square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == p.dtype == torch.float32 for p in model.parameters())


def test_muon_matrices_are_the_blocks_matrices_and_their_parts_add_up() -> None:
    for config in VARIANTS.values():
        model = Transformer(config)
        matrices = model.muon_matrices()
        in_blocks = {n for n, p in model.named_parameters() if n.startswith("blocks.") and p.ndim == 2}
        assert set(matrices) == in_blocks
        assert all(sum(rows) == model.get_parameter(name).shape[0] for name, rows in matrices.items())


def test_too_many_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="33 tokens do not fit the model's context of 32"):
        Transformer(QWEN)(torch.zeros(1, 33, dtype=torch.long))


def test_sizes_that_do_not_fit_are_all_named() -> None:
    with pytest.raises(
        ValueError, match=r"heads: 4 is not a multiple of kv_heads: 3.*d_head: 15 must be even"
    ):
        ModelConfig(**{**QWEN.model_dump(), "kv_heads": 3, "d_head": 15})


def test_presets_have_our_shape() -> None:
    town = preset("town")
    assert (town.layers, town.d_model, town.heads, town.vocab_size, town.context) == (4, 256, 4, 2048, 256)


@torch.no_grad()
def test_after_a_quiet_start_every_block_is_the_identity_and_still_learns():
    model = Transformer(
        ModelConfig(layers=2, d_model=16, heads=2, kv_heads=2, d_head=8, d_ff=24, vocab_size=11, context=8)
    )
    ids = torch.tensor([[1, 2, 3, 4]])
    model.init_weights(0, quiet=True)
    swapped = torch.tensor([[4, 3, 2, 4]])
    assert torch.equal(model(ids)[0, -1], model(swapped)[0, -1])  # nothing is heard of the past yet
    with torch.enable_grad():
        model(ids).square().sum().backward()
    writers = [
        p for n, p in model.named_parameters() if n.endswith(("attention.out.weight", "mlp.down.weight"))
    ]
    assert len(writers) == 4
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in writers)
