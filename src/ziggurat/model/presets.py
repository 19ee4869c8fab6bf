"""Named configs: our own sizes, and the published tables of GPT-3 and LLaMA with their printed numbers.

Two printed rows of GPT-3 do not fit the architecture they describe; each is kept as printed in `PUBLISHED`, and its
preset is built from the correction beside it, with the reason in words.
Sources: GPT-3 (arXiv:2005.14165, table 2.1), LLaMA (arXiv:2302.13971, table 2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ziggurat.errors import ConfigError, did_you_mean
from ziggurat.model.config import ModelConfig


@dataclass(frozen=True)
class Published:
    """One row of a published table, exactly as printed."""

    parameters: float
    layers: int
    d_model: int
    heads: int
    d_head: int
    batch_tokens: float
    lr: float
    training_tokens: float
    d_ff: int
    corrected_d_model: int = 0
    """What is built instead of the printed width; 0: as printed."""
    corrected_heads: int = 0
    """What is built instead of the printed number of heads; 0: as printed."""
    reason: str = ""

    def corrected(self) -> Published:
        """The row that is built."""
        d_model, heads = self.corrected_d_model or self.d_model, self.corrected_heads or self.heads
        d_ff = self.d_ff * d_model // self.d_model
        return replace(self, d_model=d_model, heads=heads, d_ff=d_ff)


def _gpt3(
    size: float, layers: int, d_model: int, heads: int, d_head: int, batch: float, lr: float
) -> Published:
    return Published(size, layers, d_model, heads, d_head, batch, lr, 300e9, 4 * d_model)


def _llama(
    size: float, d_model: int, heads: int, layers: int, lr: float, tokens: float, d_ff: int
) -> Published:
    return Published(size, layers, d_model, heads, d_model // heads, 4e6, lr, tokens, d_ff)


PUBLISHED: dict[str, Published] = {
    #                    params  layers d_model heads d_head batch  lr
    "gpt3-small": _gpt3(125e6, 12, 768, 12, 64, 0.5e6, 6.0e-4),
    "gpt3-medium": _gpt3(350e6, 24, 1024, 16, 64, 0.5e6, 3.0e-4),
    "gpt3-large": _gpt3(760e6, 24, 1536, 16, 96, 0.5e6, 2.5e-4),
    "gpt3-xl": replace(
        _gpt3(1.3e9, 24, 2048, 24, 128, 1e6, 2.0e-4),
        corrected_heads=16,
        reason="24 heads of 128 make 3072, not the width of 2048; 16 heads of 128 do, and give the printed 1.3B",
    ),
    "gpt3-2.7b": _gpt3(2.7e9, 32, 2560, 32, 80, 1e6, 1.6e-4),
    "gpt3-6.7b": _gpt3(6.7e9, 32, 4096, 32, 128, 2e6, 1.2e-4),
    "gpt3-13b": replace(
        _gpt3(13.0e9, 40, 5140, 40, 128, 2e6, 1.0e-4),
        corrected_d_model=5120,
        reason="40 heads of 128 make 5120, not the width of 5140; 5120 is what fits, and gives the printed 13B",
    ),
    "gpt3-175b": _gpt3(175.0e9, 96, 12288, 96, 128, 3.2e6, 0.6e-4),
    #                    params  d_model heads layers lr  tokens  d_ff
    "llama-7b": _llama(6.7e9, 4096, 32, 32, 3.0e-4, 1.0e12, 11008),
    "llama-13b": _llama(13.0e9, 5120, 40, 40, 3.0e-4, 1.0e12, 13824),
    "llama-33b": _llama(32.5e9, 6656, 52, 60, 1.5e-4, 1.4e12, 17920),
    "llama-65b": _llama(65.2e9, 8192, 64, 80, 1.5e-4, 1.4e12, 22016),
}

GPT3_DATA_SHARES_AS_PRINTED = {
    "Common Crawl": 0.60,
    "WebText2": 0.22,
    "Books1": 0.08,
    "Books2": 0.08,
    "Wikipedia": 0.03,
}  # they add to 1.01; `gpt3_data_shares` divides by that


def gpt3_data_shares() -> dict[str, float]:
    total = sum(GPT3_DATA_SHARES_AS_PRINTED.values())
    return {name: share / total for name, share in GPT3_DATA_SHARES_AS_PRINTED.items()}


def sized(*, layers: int, d_model: int, vocab_size: int, context: int, d_head: int = 64) -> ModelConfig:
    """A Qwen3-shaped config; the MLP is three times the width, as a gated one that costs about 8/3 and divides well."""
    heads = max(1, d_model // d_head)
    return ModelConfig(
        layers=layers,
        d_model=d_model,
        heads=heads,
        kv_heads=heads,
        d_head=d_head,
        d_ff=3 * d_model,
        vocab_size=vocab_size,
        context=context,
    )


OURS: dict[str, ModelConfig] = {
    "tiny": sized(layers=2, d_model=64, vocab_size=512, context=128, d_head=32),
    "town": sized(layers=4, d_model=256, vocab_size=2048, context=256),
    "shakespeare": sized(layers=4, d_model=128, vocab_size=128, context=256, d_head=32),
    "poet": sized(layers=6, d_model=320, vocab_size=4096, context=256),
}


def names() -> list[str]:
    return [*OURS, *PUBLISHED]


def preset(name: str) -> ModelConfig:
    """The config called `name`; a corrected row of a published table in its corrected form."""
    if name in OURS:
        return OURS[name]
    if name not in PUBLISHED:
        raise ConfigError(
            f"model: {name!r} is not a preset; choose one of {', '.join(names())}.{did_you_mean(name, names())}"
        )
    row = PUBLISHED[name].corrected()
    gpt3 = name.startswith("gpt3")
    return ModelConfig(
        layers=row.layers,
        d_model=row.d_model,
        heads=row.heads,
        kv_heads=row.heads,
        d_head=row.d_head,
        d_ff=row.d_ff,
        vocab_size=50_257 if gpt3 else 32_000,
        context=2048,
        norm="layernorm" if gpt3 else "rmsnorm",
        norm_eps=1e-5 if gpt3 else 1e-6,
        activation="gelu_tanh" if gpt3 else "swiglu",
        positions="learned" if gpt3 else "rotary",
        qk_norm=False,
        qkv_bias=gpt3,
        out_bias=gpt3,
        mlp_bias=gpt3,
        tied=gpt3,
    )
