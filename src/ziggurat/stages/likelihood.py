"""What a model thinks of given completions: their log-probabilities, the reference's known once, the drift from it.

Logits are made for completion tokens only, and at most LOGITS_AT_ONCE of them at a time, as in stages 1 and 2.
Left out: the temperature; a completion's probability is that of the plain distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ziggurat.model.hub import load_model
from ziggurat.model.padding import by_length, hidden_without_padding, right_pad
from ziggurat.model.transformer import Transformer, set_compute_dtype
from ziggurat.stages.losses import nll_in_pieces
from ziggurat.stages.method import Prepared
from ziggurat.stages.rollouts import roll_out
from ziggurat.training.config import LoopConfig, TrainConfig
from ziggurat.training.device import place
from ziggurat.training.trainable import compute_dtype, load_to_train

ROWS_AT_ONCE = 4096
"""Tokens that are read at a time without gradients."""
DRIFT_PROMPTS, DRIFT_TOKENS = 64, 8_192


def completion_logp(model: nn.Module, ids: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """log p (B,) of the completions at starts .. ends (both included) of rows ids (B, T).

    The token at position t is read in the state at t - 1. A completion of `p p a b .` with starts 2 and ends 4 is
    log p(a) + log p(b) + log p(.).
    """
    decoder: Any = model
    hidden = hidden_without_padding(decoder, ids[:, :-1], ends)  # (B, T-1, C)
    position = torch.arange(1, ids.shape[1], device=ids.device)
    kept = (position >= starts[:, None]) & (position <= ends[:, None])  # (B, T-1)
    nll = nll_in_pieces(decoder, hidden[kept], ids[:, 1:][kept])  # (N,)
    return -nll.new_zeros(len(ids)).index_add(0, kept.nonzero()[:, 0], nll)


@torch.no_grad()
def rows_logp(
    model: Transformer, rows: Sequence[list[int]], starts: Sequence[int], pad_id: int
) -> list[float]:
    """log p of each row's completion, which begins at its start and ends with the row."""
    device = model.embedding.weight.device
    found = [0.0] * len(rows)
    for chosen in by_length([len(row) for row in rows], ROWS_AT_ONCE):
        ids, lengths = right_pad([rows[i] for i in chosen], pad_id)
        first = torch.tensor([starts[i] for i in chosen])
        values = completion_logp(model, ids.to(device), first.to(device), lengths.to(device) - 1)
        for i, value in zip(chosen, values.tolist(), strict=True):
            found[i] = value
    return found


def load_policy(folder: Path, train: TrainConfig, seed: int) -> Transformer:
    """A model as the loop will compute it; with a new adapter, drawn from `seed`, where that is what learns."""
    model = load_to_train(folder, train, train, seed=seed)
    set_compute_dtype(model, compute_dtype(train))
    return model


def load_reference(folder: Path, loop: LoopConfig, beside: Transformer | None = None) -> Transformer:
    """A frozen model that computes as the policy does. Where the policy `beside` it is `folder` with an adapter, it is
    that frozen base, which is in memory already."""
    if beside is not None and beside.adapter is not None and beside.adapter.base_folder == folder:
        return beside.adapter.base
    model = place(load_model(folder), loop.device)
    set_compute_dtype(model, compute_dtype(loop))
    return model.requires_grad_(False).eval()


def drift_of(ready: Prepared[Any], policy: Transformer) -> float:
    """`measure_drift` of the trained policy from the run's reference."""
    return measure_drift(
        policy.eval(),
        load_reference(ready.reference_folder, ready.config.train, policy),
        ready.prompt_ids,
        max_new_tokens=ready.max_new_tokens,
        stop_ids=ready.template.stop_ids,
        pad_id=ready.tokenizer.pad_id,
        seed=ready.seed,
    )


def measure_drift(
    policy: Transformer,
    reference: Transformer,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    stop_ids: frozenset[int],
    pad_id: int,
    seed: int,
) -> float:
    """KL(policy || reference) in nats a completion, estimated by one completion of the policy for each of up to
    DRIFT_PROMPTS prompts: the mean of log p - log p_ref. It may be a little below 0 by chance. Long completions are
    asked of fewer prompts, so that it takes at most about DRIFT_TOKENS tokens."""
    count = min(DRIFT_PROMPTS, max(1, DRIFT_TOKENS // max_new_tokens))
    chosen = list(prompts[:: max(1, len(prompts) // count)])[:count]
    made = roll_out(
        policy, chosen, max_new_tokens=max_new_tokens, temperature=1.0, stop_ids=stop_ids, seed=seed
    )
    rows = [one.prompt + one.completion for one in made]
    starts = [len(one.prompt) for one in made]
    ours, theirs = (rows_logp(model, rows, starts, pad_id) for model in (policy, reference))
    return sum(a - b for a, b in zip(ours, theirs, strict=True)) / len(made)
