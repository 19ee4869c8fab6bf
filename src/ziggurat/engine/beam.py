"""Beam search: the most likely completion as a whole, found by keeping the `beam` best beginnings at every step.

Plain beam search can end below greedy search: the greedy beginning may fall out of the beam although its end is good.
Here it never does. If it would, it takes the last place; so the result is never less likely than greedy's, and a
beam of 1 is greedy. With a beam of at least V^(length - 1) nothing falls out and the search is exhaustive.

Scores are summed log-probabilities at temperature 1, divided by ((5 + length) / 6) ** length_penalty.
Source: Wu et al. 2016 (arXiv:1609.08144), section 7; its coverage penalty needs an encoder's attention and is left out.

Legend: B live beams, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ziggurat.engine.cache import Arena
from ziggurat.engine.events import Completion
from ziggurat.engine.params import SamplingParams, check_prompt
from ziggurat.engine.views import Decode, Prefill
from ziggurat.errors import UsageError
from ziggurat.model.cpu import accelerate
from ziggurat.model.prefix import front_of
from ziggurat.model.transformer import Transformer


@dataclass(frozen=True)
class Beam:
    """A beginning: its tokens, their log-probabilities, and whether every one of them was the most likely."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    total: float
    greedy: bool

    def score(self, length_penalty: float, length: int | None = None) -> float:
        divisor: float = ((5 + (length or len(self.ids))) / 6) ** length_penalty
        return self.total / divisor


@torch.inference_mode()
def beam_search(model: Transformer, prompt: Sequence[int], params: SamplingParams) -> list[Completion]:
    """The `params.n` best completions, best first."""
    config, width = model.config, params.beam
    check_prompt(prompt, config.context, config.vocab_size)
    if params.n > width:
        raise UsageError(
            f"n is {params.n} and the beam {width}; a beam gives at most as many completions as it is wide."
        )
    max_tokens = min(params.max_tokens, config.context - len(prompt))
    search = _Search(model, prompt, width, max_tokens)
    live = [Beam((), (), 0.0, True)]
    done: list[tuple[Beam, bool]] = []  # (beam, ended by a stop id)
    for count in range(max_tokens):
        live, stopped = _grow(live, search.logprobs(live), params, banned=count < params.min_tokens)
        done += [(beam, True) for beam in stopped]
        if not live or _settled(live, done, params, max_tokens):
            break
        if count + 1 == max_tokens:
            done += [(beam, False) for beam in live]
        else:
            search.follow(live)
    done.sort(key=lambda entry: -entry[0].score(params.length_penalty))
    return [
        Completion(list(beam.ids), list(beam.logprobs), "stop" if ended else "length")
        for beam, ended in done[: params.n]
    ]


def _grow(
    live: list[Beam], logprobs: torch.Tensor, params: SamplingParams, *, banned: bool
) -> tuple[list[Beam], list[Beam]]:
    """One token more: the best `beam` beginnings that go on, and those that ended, if among the best."""
    V = logprobs.shape[-1]
    stops = list(params.stop_ids)
    if banned:
        logprobs[:, stops] = -math.inf
    totals = torch.tensor([beam.total for beam in live])[:, None] + logprobs.cpu()  # (B, V)
    best = totals.flatten().topk(min((1 + len(stops)) * params.beam, totals.numel())).indices.tolist()
    argmax = logprobs.argmax(-1).tolist()
    chain = next((row * V + argmax[row] for row, beam in enumerate(live) if beam.greedy), None)
    going: list[Beam] = []
    stopped: list[Beam] = []
    for rank, flat in enumerate([*best, *([] if chain is None or chain in best else [chain])]):
        row, token = divmod(flat, V)
        step, beam = float(logprobs[row, token]), live[row]
        if step == -math.inf:
            continue
        grown = Beam((*beam.ids, token), (*beam.logprobs, step), beam.total + step, flat == chain)
        if token not in params.stop_ids:
            going.append(grown)
        elif rank < params.beam or grown.greedy:
            stopped.append(grown)
    kept = going[: params.beam]
    spared = next((beam for beam in going[params.beam :] if beam.greedy), None)
    if spared is not None:
        kept[-1] = spared
    return kept, stopped


def _settled(
    live: list[Beam], done: list[tuple[Beam, bool]], params: SamplingParams, max_tokens: int
) -> bool:
    """True if no live beam can still enter the best `n`: totals only fall, and the penalty is kindest at one end."""
    if len(done) < params.n:
        return False
    if params.beam == 1:
        return True  # greedy ends at the first stop id, whatever the penalty hopes for
    worst = sorted((beam.score(params.length_penalty) for beam, _ in done), reverse=True)[params.n - 1]
    hope = max(
        max(beam.score(params.length_penalty, n) for n in (len(beam.ids), max_tokens)) for beam in live
    )
    return hope <= worst


class _Search:
    """The model's side: one cache slot per live beam, reordered as beams fork and die."""

    def __init__(self, model: Transformer, prompt: Sequence[int], width: int, max_tokens: int) -> None:
        self.model = model = accelerate(model.whole())
        self.prompt = prompt
        device = model.embedding.weight.device
        self.arena = Arena(
            model.config, width, len(prompt) + max_tokens, model.compute_dtype, device, front_of(model)
        )
        self.slot_of: dict[tuple[int, ...], int] = {(): 0}
        if len(prompt) > 1:
            ids = torch.tensor([prompt[:-1]], device=device)
            positions = torch.arange(len(prompt) - 1, device=device)[None]
            first = np.zeros(1, dtype=np.int64)
            model.hidden(ids, positions=positions, cache=Prefill(self.arena, first, ids.shape[1]))

    def logprobs(self, live: list[Beam]) -> torch.Tensor:
        """(B, V) of the next token of every beam; beam i sits in slot i."""
        count = len(live[0].ids)
        length = len(self.prompt) + count - 1
        last = torch.tensor([[(beam.ids or self.prompt)[-1]] for beam in live], device=self.arena.device)
        positions = torch.full_like(last, length)
        view = Decode(self.arena, np.full(len(live), length, dtype=np.int64))
        hidden = self.model.hidden(last, positions=positions, cache=view)
        return torch.log_softmax(self.model.logits(hidden[:, 0]), dim=-1)

    def follow(self, live: list[Beam]) -> None:
        """Give every beam the cache of the beginning it grew from."""
        parents = np.array([self.slot_of[beam.ids[:-1]] for beam in live], dtype=np.int64)
        tokens = len(self.prompt) + len(live[0].ids) - 1
        self.arena.move(parents, np.arange(len(live)), tokens)
        self.slot_of = {beam.ids: slot for slot, beam in enumerate(live)}
