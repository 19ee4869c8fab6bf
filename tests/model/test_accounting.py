"""Counted parameters equal the real ones and the published sizes; FLOPs and bytes are checked by hand."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ziggurat.errors import ConfigError
from ziggurat.model import accounting, presets
from ziggurat.model.config import ModelConfig
from ziggurat.model.presets import PUBLISHED, preset
from ziggurat.model.transformer import Transformer


def real_parameters(config: ModelConfig) -> int:
    with torch.device("meta"):  # no memory, no weights drawn
        return sum(parameter.numel() for parameter in Transformer(config).parameters())


@pytest.mark.parametrize("name", presets.names())
def test_groups_add_up_to_what_the_model_holds(name: str) -> None:
    config = preset(name)
    assert accounting.total_parameters(config) == real_parameters(config)


def test_groups_add_up_with_unusual_choices() -> None:
    config = ModelConfig(
        layers=2, d_model=24, heads=6, kv_heads=2, d_head=8, d_ff=20, vocab_size=7, context=16, norm="layernorm",
        norm_placement="post", activation="relu2", positions="sinusoidal", qkv_bias=True, mlp_bias=True, tied=False,
    )  # fmt: skip
    assert accounting.total_parameters(config) == real_parameters(config)


@pytest.mark.parametrize(("name", "millions"), [
    ("small", 125), ("medium", 356), ("large", 760), ("xl", 1320),
    ("2.7b", 2650), ("6.7b", 6660), ("13b", 12950), ("175b", 174600),
])  # fmt: skip
def test_gpt3_sizes(name: str, millions: int) -> None:
    """Against 12 L d^2 + V d, worked out by hand, and within 5 % of the printed size."""
    counted = real_parameters(preset(f"gpt3-{name}"))
    assert counted == pytest.approx(millions * 1e6, rel=0.01)
    assert counted == pytest.approx(PUBLISHED[f"gpt3-{name}"].parameters, rel=0.05)


@pytest.mark.parametrize("name", ["llama-7b", "llama-13b", "llama-33b", "llama-65b"])
def test_llama_sizes(name: str) -> None:
    assert real_parameters(preset(name)) == pytest.approx(PUBLISHED[name].parameters, rel=0.02)


def test_only_two_printed_rows_do_not_fit_and_both_say_why() -> None:
    unfit = {name for name, row in PUBLISHED.items() if row.heads * row.d_head != row.d_model}
    assert unfit == {"gpt3-xl", "gpt3-13b"}
    assert all(bool(row.reason) is (name in unfit) for name, row in PUBLISHED.items())
    assert (PUBLISHED["gpt3-xl"].heads, preset("gpt3-xl").heads) == (24, 16)
    assert (PUBLISHED["gpt3-13b"].d_model, preset("gpt3-13b").d_model) == (5140, 5120)
    assert all(preset(name).heads * preset(name).d_head == preset(name).d_model for name in PUBLISHED)


def test_printed_shares_of_data_are_normalised() -> None:
    assert sum(presets.GPT3_DATA_SHARES_AS_PRINTED.values()) == pytest.approx(1.01)
    assert sum(presets.gpt3_data_shares().values()) == pytest.approx(1.0)


def test_an_unknown_preset_is_answered_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match='Did you mean "llama-7b"'):
        preset("lama-7b")


def test_flops_equal_torchs_count_of_the_matrix_products() -> None:
    """torch counts attention as if it were not causal: T keys for each token, where the mean is (T + 1) / 2."""
    config, T = (
        preset("tiny").model_copy(update={"qk_norm": False}),
        64,
    )  # our q/k norms are small products themselves
    model, ids = Transformer(config), torch.zeros(1, T, dtype=torch.long)
    model(ids)  # the first pass of a process also multiplies matrices to choose its kernels
    with FlopCounterMode(display=False) as counter:
        model(ids)
    full = 4 * config.layers * config.heads * config.d_head * T
    causal = full * (T + 1) / (2 * T)
    assert counter.get_total_flops() / T == pytest.approx(
        accounting.forward_flops_per_token(config, T) + full - causal
    )
    assert accounting.flops_per_token(config, T) == 3 * accounting.forward_flops_per_token(config, T)


def test_cache_bytes() -> None:
    """town: 2 (k, v) x 4 layers x 4 heads x 64 x 2 bytes = 4096."""
    assert accounting.cache_bytes_per_token(preset("town"), torch.bfloat16) == 4096


def test_llama_65b_takes_about_its_published_21_days() -> None:
    """2,048 A100 of 312 TFLOP/s bf16; 46 % utilisation is what the paper's 380 tokens/s/GPU come to."""
    utilisation = 380 * 6 * 65.2e9 / 312e12
    days = accounting.training_days(65.2e9, 1.4e12, 2048, 312e12, utilisation)
    assert days == pytest.approx(21, rel=0.30)
