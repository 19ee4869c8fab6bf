"""How well a model imitates demonstrations: loss, token accuracy and exact match of each assistant turn.

Everything comes from one forward pass over the true conversations. A turn matches exactly when every trained
token, the end of the turn included, is the model's first choice: that is what greedy decoding would have written.
Exact match is strict: another true wording counts as wrong. Left out: judging by meaning (exams do that).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F

from ziggurat.errors import DataError
from ziggurat.evaluation.bits import BATCH_TOKENS, evaluating
from ziggurat.model.padding import by_length, right_pad
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.template import Rendered


@dataclass(frozen=True)
class DemonstrationScore:
    loss: float
    """Nats per trained token."""
    token_accuracy: float
    """Share of trained tokens that are the model's first choice, given the true text before."""
    exact_match: float
    """Share of assistant turns that greedy decoding would have written, token for token."""
    tokens: int
    turns: int
    left_out: int
    """Conversations longer than the context or without a trained answer."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def score_demonstrations(
    model: Transformer, rendered: Sequence[Rendered], *, batch_tokens: int = BATCH_TOKENS
) -> DemonstrationScore:
    """Score rendered conversations; those longer than the context or without a trained answer are counted.

    DataError where none is left.
    """

    short = [r for r in rendered if len(r.ids) <= model.config.context + 1]
    fitting = [r for r in short if any(r.mask[1:])]
    if not short:
        raise DataError(
            f"all {len(rendered):,} demonstrations are longer than the context of {model.config.context:,} tokens; "
            "give shorter ones or a model with a longer context."
        )
    if not fitting:
        raise DataError(
            f"none of the {len(short):,} demonstrations has an answer to score: every assistant message has weight 0; "
            "leave the weight out where an answer should count."
        )
    nll, right, tokens, exact, turns = 0.0, 0, 0, 0, 0
    for batch in by_length([len(r.ids) for r in fitting], batch_tokens):
        batch_nll, hits, mask = _first_choices(model, [fitting[i] for i in batch])
        starts = _turn_starts(mask)
        nll += batch_nll
        right += int(hits.sum())
        tokens += hits.size
        exact += int(np.logical_and.reduceat(hits, starts).sum())
        turns += starts.size
    return DemonstrationScore(
        nll / tokens, right / tokens, exact / turns, tokens, turns, len(rendered) - len(fitting)
    )


def _turn_starts(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where each turn begins among the trained targets in order: [[0,1,1,0,1]] -> [0, 2]."""
    before = np.zeros_like(mask)
    before[:, 1:] = mask[:, :-1]
    return np.flatnonzero((mask & ~before)[mask])


def _first_choices(
    model: Transformer, batch: list[Rendered]
) -> tuple[float, np.ndarray[Any, np.dtype[np.bool_]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Summed nll, whether each trained target (N) is the first choice, and the mask (B, T) they came from."""

    device = next(model.parameters()).device
    rows = right_pad([r.ids for r in batch], 0)[0].to(device)
    mask = right_pad([r.mask for r in batch], False)[0][:, 1:].bool()  # of the targets
    wanted = mask.to(device)
    with evaluating(model):
        logits = model.logits(model.hidden(rows[:, :-1])[wanted])  # (N, V)
        targets = rows[:, 1:][wanted]  # (N)
        nll = F.cross_entropy(logits, targets, reduction="none").double().sum()
        hits = (logits.argmax(dim=-1) == targets).cpu().numpy()
    total = float(nll)
    return (total if math.isfinite(total) else math.inf), hits, mask.numpy()
