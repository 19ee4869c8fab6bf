"""The engine: many requests at once, token ids in, token ids out.

Its step is three lines: admit waiting requests into free slots, compute one token for every running sequence, account
for what finished. A prompt is prefilled but for its last token, which takes the same path as any generated one; so a
step has one shape whatever arrives. Equal prompts admitted together are computed once.

It is not thread-safe: whoever owns it calls it from one thread (`shared.py` lets several take turns). It reads live
weights: what an optimizer changed is what the next step uses; `set_weights` names the version, and sequences in
flight go on over the keys and values they already have.

Left out, for a later issue: pages and prefix reuse, prefill in chunks, preemption, penalties.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ziggurat.engine.cache import Arena
from ziggurat.engine.rows import NO_TOKEN, Draft, LogitsMask, Rows, StopRule
from ziggurat.engine.sampler import SamplingParams, derive_key, draw, tempered_logprobs, uniforms
from ziggurat.errors import ContextError, UsageError, ZigguratError
from ziggurat.model.transformer import Transformer

Handle = int
Finish = Literal["stop", "length", "cancelled"]
ADMIT_SHARE = 16
"""`generate` refills once 1 / 16 of the slots are free: a prefill of one prompt costs nearly as much as of several."""
PREFILL_TOKENS = 1024
"""Tokens, padding included, in one prefill: larger ones gain nothing on a CPU and need more memory."""


@dataclass(frozen=True, slots=True)
class Event:
    """One token of one request, or the news that it ended."""

    handle: Handle
    token: int  # NO_TOKEN (-1) where a request was cancelled
    logprob: float  # of the tempered, full-vocabulary distribution
    index: int  # 0 for the first token of the completion
    finish: Finish | None  # set with the last token
    weight_version: int
    choice: int = 0  # which of the `n` completions
    top: tuple[tuple[int, float], ...] = ()  # the most likely alternatives, where `logprobs` asked for them


@dataclass(frozen=True, slots=True)
class Completion:
    """What `generate` returns; `ids` ends with the stop id if `finish` is "stop"."""

    ids: list[int]
    logprobs: list[float]
    finish: Finish


@dataclass(frozen=True)
class Advance:
    """What one step did to the rows 0..B-1."""

    drafts: list[Draft | None]
    tokens: npt.NDArray[np.int64]  # (B,)
    logprobs: npt.NDArray[np.float32]  # (B,)
    stopped: npt.NDArray[np.bool_]  # (B,)
    ended: npt.NDArray[np.bool_]  # (B,) stopped or at the length limit
    distribution: Tensor  # (B, V) log-probabilities

    def finish(self, row: int) -> Finish | None:
        return None if not self.ended[row] else "stop" if self.stopped[row] else "length"


class Engine:
    """Continuous batching over one model. See the module docstring for what it promises."""

    def __init__(
        self, model: Transformer, *, max_slots: int = 64, context: int | None = None, admit_together: int = 1
    ) -> None:
        """`context`: tokens per slot, prompt and completion; the model's own by default.

        `admit_together`: wait until so many slots are free before admitting (unless nothing runs): better for
        throughput, worse for the first token.
        """
        self.model, self.config = model, model.config
        self.context = min(context or self.config.context, self.config.context)
        self.max_slots, self.admit_together = max_slots, admit_together
        self.device = model.embedding.weight.device
        self.arena = Arena(self.config, max_slots, self.context, model.compute_dtype, self.device)
        self.rows = Rows(max_slots, self.context)
        self.waiting: deque[Draft] = deque()
        self.weight_version = 0
        self._next_handle = 0
        self._cancelled: list[Event] = []

    # --- the interface ------------------------------------------------------------------------------------------

    def submit(
        self,
        ids: Sequence[int],
        params: SamplingParams,
        *,
        stop_rule: StopRule | None = None,
        logits_mask: LogitsMask | None = None,
    ) -> Handle:
        """Queue a request. With `n` > 1 each completion gets its own copy of the rules."""
        return self._submit(ids, params, (0,), stop_rule, logits_mask)

    def _submit(
        self,
        ids: Sequence[int],
        params: SamplingParams,
        path: tuple[int, ...],
        stop_rule: StopRule | None = None,
        logits_mask: LogitsMask | None = None,
    ) -> Handle:
        check_prompt(ids, self.context, self.config.vocab_size)
        if params.beam:
            raise UsageError("beam search takes whole requests, not steps; call generate() for it.")
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        request_key = derive_key(params.seed, *path)
        for choice in range(params.n):
            self.waiting.append(
                Draft(
                    handle=handle,
                    choice=choice,
                    prompt=ids,
                    params=params,
                    key=derive_key(request_key, choice),
                    max_tokens=min(params.max_tokens, self.context - len(ids)),
                    stop_rule=copy.deepcopy(stop_rule) if choice else stop_rule,
                    logits_mask=copy.deepcopy(logits_mask) if choice else logits_mask,
                )
            )
        return handle

    def step(self) -> list[Event]:
        """Admit, compute one token for every running sequence, account. Returns what happened since the last step."""
        events, self._cancelled = self._cancelled, []
        advance = self.advance()
        return events if advance is None else events + self._events(advance)

    def cancel(self, handle: Handle) -> None:
        """End a request now; its slot is free at the next step. Unknown and finished handles are ignored."""
        waiting = [s for s in self.waiting if s.handle == handle]
        for sequence in waiting:
            self.waiting.remove(sequence)
            self._cancelled.append(self._cancellation(sequence, 0))
        for row, running in enumerate(self.rows.drafts):
            if running is not None and running.handle == handle:
                self.rows.drafts[row] = None
                self._cancelled.append(self._cancellation(running, int(self.rows.count[row])))

    def set_weights(self, version: int, state: Mapping[str, Tensor] | None = None) -> None:
        """From the next step on, events carry `version`; `state`, where given, is loaded into the model."""
        if state is not None:
            self.model.load_state_dict(dict(state))
        self.weight_version = version

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self._cancelled or self.running)

    @property
    def running(self) -> int:
        """Sequences in slots."""
        return sum(sequence is not None for sequence in self.rows.drafts)

    def reset(self) -> None:
        """Drop everything that waits or runs, without events."""
        self.waiting.clear()
        self.rows.drafts.clear()
        self._cancelled.clear()
        self.arena.clear()

    # --- one step -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def advance(self) -> Advance | None:
        """The step without events; None if nothing runs. Rows that ended stay readable until the next step."""
        self._admit()
        if not self.rows.drafts:
            return None
        distribution = self._distribution()
        ids = self._choose(distribution)
        return self._account(ids, distribution)

    def _admit(self) -> None:
        """Waiting requests take the holes first, then the slots after the last; holes left over are closed."""
        rows = self.rows
        holes = rows.holes()
        free = self.max_slots - len(rows) + len(holes)
        if self.waiting and (free >= self.admit_together or free == self.max_slots):
            slots = (holes + list(range(len(rows), self.max_slots)))[: len(self.waiting)]
            admitted = [self.waiting.popleft() for _ in slots]
            for slot, sequence in zip(slots, admitted, strict=True):
                rows.fill(slot, sequence)
            self._prefill(slots, admitted)
            holes = holes[len(slots) :]
        if holes:
            source, target = rows.close_holes()
            if len(source):
                self.arena.move(source, target, int(rows.length[target].max()))

    def _prefill(self, slots: list[int], admitted: list[Draft]) -> None:
        """Fill the cache with every prompt but its last token, in groups of similar length, equal prompts once."""
        sharers: dict[tuple[int, ...], list[int]] = {}
        for slot, sequence in zip(slots, admitted, strict=True):
            if len(sequence.prompt) > 1:
                sharers.setdefault(tuple(sequence.prompt[:-1]), []).append(slot)
        for group in length_groups(list(sharers), PREFILL_TOKENS):
            T = len(group[0])
            padded = np.zeros((len(group), T), dtype=np.int64)
            for row, prompt in enumerate(group):
                padded[row, : len(prompt)] = prompt
            targets = [(slot, row) for row, prompt in enumerate(group) for slot in sharers[prompt]]
            slot_of, row_of = np.array(targets, dtype=np.int64).T
            ids = torch.from_numpy(padded).to(self.device)
            positions = torch.arange(T, device=self.device).expand(len(group), T)
            view = self.arena.prefill(np.ascontiguousarray(slot_of), np.ascontiguousarray(row_of))
            self.model.hidden(ids, positions=positions, cache=view)

    def _distribution(self) -> Tensor:
        """Log-probabilities (B, V) of every running sequence's next token."""
        rows, B = self.rows, len(self.rows)
        lengths = rows.length[:B]
        last = torch.from_numpy(rows.last[:B, None]).to(self.device)  # (B, 1)
        positions = torch.from_numpy(lengths[:, None]).to(self.device)  # (B, 1)
        hidden = self.model.hidden(last, positions=positions, cache=self.arena.decode(lengths))
        return tempered_logprobs(self.model.logits(hidden[:, 0]), rows.temperature[:B])

    def _choose(self, distribution: Tensor) -> Tensor:
        """ids (B,) by each row's rules, masks and its own random numbers."""
        rows, B = self.rows, len(self.rows)
        choosable = distribution
        for row in np.flatnonzero(rows.count[:B] < rows.min_tokens[:B]).tolist():
            choosable = choosable.clone() if choosable is distribution else choosable
            stops = rows.stops[row]
            choosable[row, torch.from_numpy(stops[stops != NO_TOKEN]).to(self.device)] = -math.inf
        for row, sequence in enumerate(rows.drafts):
            allowed = sequence.logits_mask.allowed() if sequence and sequence.logits_mask else None
            if allowed is not None:
                choosable = choosable.clone() if choosable is distribution else choosable
                choosable[row].masked_fill_(~allowed.to(self.device), -math.inf)
        return draw(choosable, rows.rules(), uniforms(rows.key[:B], rows.count[:B]))

    def _account(self, ids: Tensor, distribution: Tensor) -> Advance:
        rows, B = self.rows, len(self.rows)
        chosen = distribution.gather(-1, ids[:, None]).squeeze(-1)
        tokens, logprobs = ids.cpu().numpy(), chosen.cpu().numpy()  # the step's one wait for the device
        if not np.isfinite(logprobs).all():
            self.reset()
            raise ZigguratError(
                f"the model gave probabilities that are not finite (weights version {self.weight_version}); "
                "its weights are damaged, load an earlier checkpoint."
            )
        each = np.arange(B)
        count = rows.count[:B]
        rows.tokens[each, count], rows.logprobs[each, count] = tokens, logprobs
        stopped = (rows.stops[:B] == tokens[:, None]).any(-1) & (count >= rows.min_tokens[:B])
        rows.last[:B] = tokens
        rows.length[:B] += 1
        count += 1
        for row, sequence in enumerate(rows.drafts):
            if sequence and sequence.stop_rule and sequence.stop_rule.accept(int(tokens[row])):
                stopped[row] = True
            if sequence and sequence.logits_mask:
                sequence.logits_mask.accept(int(tokens[row]))
        ended = stopped | (count >= rows.max_tokens[:B])
        advance = Advance(list(rows.drafts), tokens, logprobs, stopped, ended, distribution)
        for row in np.flatnonzero(ended).tolist():
            rows.drafts[row] = None
        return advance

    # --- events -------------------------------------------------------------------------------------------------

    def _events(self, advance: Advance) -> list[Event]:
        events = []
        for row, sequence in enumerate(advance.drafts):
            assert sequence is not None  # holes were closed before the step
            events.append(
                Event(
                    handle=sequence.handle,
                    token=int(advance.tokens[row]),
                    logprob=float(advance.logprobs[row]),
                    index=int(self.rows.count[row]) - 1,
                    finish=advance.finish(row),
                    weight_version=self.weight_version,
                    choice=sequence.choice,
                    top=_top(advance.distribution[row], sequence.params.logprobs),
                )
            )
        return events

    def _cancellation(self, sequence: Draft, index: int) -> Event:
        return Event(sequence.handle, NO_TOKEN, 0.0, index, "cancelled", self.weight_version, sequence.choice)


def _top(distribution: Tensor, n: int) -> tuple[tuple[int, float], ...]:
    if not n:
        return ()
    values, ids = distribution.topk(min(n, len(distribution)))
    return tuple(zip(ids.tolist(), values.tolist(), strict=True))


def check_prompt(ids: Sequence[int], context: int, vocab_size: int) -> None:
    """A prompt must leave room for one token, and have one to start from."""
    if not ids:
        raise UsageError(
            "the prompt is empty; give at least one token (the end-of-text token starts a document)."
        )
    if len(ids) >= context:
        raise ContextError(
            f"the prompt has {len(ids):,} tokens and the context is {context:,}, so nothing can be added; shorten it."
        )
    if min(ids) < 0 or max(ids) >= vocab_size:
        wrong = min(ids) if min(ids) < 0 else max(ids)
        raise UsageError(
            f"the prompt has token {wrong} and the model {vocab_size:,} tokens; they are not of one tokenizer."
        )


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


def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams | Sequence[SamplingParams],
    *,
    max_slots: int = 256,
    stop_rules: Sequence[StopRule | None] | None = None,
) -> list[Completion]:
    """Complete every prompt; the fast way for rollouts and exams. With n > 1, the n completions of a prompt follow it.

    One `params` for all: prompt i draws by (seed, i), so equal prompts differ. One `params` each: prompt i draws by
    its own seed, as a request of its own would.
    """
    each = [params] * len(prompts) if isinstance(params, SamplingParams) else list(params)
    if len(each) != len(prompts):
        raise UsageError(
            f"{len(prompts)} prompts came with {len(each)} sampling parameters; give one, or one each."
        )
    if any(p.beam for p in each):
        from ziggurat.engine.beam import beam_search

        return [c for ids, p in zip(prompts, each, strict=True) for c in beam_search(model, ids, p)]
    if not prompts:
        return []
    return _generate_sampled(model, prompts, each, isinstance(params, SamplingParams), max_slots, stop_rules)


def _generate_sampled(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    each: list[SamplingParams],
    shared: bool,
    max_slots: int,
    stop_rules: Sequence[StopRule | None] | None,
) -> list[Completion]:
    longest = max(len(ids) + p.max_tokens for ids, p in zip(prompts, each, strict=True))
    sequences = sum(p.n for p in each)
    slots = min(max_slots, sequences)
    engine = Engine(
        model,
        max_slots=slots,
        context=min(longest, model.config.context),
        admit_together=max(1, slots // ADMIT_SHARE),
    )
    place: dict[Handle, int] = {}  # where the first completion of a request goes
    first = [0, *itertools.accumulate(p.n for p in each)]
    for i in sorted(range(len(prompts)), key=lambda i: -len(prompts[i])):  # alike in length runs together
        rule = stop_rules[i] if stop_rules else None
        place[engine._submit(prompts[i], each[i], (i if shared else 0,), rule)] = first[i]
    completions: list[Completion | None] = [None] * sequences
    while (advance := engine.advance()) is not None:
        for row in np.flatnonzero(advance.ended).tolist():
            draft, finish, count = advance.drafts[row], advance.finish(row), engine.rows.count[row]
            assert draft is not None
            assert finish is not None
            completions[place[draft.handle] + draft.choice] = Completion(
                engine.rows.tokens[row, :count].tolist(), engine.rows.logprobs[row, :count].tolist(), finish
            )
    return [completion for completion in completions if completion is not None]
