"""What a student learns from inside its teacher: states of blocks, and where their heads attend.

    hidden      mean over levels of  mean_c (W_l s_l - t_l)²     s, t: states divided by their own root mean square
    attention   mean over blocks of  KL(p_t || p_s)              p: attention of a query over the keys up to it

Level 0 is what the first block reads, level l what the student's l-th block writes; its teacher is level g(l), by
default the nearest to l M / N of a teacher with M blocks and a student with N (TinyBERT, 4.1). W_l, which is there
where the widths differ, learns with the student and is dropped with the last step. Heads are compared one by one where
both models have as many, else their means. Both losses are of the tokens whose answers are learned.

What differs from TinyBERT: states are divided by their size, because a few numbers of a decoder's residual stream are
a hundred times the others and would be all of the sum; attention is compared as distributions, as MiniLM does, because
a number added to all scores of a query changes nothing.
Sources: TinyBERT, arXiv:1909.10351; MiniLM, arXiv:2002.10957; outliers of the residual stream, arXiv:2402.17762.

Legend: B batch, T time, N tokens, C width of the student, D of the teacher, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ziggurat.errors import ConfigError
from ziggurat.model.config import ModelConfig
from ziggurat.model.layers import Linear, causal_attention, causal_bias, rms_norm
from ziggurat.model.transformer import Transformer

EPS = 1e-6


def uniform_map(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The teacher's block, from 1, for each block of the student.

    >>> uniform_map(3, 12)
    (4, 8, 12)
    """
    return tuple(round((i + 1) * teacher_layers / student_layers) for i in range(student_layers))


def check_map(layer_map: Sequence[int], student: ModelConfig, teacher: ModelConfig) -> None:
    """Raise ConfigError unless it names a block of the teacher for each of the student's, in order."""
    fits = len(layer_map) == student.layers and list(layer_map) == sorted(layer_map)
    if not fits or not all(1 <= block <= teacher.layers for block in layer_map):
        raise ConfigError(
            f"layer_map is {tuple(layer_map)}; it must name, in order, a block of the teacher (1 to {teacher.layers}) "
            f"for each of the student's {student.layers} blocks, or be left out."
        )


class Projections(nn.Module):
    """W of every level, (D, C) each; none where the widths are equal."""

    def __init__(self, student: ModelConfig, teacher: ModelConfig, *, seed: int) -> None:
        super().__init__()
        levels = 0 if student.d_model == teacher.d_model else student.layers + 1
        self.levels = nn.ModuleList(
            Linear(student.d_model, teacher.d_model, bias=False) for _ in range(levels)
        )
        generator = torch.Generator().manual_seed(seed)
        for weight in self.parameters():
            nn.init.normal_(weight, std=student.d_model**-0.5, generator=generator)

    def forward(self, level: int, states: Tensor) -> Tensor:
        """(N, C) -> (N, D)."""
        found: Tensor = self.levels[level](states) if len(self.levels) else states
        return found


@dataclass
class Inside:
    """What a forward pass of one model leaves."""

    levels: list[Tensor]
    """(B, T, C) each: what the first block reads, then what every block writes."""
    queries: dict[int, Tensor]
    """(B, H, T, D) by block, from 0."""
    keys: dict[int, Tensor]
    """(B, K, T, D)"""
    windows: list[int | None]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As a `Cache`: plain attention of whole rows, remembered."""
        self.queries[layer], self.keys[layer] = q, k
        return causal_attention(q, k, v, self._bias(layer, q))

    def _bias(self, layer: int, q: Tensor) -> Tensor | None:
        window, T = self.windows[layer], q.shape[2]
        if window is None or window >= T:
            return None
        return causal_bias(torch.zeros(1, T, dtype=torch.int64, device=q.device), q.dtype, window)

    def attention(self, layer: int) -> Tensor:
        """(B, H, T, T), fp32: the shares of a query's keys."""
        q, k = self.queries[layer].float(), self.keys[layer].float()
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        one = torch.zeros(1, q.shape[2], dtype=torch.int64, device=q.device)
        bias = causal_bias(one, q.dtype, self.windows[layer])
        scores = q @ k.transpose(2, 3) * float(q.shape[-1]) ** -0.5
        shares: Tensor = (scores + bias).softmax(-1)
        return shares


def look_inside(model: Transformer, ids: Tensor) -> Inside:
    """A forward pass over ids (B, T), block by block."""
    inside = Inside(
        [model.embed(ids)], {}, {}, [model.config.window_of(n) for n in range(model.config.layers)]
    )
    for block in range(model.config.layers):
        inside.levels.append(model.through(inside.levels[-1], range(block, block + 1), cache=inside))
    return inside


def hidden_loss(
    student: Inside, teacher: Inside, kept: Tensor, layer_map: Sequence[int], projections: Projections
) -> Tensor:
    """(N,) of the tokens that `kept` (B, T) marks."""
    found = []
    for level, theirs in enumerate([0, *layer_map]):
        s, t = (_unit(x[kept]) for x in (student.levels[level], teacher.levels[theirs]))
        found.append((projections(level, s) - t).square().mean(-1))
    return torch.stack(found).mean(0)


def _unit(states: Tensor) -> Tensor:
    """(N, C), fp32, of root mean square 1."""
    return rms_norm(states.float(), states.new_ones(states.shape[-1], dtype=torch.float32), EPS)


def attention_loss(student: Inside, teacher: Inside, kept: Tensor, layer_map: Sequence[int]) -> Tensor:
    """(N,) of the queries that `kept` (B, T) marks."""
    found = []
    for block, theirs in enumerate(layer_map):
        s, t = student.attention(block), teacher.attention(theirs - 1)
        if s.shape[1] != t.shape[1]:
            s, t = s.mean(1, keepdim=True), t.mean(1, keepdim=True)
        s, t = (each.transpose(1, 2)[kept] for each in (s, t))  # (N, H, T)
        apart = torch.xlogy(t, t) - torch.xlogy(t, s.clamp_min(1e-9))
        found.append(apart.sum(-1).mean(-1))
    return torch.stack(found).mean(0)
