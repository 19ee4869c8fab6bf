"""The loss of stages 1 and 2: the next token's negative log-likelihood, as (sum, count).

    sum   = Σ w_t · -log p(x_{t+1} | x_1 … x_t)        over the targets whose weight w_t is not 0
    count = Σ w_t

1. The training loop divides the sum by the whole step's count, so neither gradient accumulation nor
   the number of devices can change the result.
2. The weight is 0 where nothing is learned (the user's words, padding) and need not be 1 elsewhere:
   stage 2 gives the stage-1 text that it mixes in a weight of its own.
3. Logits are made only where a weight is not 0 and at most `logits_at_once` of them at a time, because
   (tokens × vocabulary) is the largest tensor of a training step.

Left out: label smoothing and z-loss. Losses of the reward model and of PPO have their own files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ziggurat.model.heads import logits_at_once


@dataclass(frozen=True)
class TokenBatch:
    """Rows of tokens for the next-token loss, shapes all (B, T).

    Two conversations, "ab|AB." and "c|C.", packed in one row of eight (capitals are trained, `.` ends a turn,
    `_` is padding, the first input of every conversation starts a new segment):

        inputs     a b A B   c C _ _
        targets    b A B .   C . _ _
        weights    0 1 1 1   1 1 0 0
        segments   0 0 0 0   1 1 2 2
        positions  0 1 2 3   0 1 0 1
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    """float32; None: every target counts 1."""
    segments: Tensor | None = None
    """Attention stays inside equal numbers; None: the whole row is one."""
    positions: Tensor | None = None

    @property
    def count(self) -> float:
        """The step's divisor, known before the backward pass."""
        return float(self.targets.numel()) if self.weights is None else float(self.weights.sum())

    def to(self, device: torch.device) -> TokenBatch:
        return TokenBatch(*(None if t is None else t.to(device, non_blocking=True) for t in self._tensors()))  # type: ignore[arg-type]

    def _tensors(self) -> tuple[Tensor | None, ...]:
        return self.inputs, self.targets, self.weights, self.segments, self.positions


def split_rows(batch: TokenBatch, pieces: int, tokens: int = 0) -> list[TokenBatch]:
    """The batch cut by rows into `pieces` microbatches, or into more so that each has at most `tokens` tokens (0: any
    number); a row is never cut."""
    rows, T = batch.inputs.shape
    if tokens:
        pieces = max(pieces, -(-rows // max(1, tokens // T)))
    if pieces == 1:
        return [batch]
    cuts = [None if t is None else t.tensor_split(pieces) for t in batch._tensors()]
    parts = [TokenBatch(*(None if c is None else c[i] for c in cuts)) for i in range(pieces)]  # type: ignore[arg-type]
    return [part for part in parts if part.inputs.shape[0] > 0]


def next_token_loss(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    segments: Tensor | None = None,
    positions: Tensor | None = None,
) -> tuple[Tensor, float]:
    """(weighted sum of -log p(target), sum of weights); inputs, targets, weights (B, T); see the module's head."""
    decoder: Any = model
    hidden = decoder.hidden(inputs, positions=positions, segments=segments)  # (B, T, C)
    return _summed_nll(decoder, hidden, targets, weights)


def _summed_nll(
    decoder: Any, hidden: Tensor, targets: Tensor, weights: Tensor | None
) -> tuple[Tensor, float]:
    """The same of hidden states (B, T, C) after the last norm."""
    flat, wanted = hidden.flatten(0, 1), targets.flatten()  # (B·T, C), (B·T)
    if weights is None:
        weight, count = None, float(wanted.numel())
    else:
        kept = weights.flatten().nonzero().squeeze(1)  # (N) the only places where logits are needed
        flat, wanted, weight = flat[kept], wanted[kept], weights.flatten()[kept]
        count = float(weight.sum())
    if wanted.numel() == 0:
        return hidden.sum() * 0.0, 0.0

    nll = nll_in_pieces(decoder, flat, wanted)
    return (nll.sum() if weight is None else (nll * weight).sum()), count


def nll_in_pieces(decoder: Any, states: Tensor, targets: Tensor) -> Tensor:
    """-log p of each target: states (N, C), targets (N) -> (N), fp32; at most `logits_at_once` are there at a
    time. Those of a piece are made again in the backward pass, unless `decoder.nll` keeps none."""
    found: Tensor
    piece = max(1, logits_at_once(states.device) // decoder.config.vocab_size)
    if targets.numel() <= piece or not decoder.nll_keeps_logits(states):
        found = decoder.nll(states, targets)
        return found
    parts = [
        checkpoint(decoder.nll, states[i : i + piece], targets[i : i + piece], use_reentrant=False)
        for i in range(0, targets.numel(), piece)
    ]
    return torch.cat(parts)


def batch_loss(model: nn.Module, batch: TokenBatch) -> tuple[Tensor, float]:
    """`next_token_loss` of a TokenBatch."""
    return next_token_loss(
        model, batch.inputs, batch.targets, batch.weights, segments=batch.segments, positions=batch.positions
    )
