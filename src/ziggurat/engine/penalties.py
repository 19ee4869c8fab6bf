"""What a request changes about its own logits before a token is chosen: penalties and a bias per token.

Order, as OpenAI and vLLM have it: bias, repetition, frequency and presence, and only then the temperature. The
repetition penalty (Keskar et al. 2019, arXiv:1909.05858) divides positive logits and multiplies negative ones of every
token that is in the prompt or the completion; frequency and presence look at the completion alone. What the engine
reports as a log-probability is not touched by any of it.

Legend: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ziggurat.engine.params import SamplingParams


def adjust(
    logits: Tensor, params: SamplingParams, prompt: Sequence[int], completion: Sequence[int]
) -> Tensor:
    """logits (V,), fp32, before temperature -> new logits (V,)."""
    adjusted = logits.clone()
    if params.logit_bias:
        tokens, biases = zip(*params.logit_bias, strict=True)
        at = torch.tensor(tokens, device=logits.device)
        adjusted[at] += torch.tensor(biases, device=logits.device)
    if params.repetition_penalty != 1.0:
        seen = torch.tensor(sorted({*prompt, *completion}), device=logits.device)
        values = adjusted[seen]
        penalty = params.repetition_penalty
        adjusted[seen] = torch.where(values > 0, values / penalty, values * penalty)
    if completion and (params.presence_penalty or params.frequency_penalty):
        counts = torch.bincount(torch.tensor(completion, device=logits.device), minlength=len(logits))
        adjusted -= params.presence_penalty * (counts > 0) + params.frequency_penalty * counts
    return adjusted
