"""The shape of a model: one frozen config that spans GPT-2/GPT-3 and LLaMA/Mistral/Qwen.

Choices are orthogonal (norm, activation, positions, biases, ...), never a flag per family. The defaults are exactly
Qwen3's, so that a model trained here is read by transformers, vLLM and llama.cpp. Left out: anything that only one
checkpoint in the world uses (sliding windows, rotary scaling by bands); such a folder is refused with a sentence.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ziggurat.settings import Config

Norm = Literal["rmsnorm", "layernorm"]
Activation = Literal["swiglu", "gelu_tanh", "gelu", "relu", "relu2"]
Positions = Literal["rotary", "learned", "sinusoidal", "none"]


class ModelConfig(Config):
    """Sizes and choices of one decoder-only Transformer."""

    layers: int = Field(ge=1)
    """Number of blocks."""
    d_model: int = Field(ge=1)
    """Width C of the residual stream."""
    heads: int = Field(ge=1)
    """Query heads H. heads * d_head may differ from d_model."""
    kv_heads: int = Field(ge=1)
    """Key/value heads; each serves heads / kv_heads query heads (4 query, 2 kv: heads 0,1 read kv 0; 2,3 read kv 1)."""
    d_head: int = Field(ge=1)
    """Width D of one head; even if positions are rotary."""
    d_ff: int = Field(ge=1)
    """Width inside the MLP (of gate and of up each, for swiglu)."""
    vocab_size: int = Field(ge=1)
    """Number V of token ids."""
    context: int = Field(ge=1)
    """Longest sequence in tokens."""
    norm: Norm = "rmsnorm"
    """rmsnorm has a gain only; layernorm a gain and a bias."""
    norm_eps: float = Field(default=1e-6, gt=0)
    """Added to the variance (mean square) before its root."""
    norm_placement: Literal["pre", "post"] = "pre"
    """pre: x + f(norm(x)), with a last norm; post: norm(x + f(x)), as in the first Transformer, without one."""
    activation: Activation = "swiglu"
    """swiglu has two matrices in (gate, up); the others one. relu2 is the square of relu."""
    positions: Positions = "rotary"
    """rotary turns q and k by halves (i pairs with i + D/2); learned and sinusoidal are added to the input."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary wavelengths; read only if positions are rotary."""
    qk_norm: bool = True
    """RMS-normalise q and k per head, before rotation, each with its own gain of width D."""
    qkv_bias: bool = False
    """Biases of the q, k and v projections."""
    out_bias: bool = False
    """Bias of the attention's output projection."""
    mlp_bias: bool = False
    """Biases of the MLP's projections."""
    tied: bool = True
    """The unembedding is the embedding matrix."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        problems = []
        if self.heads % self.kv_heads:
            problems.append(f"heads: {self.heads} is not a multiple of kv_heads: {self.kv_heads}")
        if self.positions == "rotary" and self.d_head % 2:
            problems.append(f"d_head: {self.d_head} must be even for rotary positions")
        if self.positions == "sinusoidal" and self.d_model % 2:
            problems.append(f"d_model: {self.d_model} must be even for sinusoidal positions")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def gated(self) -> bool:
        """True if the MLP has a gate beside its up projection."""
        return self.activation == "swiglu"
