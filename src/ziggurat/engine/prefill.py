"""Prefill: keys and values of prompts, but for their last token, which takes the same path as any generated one.

    whole     new prompts of like length, padded into one batch, equal ones once        [a a a a .]
                                                                                        [b b b . .]
    chunk     one prompt that is long, or goes on after a shared prefix: so many tokens at a time that no running
              sequence waits longer for its next token than one chunk takes             shared|c c c c|c c c c|c c

A chunk is measured in FLOPs, those of attention at what they take (`KEY_WEIGHT`): later tokens of a long prompt look
back at more keys and cost more. Without a bound
(`generate`, where no stream waits for its next token) everything is prefilled at once.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ziggurat.engine.cache import WHOLE_TOKENS, Arena
from ziggurat.engine.prefixes import WORTH_SHARING, Ids, ParkingLot, common_prefix
from ziggurat.engine.rows import LiveSequence, PromptScore, Rows
from ziggurat.engine.views import Extend, Prefill
from ziggurat.model.accounting import forward_flops, tokens_within
from ziggurat.model.transformer import Transformer

SHARED = 32
"""Tokens: prompts that begin alike for so long are computed one after the other, the later ones from a copy."""
KEY_WEIGHT = 2.0
"""What a FLOP of attention counts: it takes four times as long as one of a matrix product (134M, bf16, 2 cores: 100
against 400 GFLOP/s), but every chunk has its own cost too, and with 4 late ones would be too small."""
CROWD, MOST_CHUNKS = 2, 4.0
"""Every so many prompts that wait add a chunk to a step, up to so many: 264 tokens in 130 ms instead of 68 in 52."""
SMALLEST_CHUNK = 16
"""Tokens: a matrix is read from memory once a chunk, so smaller ones cost nearly as much."""


class Prefiller:
    """Fills the slots of rows that are not ready yet, the first admitted first."""

    def __init__(
        self,
        model: Transformer,
        arena: Arena,
        rows: Rows,
        lot: ParkingLot,
        *,
        chunk_flops: float | None = None,
        fixed_tokens: int | None = None,
    ) -> None:
        """`chunk_flops`: work in one step (None: all). `fixed_tokens`: every prompt alone, in chunks of so many."""
        self.model, self.arena, self.rows, self.lot = model, arena, rows, lot
        self.chunk_flops, self.fixed_tokens = chunk_flops, fixed_tokens
        self.computed = 0  # tokens, since the engine was made

    def step(self) -> None:
        """All that is missing; with a bound on the work, as much of it as the bound allows, but something.

        The bound grows with the line: where many wait for their first token, larger chunks serve all of them sooner,
        and running ones wait a little longer for their next.
        """
        crowd = min(max(1.0, self._missing / CROWD), MOST_CHUNKS)
        budget = left = math.inf if self.chunk_flops is None else self.chunk_flops * crowd
        while (waiting := self._line()) and (left > budget / 2 or left == budget):
            whole = self._whole(waiting, left)
            left -= self._fill_whole(whole) if whole else self._fill_chunk(waiting[0], left)

    @property
    def _missing(self) -> int:
        """Prompts that are not whole in the cache."""
        rows, B = self.rows, len(self.rows)
        return int((rows.length[:B] < rows.target[:B]).sum())

    def _line(self) -> list[int]:
        """Rows that still miss something, in the order of admission; the first has taken what others have.

        The others look for that when their turn comes: a crowd that waits must not search the cache at every step.
        """
        rows = self.rows
        unready = np.flatnonzero(rows.length[: len(rows)] < rows.target[: len(rows)]).tolist()
        line = sorted(
            (row for row in unready if rows.sequences[row]), key=lambda row: self._sequence(row).serial
        )
        for place, row in enumerate(line):
            self._take_prefix(row)
            if rows.length[row] < rows.target[row]:
                return line[place:]
        return []

    def _sequence(self, row: int) -> LiveSequence:
        sequence = self.rows.sequences[row]
        assert sequence is not None
        return sequence

    # --- prefixes -----------------------------------------------------------------------------------------------

    def _take_prefix(self, row: int) -> None:
        """Copy the part of a new prompt that another slot has already."""
        sequence, rows = self._sequence(row), self.rows
        if not self.lot.enabled or rows.length[row] or sequence.params.prompt_logprobs is not None:
            return
        ids = np.asarray(rows.known(row)[:-1], dtype=np.int32)
        slot, shared = self._donor(row, ids, sequence.params.cache_salt)
        if self.fixed_tokens is not None:
            shared -= shared % self.fixed_tokens
        if shared >= WORTH_SHARING:
            self.arena.share(slot, row, 0, shared)
            rows.length[row] = shared
            self.lot.hits += shared

    def _donor(self, row: int, ids: Ids, salt: str) -> tuple[int, int]:
        """(slot, tokens): a parked sequence or a running one, whichever shares more; only whole prompts are lent."""
        rows = self.rows
        slot, shared = self.lot.longest(ids, salt)
        for other in np.flatnonzero(rows.ready()).tolist():
            sequence = self._sequence(other)
            if sequence.params.cache_salt != salt or rows.version[other] != rows.version[row]:
                continue
            if (common := common_prefix(sequence.prompt_ids[: rows.length[other]], ids)) > shared:
                slot, shared = other, common
        return slot, shared

    # --- computing ----------------------------------------------------------------------------------------------

    def _whole(self, waiting: list[int], left: float) -> dict[tuple[int, ...], list[int]]:
        """Prompts to be computed from their first token in one go, each with the rows that want it.

        Empty if the first in line must be cut. A prompt that begins as an earlier one of these waits to copy it.
        """
        sharers: dict[tuple[int, ...], list[int]] = {}
        salts: dict[tuple[int, ...], str] = {}
        budget = math.inf if left == math.inf else tokens_within(left, self.model.config, 0, KEY_WEIGHT)
        longest = 0
        for place, row in enumerate(waiting):
            if place:
                self._take_prefix(row)
            sequence = self._sequence(row)
            ids = tuple(self.rows.known(row)[:-1])
            alone = self.fixed_tokens is not None or sequence.params.prompt_logprobs is not None
            longest = max(longest, len(ids))
            new, salt = ids not in sharers, sequence.params.cache_salt
            if self.rows.length[row] or alone or longest * (len(sharers) + new) > budget:
                break
            if not new and salts[ids] != salt:
                break  # salts share nothing, not even waiting times
            alike = (other for other in sharers if salts[other] == salt and ids[:SHARED] == other[:SHARED])
            if new and self.lot.enabled and any(alike):
                break
            sharers.setdefault(ids, []).append(row)
            salts.setdefault(ids, salt)
        return sharers

    def _fill_whole(self, sharers: dict[tuple[int, ...], list[int]]) -> float:
        """In groups of like length, equal prompts once; returns the FLOPs."""
        flops = 0.0
        for group in length_groups(list(sharers), WHOLE_TOKENS):
            T = len(group[0])
            padded = np.zeros((len(group), T), dtype=np.int64)
            for place, prompt in enumerate(group):
                padded[place, : len(prompt)] = prompt
            ids = torch.from_numpy(padded).to(self.arena.device)
            positions = torch.arange(T, device=self.arena.device).expand(len(group), T)
            first = np.array([sharers[prompt][0] for prompt in group], dtype=np.int64)
            self.model.hidden(ids, positions=positions, cache=Prefill(self.arena, first, T))
            self.computed += sum(map(len, group))
            flops += len(group) * forward_flops(self.model.config, T, 0, KEY_WEIGHT)
        for known, rows in sharers.items():
            self.rows.length[rows] = len(known)
            for row in rows[1:]:
                self.arena.share(rows[0], row, 0, len(known))
        return flops

    def _fill_chunk(self, row: int, left: float) -> float:
        """The next tokens of one prompt; returns the FLOPs."""
        sequence, start, device = self._sequence(row), int(self.rows.length[row]), self.arena.device
        tokens = int(self.rows.target[row]) - start
        if self.fixed_tokens is not None:
            tokens = min(tokens, self.fixed_tokens)
        elif left != math.inf:
            tokens = min(
                tokens, max(SMALLEST_CHUNK, tokens_within(left, self.model.config, start, KEY_WEIGHT))
            )
        shape = self.fixed_tokens or tokens
        known = self.rows.known(row)
        ids = torch.zeros(1, shape, dtype=torch.int64, device=device)
        ids[0, :tokens] = torch.tensor(known[start : start + tokens])
        positions = torch.arange(start, start + shape, device=device)[None]
        positions.clamp_(max=self.model.config.context - 1)  # of padding
        hidden = self.model.hidden(ids, positions=positions, cache=Extend(self.arena, row, start, shape))
        if sequence.params.prompt_logprobs is not None:
            self._score_prompt(sequence, hidden[0], known[start + 1 : start + 1 + tokens])
        self.rows.length[row] += tokens
        self.computed += tokens
        return forward_flops(self.model.config, tokens, start, KEY_WEIGHT)

    def _score_prompt(self, sequence: LiveSequence, hidden: Tensor, following: list[int]) -> None:
        """hidden (T, C) gives the log-probabilities of the tokens that follow; only the prompt's own are kept."""
        wanted = len(sequence.prompt) - 1 - len(sequence.prompt_scores)
        following, top = following[: max(wanted, 0)], sequence.params.prompt_logprobs or 0
        if not following:
            return
        logprobs = torch.log_softmax(self.model.logits(hidden[: len(following)]), -1)
        own = logprobs.gather(1, torch.tensor(following, device=logprobs.device)[:, None])[:, 0].tolist()
        ranks = (1 + (logprobs > torch.tensor(own, device=logprobs.device)[:, None]).sum(-1)).tolist()
        values, ids = logprobs.topk(min(top, logprobs.shape[-1]), -1)
        for token, logprob, rank, row_ids, row_values in zip(
            following, own, ranks, ids.tolist(), values.tolist(), strict=True
        ):
            best = tuple(zip(row_ids, row_values, strict=True))
            sequence.prompt_scores.append(PromptScore(token, logprob, best, rank))


def length_groups(prompts: list[tuple[int, ...]], max_tokens: int) -> list[list[tuple[int, ...]]]:
    """Longest first; a group ends before it exceeds `max_tokens` with padding or would double a prompt."""
    groups: list[list[tuple[int, ...]]] = []
    for prompt in sorted(prompts, key=len, reverse=True):
        longest = len(groups[-1][0]) if groups else 0
        if groups and (len(groups[-1]) + 1) * longest <= max_tokens and 2 * len(prompt) >= longest:
            groups[-1].append(prompt)
        else:
            groups.append([prompt])
    return groups
