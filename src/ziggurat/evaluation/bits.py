"""Bits per byte: how well a model predicts text, comparable between vocabularies.

    bits per byte = Σ -log2 p(token | the tokens before it in its window) / bytes of the text in UTF-8

Every token is scored exactly once, the first given only the token before a text (`Tokenizer.text_start_id`:
`<|endoftext|>`, or the begin token of LLaMA). A text longer than the context is cut
into windows; with context 6 and stride 3 (`.` is context only, digits are scored):

    window 1   0 1 2 3 4 5
    window 2         . . . 6 7 8
    window 3           . . . . . 9        the last window takes all the context it can get

A stride below the context costs more and scores each token with at least context - stride tokens before it.
The end of a text is not scored: it has no bytes. Left out: downstream tasks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ziggurat.errors import DataError
from ziggurat.model.padding import by_length, right_pad
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer

BATCH_TOKENS = 8192


@dataclass(frozen=True)
class TextScore:
    """The total surprise of some text in nats, and what it may be divided by."""

    nll_nats: float
    tokens: int
    bytes: int
    characters: int

    @property
    def bits_per_byte(self) -> float:
        return self.nll_nats / math.log(2) / self.bytes

    @property
    def bits_per_character(self) -> float:
        return self.nll_nats / math.log(2) / self.characters

    @property
    def loss(self) -> float:
        """Nats per token: only comparable between models with the same vocabulary."""
        return self.nll_nats / self.tokens

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "bits_per_byte": self.bits_per_byte,
            "bits_per_character": self.bits_per_character,
            "loss": self.loss,
            "perplexity": self.perplexity,
        }


@dataclass(frozen=True)
class Window:
    """One forward pass: `ids` (n+1), of whose n predictions the first `skip` only give context."""

    ids: NDArray[np.int64]
    skip: int


def windows(ids: Sequence[int], context: int, stride: int) -> Iterator[Window]:
    """Cut ids (the first is context only) so that each later one is predicted exactly once; see the drawing."""
    row = np.asarray(ids, dtype=np.int64)
    done = 1  # ids before this index are scored, or are the first
    while done < len(row):
        take = context if done == 1 else stride
        end = min(done + take, len(row))
        start = max(0, end - 1 - context)
        yield Window(row[start:end], skip=done - 1 - start)
        done = end


def score_texts(
    model: Transformer,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    context: int | None = None,
    stride: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> TextScore:
    """Score every byte of every text once; `stride` defaults to the context (fastest)."""
    return read_texts(model, tokenizer, texts, context=context, stride=stride, batch_tokens=batch_tokens)[0]


def read_texts(
    model: Transformer,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    context: int | None = None,
    stride: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> tuple[TextScore, NDArray[np.int64]]:
    """The score, and for each scored token the model's most probable one (in the same order each time)."""

    kept = [text for text in texts if text]
    if not kept:
        raise DataError("there is no text to score: give a file with at least one non-empty document")
    context = min(context or model.config.context, model.config.context)
    stride = min(stride or context, context)
    cut = [
        window
        for ids in tokenizer.encode_batch(kept)
        for window in windows([tokenizer.text_start_id, *ids], context, stride)
    ]
    batches = by_length([len(w.ids) - 1 for w in cut], batch_tokens)
    read = [_read_batch(model, [cut[i] for i in batch]) for batch in batches]
    score = TextScore(
        nll_nats=sum(nll for nll, _ in read),
        tokens=sum(len(w.ids) - 1 - w.skip for w in cut),
        bytes=sum(len(text.encode("utf-8")) for text in kept),
        characters=sum(len(text) for text in kept),
    )
    return score, np.concatenate([likeliest for _, likeliest in read])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No gradients and no dropout inside; the model's mode is put back afterwards."""

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _read_batch(model: Transformer, batch: list[Window]) -> tuple[float, NDArray[np.int64]]:

    ids, lengths = right_pad([w.ids for w in batch], 0)
    at, skip = torch.arange(ids.shape[1] - 1), torch.tensor([[w.skip] for w in batch])
    scored = (at >= skip) & (at < lengths[:, None] - 1)
    device = next(model.parameters()).device
    rows, wanted = ids.to(device), scored.to(device)
    with evaluating(model):
        hidden = model.hidden(rows[:, :-1])[wanted]  # (N, C)
        targets = rows[:, 1:][wanted]  # (N)
        piece = max(1, 32 * 1024 * 1024 // model.config.vocab_size)
        total: Tensor = torch.zeros((), dtype=torch.float64, device=device)
        likeliest = []
        for i in range(0, len(targets), piece):
            logits = model.logits(hidden[i : i + piece])
            total += F.cross_entropy(logits, targets[i : i + piece], reduction="none").double().sum()
            likeliest.append(logits.argmax(-1).cpu().numpy())
    return float(total), np.concatenate(likeliest)
