"""What rounding weights costs: one text, predicted by one model in fp32, as it is served, and in 8 and 4 bits.

Every token of the text is predicted from the text before it, so that all of them are asked the same questions; the
share of positions at which the likeliest token is that of fp32 is the share of greedy tokens that agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ziggurat.evaluation.bits import TextScore, read_texts
from ziggurat.model.cpu.quantized import BITS, load_to_serve, numerics, weight_bytes
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.training.device import choose_device
from ziggurat.training.precision import choose_dtype


@dataclass(frozen=True)
class Rounded:
    """A model's weights in one precision."""

    numerics: str
    weight_bytes: int
    score: TextScore
    agreement: float  # share of tokens of which it holds the same one for likeliest as fp32 does

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "score": self.score.to_dict()}


def compare(
    folder: Path, texts: Sequence[str], context: int | None = None, dtype: torch.dtype | None = None
) -> list[Rounded]:
    """In fp32 first, then in `dtype` (what is best here), and in int8 and int4 computing in it. Each is loaded anew.

    The text is read in batches. A product with rounded weights gives a token the same numbers in a batch and alone
    (`compiled_groups`), so this is what answers cost too.
    """
    tokenizer = Tokenizer.load(folder)
    dtype = dtype or choose_dtype()[0]
    plans = [(torch.float32, "auto"), (dtype, "auto"), *((dtype, weights) for weights in BITS)]
    found: list[Rounded] = []
    reference = None
    for computed, weights in dict.fromkeys(plans):
        model = load_to_serve(folder, computed, weights, device=choose_device()[0]).eval()
        score, likeliest = read_texts(model, tokenizer, texts, context=context)
        reference = likeliest if reference is None else reference
        agreement = float(np.mean(likeliest == reference))
        found.append(Rounded(numerics(model), weight_bytes(model), score, agreement))
    return found
