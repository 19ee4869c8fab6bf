"""The shape of a model: one frozen config that spans GPT-2/GPT-3, LLaMA/Mistral/Qwen, SmolLM3, Gemma 3 and GPT-NeoX.

Choices are orthogonal (norm, activation, positions, biases, windows, experts, ...), never a flag per family. The
defaults are exactly Qwen3's, so that a model trained here is read by transformers, vLLM and llama.cpp. Left out:
experts that every token passes beside the chosen ones, soft caps of logits, and rotary scaling that depends on the
length of the text; such a folder is refused with a sentence.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ziggurat.settings import Config

Norm = Literal["rmsnorm", "layernorm"]
Activation = Literal["swiglu", "geglu", "geglu_tanh", "gelu_tanh", "gelu", "relu", "relu2"]
GATED = ("swiglu", "geglu", "geglu_tanh")
"""Activations of two matrices in: act(gate) * up."""
Positions = Literal["rotary", "learned", "sinusoidal", "none"]


class RotaryScaling(Config):
    """How rotary wavelengths are stretched for texts longer than a model was first trained on."""

    kind: Literal["linear", "llama3", "yarn"]
    """linear: all alike; llama3: long waves only, with a ramp between; yarn: by dimensions, and scores grow."""
    factor: float = Field(gt=0)
    """What a stretched wavelength is multiplied by."""
    original_context: int = Field(default=0, ge=0)
    """Tokens of the first training; llama3 and yarn need it."""
    low_freq_factor: float = 1.0
    """llama3: waves longer than original_context / this are stretched by the whole factor."""
    high_freq_factor: float = 4.0
    """llama3: waves shorter than original_context / this stay."""
    beta_fast: float = 32.0
    """yarn: dimensions that turn more often within the original context stay."""
    beta_slow: float = 1.0
    """yarn: dimensions that turn less often are stretched by the whole factor."""
    attention_factor: float | None = None
    """yarn: what q and k are multiplied by; None: 0.1 ln(factor) + 1."""
    truncate: bool = True
    """yarn: whether the ramp begins and ends at whole dimensions."""

    @model_validator(mode="after")
    def _has_a_context(self) -> Self:
        if self.kind != "linear" and not self.original_context:
            raise ValueError(f"original_context must be given for rotary scaling of the kind {self.kind}")
        return self


class ExpertsConfig(Config):
    """Layers whose MLP is one of several for each token (`model.experts`)."""

    count: int = Field(ge=1)
    """Number E of experts in a layer, each a whole MLP."""
    active: int = Field(ge=1)
    """Number of experts that each token passes: those of the highest probability."""
    d_ff: int = Field(ge=1)
    """Width inside one expert."""
    normalized: bool = True
    """The weights of a token's experts add to 1; else they are the probabilities, which are of all experts."""
    balance: float = Field(default=0.001, ge=0)
    """What the load-balancing loss is multiplied by in training; 0: it is measured only."""
    dense_layers: tuple[int, ...] = ()
    """Numbers of the layers with one MLP of the model's own d_ff, as in a model without experts."""


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
    norm_placement: Literal["pre", "post", "both"] = "pre"
    """pre: x + f(norm(x)), with a last norm; post: norm(x + f(x)), as in the first Transformer, without one;
    both: x + norm(f(norm(x))), with a last norm (Gemma 3)."""
    parallel: bool = False
    """Attention and MLP both read the block's input, and both are added to it (GPT-NeoX); pre-norm only."""
    activation: Activation = "swiglu"
    """swiglu and geglu have two matrices in (gate, up); the others one. relu2 is the square of relu."""
    positions: Positions = "rotary"
    """rotary turns q and k by halves (i pairs with i + D/2); learned and sinusoidal are added to the input."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary wavelengths; read only if positions are rotary."""
    rotary_scaling: RotaryScaling | None = None
    """Of every rotated layer but those with a window of their own base."""
    rotary_share: float = Field(default=1.0, gt=0, le=1)
    """Share of a head's dimensions that turn; of the pairs (i, i + D/2) the first ones do."""
    unrotated: tuple[int, ...] = ()
    """Numbers of the layers without positions (SmolLM3's NoPE), where positions are rotary."""
    window: int | None = Field(default=None, ge=1)
    """Keys that a token of a windowed layer attends to, itself included."""
    windowed: tuple[int, ...] = ()
    """Numbers of the layers with the window; the others attend to all keys."""
    window_theta: float | None = Field(default=None, gt=0)
    """Base of the rotary wavelengths of windowed layers, unscaled (Gemma 3); None: as in the others."""
    attention_scale: float | None = Field(default=None, gt=0)
    """What scores are multiplied by; None: 1 / sqrt(d_head)."""
    embedding_scale: float = Field(default=1.0, gt=0)
    """What embeddings are multiplied by before the first block (Gemma: sqrt(d_model))."""
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
    experts: ExpertsConfig | None = None
    """None: every layer has one MLP."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        problems = []
        if self.heads % self.kv_heads:
            problems.append(f"heads: {self.heads} is not a multiple of kv_heads: {self.kv_heads}")
        if self.positions == "rotary" and self.d_head % 2:
            problems.append(f"d_head: {self.d_head} must be even for rotary positions")
        if self.positions == "sinusoidal" and self.d_model % 2:
            problems.append(f"d_model: {self.d_model} must be even for sinusoidal positions")
        if self.positions == "rotary" and (self.d_head - self.rotary_width) % 2:
            problems.append(f"rotary_share: {self.rotary_share} of d_head: {self.d_head} is no even number")
        if self.parallel and self.norm_placement != "pre":
            problems.append(f"parallel blocks need norm_placement: pre, not {self.norm_placement}")
        for name in ("unrotated", "windowed"):
            if beyond := [layer for layer in getattr(self, name) if not 0 <= layer < self.layers]:
                problems.append(f"{name}: there is no layer {beyond[0]}")
        if self.windowed and self.window is None:
            problems.append("windowed names layers, but window is not set")
        if self.experts is not None:
            problems += self._problems_of_experts(self.experts)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems_of_experts(self, experts: ExpertsConfig) -> list[str]:
        problems = []
        if experts.active > experts.count:
            problems.append(f"experts.active: {experts.active} is more than experts.count: {experts.count}")
        if beyond := [layer for layer in experts.dense_layers if not 0 <= layer < self.layers]:
            problems.append(f"experts.dense_layers: there is no layer {beyond[0]}")
        if self.mlp_bias:
            problems.append("mlp_bias: experts have no biases")
        return problems

    @property
    def gated(self) -> bool:
        """True if the MLP has a gate beside its up projection."""
        return self.activation in GATED

    @property
    def rotary_width(self) -> int:
        """Dimensions of a head that turn."""
        return int(self.d_head * self.rotary_share)

    @property
    def query_scale(self) -> float:
        """What queries are multiplied by, so that the usual 1 / sqrt(d_head) gives `attention_scale`."""
        return 1.0 if self.attention_scale is None else self.attention_scale * self.d_head**0.5

    def experts_of(self, layer: int) -> ExpertsConfig | None:
        """The experts of this layer; None where it has one MLP."""
        return None if self.experts is None or layer in self.experts.dense_layers else self.experts

    @property
    def sparse_layers(self) -> int:
        """Number of layers with experts."""
        return sum(self.experts_of(layer) is not None for layer in range(self.layers))

    def window_of(self, layer: int) -> int | None:
        """The window of this layer; None where it attends to all keys."""
        return self.window if layer in self.windowed else None
