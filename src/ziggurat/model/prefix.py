"""Prefix tuning and soft prompts: m virtual tokens before every row learn, and the model stays as it is.

    prefix   keys and values of the m tokens, in every layer           numbers that learn: 2 layers m K D
    prompt   embeddings of the m tokens, which run through the model                       m C

`prefixed` returns a second Transformer over the very modules of the base, as `lora.adapt` does; the base is the model
without the virtual tokens. They have the positions 0 .. m-1 and real tokens those after them, so the context is m
tokens shorter. All segments of a packed row attend to them. They begin as tokens of the vocabulary, drawn by a seed:
a prefix as the keys and values that the model itself makes of them (Li & Liang, 7.4; Lester et al., 3.2).

In training `through` attends by way of `before`; the engine's cache has their keys and values at the front of every
slot (`engine.cache`), so a token is decoded as without them. Keys are kept as attention reads them: normalised and
rotated. Left out: the network that Li & Liang make keys and values by while they learn (peft's prefix_projection).
Sources: Li & Liang, arXiv:2101.00190; Lester et al., arXiv:2104.08691.

Legend: B batch, T time, m virtual tokens, H query heads, K key/value heads, D head width, C model width.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ziggurat.errors import ConfigError
from ziggurat.model.layers import causal_attention, causal_bias
from ziggurat.model.lora import Adapter, shared_copy
from ziggurat.model.transformer import Transformer
from ziggurat.settings import Config

Kind = Literal["prefix", "prompt"]
COMMON = 5000
"""Virtual tokens begin as some of the first so many ids: a vocabulary of merges begins with its most frequent tokens
(Lester et al., 3.2: the 5,000 most common)."""

Front = list[tuple[Tensor, Tensor]]
"""Keys and values of the virtual tokens, (1, K, m, D) each, by layer."""


class PrefixConfig(Config):
    """Settings of virtual tokens; read where `trainable` is prefix or prompt."""

    tokens: int = Field(default=16, ge=1)
    """Virtual tokens m; the context of real ones is so much shorter."""

    lr_factor: float = Field(default=100.0, gt=0)
    """Their learning rate is `lr_adam` times this: a few numbers must move a whole model."""


class Prefix(nn.Module):
    """What learns: keys and values (layers, K, m, D), or embeddings (m, C). fp32."""

    def __init__(self, model: Transformer, kind: Kind, tokens: int) -> None:
        super().__init__()
        self.kind, self.tokens = kind, tokens
        c, device = model.config, model.embedding.weight.device
        if kind == "prompt":
            self.embeddings = nn.Parameter(torch.zeros(tokens, c.d_model, device=device))
        else:
            shape = (c.layers, c.kv_heads, tokens, c.d_head)
            self.keys = nn.Parameter(torch.zeros(shape, device=device))
            self.values = nn.Parameter(torch.zeros(shape, device=device))

    def front(self, model: Transformer) -> Front:
        """What attention of `model` (with or without this prefix) reads of the virtual tokens, in its dtype."""
        if self.kind == "prompt":
            return _front_of(model, self.embeddings[None])
        k, v = (each.to(model.compute_dtype)[:, None] for each in (self.keys, self.values))
        return list(zip(k.unbind(0), v.unbind(0), strict=True))

    def before(self, model: Transformer, x: Tensor, segments: Tensor | None) -> Before:
        """The attention of rows x (B, T, C) to the virtual tokens and to themselves."""
        return Before(model, self.front(model), x, segments)


class Before:
    """A `Cache` for rows that are computed whole: keys and values of virtual tokens stand before the rows' own."""

    recomputes = True  # it keeps nothing, so `model.recompute` may compute a block again

    def __init__(self, model: Transformer, front: Front, x: Tensor, segments: Tensor | None) -> None:
        self.front, self.windowed = front, model.config.windowed
        m, (_, T, _), dtype = front[0][0].shape[2], x.shape, x.dtype
        own = torch.zeros(1, T, dtype=torch.int64, device=x.device) if segments is None else segments
        open_to_all = torch.zeros(len(own), 1, T, m, dtype=dtype, device=x.device)
        self.bias = torch.cat((open_to_all, causal_bias(own, dtype)), -1)  # (B or 1, 1, T, m + T)
        self.window_bias = self.bias
        if model.config.window is not None and self.windowed:
            place = torch.arange(T, device=x.device)[:, None] + m
            far = torch.arange(m + T, device=x.device) <= place - model.config.window  # (T, m + T)
            self.window_bias = self.bias.masked_fill(far, -torch.inf)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, H, T, D), k and v (B, K, T, D) -> (B, H, T, D)."""
        keys, values = (each.expand(len(q), -1, -1, -1) for each in self.front[layer])
        bias = self.window_bias if layer in self.windowed else self.bias
        return causal_attention(q, torch.cat((keys, k), 2), torch.cat((values, v), 2), bias)


class _Recorder:
    """A `Cache` for one row from its first token, which remembers what every layer reads."""

    def __init__(self, model: Transformer) -> None:
        self.config, self.found = model.config, Front()

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.found.append((k, v))
        window, bias = self.config.window_of(layer), None
        if window is not None and window < q.shape[2]:
            one = torch.zeros(1, q.shape[2], dtype=torch.int64, device=q.device)
            bias = causal_bias(one, q.dtype, window)
        return causal_attention(q, k, v, bias)


def _front_of(model: Transformer, embeddings: Tensor) -> Front:
    """Keys and values that the model makes of embeddings (1, m, C) at positions 0 .. m-1, where its own have them."""
    recorder, m = _Recorder(model), embeddings.shape[1]
    first = 0 if model.prefix is None else -m  # real tokens of a model with a prefix begin at m
    positions = torch.arange(first, first + m, device=embeddings.device)[None]
    x = model.placed(embeddings, positions).to(model.compute_dtype)
    model.through(x, range(model.config.layers), positions=positions, cache=recorder)
    return recorder.found


@torch.no_grad()
def front_of(model: Transformer) -> Front:
    """What the engine's cache holds before every sequence of `model`; empty without virtual tokens."""
    return [] if model.prefix is None else model.prefix.front(model)


def prefixed(base: Transformer, config: PrefixConfig, kind: Kind, *, seed: int | None = 0) -> Transformer:
    """`base` with m virtual tokens drawn from `seed` (None: zeros, for a loader); it shares every module of the base.

    `base` is frozen, and stays the model without them. Raises ConfigError where they leave no context, for a base that
    has an adapter itself, and for heads that turn in part (GPT-NeoX), whose keys others store in another order.
    """
    m, context = config.tokens, base.config.context
    if base.adapter is not None:
        raise ConfigError(
            "virtual tokens stand before a whole model, and this one has an adapter; give its base."
        )
    if m >= context:
        raise ConfigError(f"prefix.tokens is {m} and the model's context is {context}; give fewer tokens.")
    if kind == "prefix" and base.config.positions == "rotary" and base.config.rotary_share < 1:
        raise ConfigError("trainable is prefix, and this model's heads turn in part; use prompt, or lora.")
    base.requires_grad_(False)
    view: Transformer = shared_copy(base)
    view.config = base.config.model_copy(update={"context": context - m})
    prefix = Prefix(base, kind, m)
    if seed is not None:
        _begin(prefix, base, seed)
    view.prefix = prefix
    view.adapter = Adapter(config, base)
    return view


@torch.no_grad()
def _begin(prefix: Prefix, base: Transformer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, min(COMMON, base.config.vocab_size), (prefix.tokens,), generator=generator)
    embeddings = base.embedding(ids.to(base.embedding.weight.device)) * base.config.embedding_scale
    if prefix.kind == "prompt":
        prefix.embeddings.copy_(embeddings)
        return
    for layer, (k, v) in enumerate(_front_of(base, embeddings[None])):
        prefix.keys[layer], prefix.values[layer] = k[0], v[0]
