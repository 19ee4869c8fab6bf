"""The engine: many requests at once, token ids in, token ids out.

A step has five lines: make room in the cache, admit waiting requests into free slots, prefill (at most one chunk of
work, where the caller wants its running requests undisturbed), compute one token for every sequence that is ready,
account for what finished. A prompt is prefilled but for its last token, which takes the same path as any generated
one; so a step has one shape whatever arrives.

    waiting ──admit──> prefill ──ready──> decode ──ended──> parked, for requests with the same beginning
       ^                  │                 │
       └────preempted─────┴─────────────────┘    when the cache is full, the youngest goes back to the front of the line

It is not thread-safe: call it from one thread (`shared.py` lets several take turns). It reads live
weights: what an optimizer changed is what the next step uses; `set_weights` names the version, and sequences in
flight go on over the keys and values they already have.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ziggurat.engine.admission import Admission
from ziggurat.engine.events import Advance, Event, Handle
from ziggurat.engine.pages import make_arena
from ziggurat.engine.params import SamplingParams, check_prompt
from ziggurat.engine.penalties import adjust
from ziggurat.engine.prefill import Prefiller
from ziggurat.engine.prefixes import ParkingLot
from ziggurat.engine.rows import NO_TOKEN, LiveSequence, LogitsMask, Rows, StopRule
from ziggurat.engine.sampler import derive_key, draw, tempered_logprobs, uniforms
from ziggurat.engine.speculate import GUESSES, Speculator
from ziggurat.engine.views import Decode
from ziggurat.errors import UsageError, ZigguratError
from ziggurat.model.cpu import accelerate
from ziggurat.model.prefix import front_of
from ziggurat.model.transformer import Transformer

FIXED_TOKENS = 32
"""Tokens of a prefill whose shape never changes."""


class Engine:
    """Continuous batching over one model. See the module docstring for what it promises."""

    def __init__(
        self,
        model: Transformer,
        *,
        max_slots: int = 64,
        context: int | None = None,
        admit_together: int = 1,
        parked: int = 0,
        cache_tokens: int | None = None,
        chunk_flops: float | None = None,
        batch_invariant: bool = False,
        small: Transformer | None = None,
        guesses: int = GUESSES,
        page_tokens: int | None = None,
    ) -> None:
        """`context`: tokens per slot, prompt and completion; the model's own by default.

        `admit_together`: wait until so many slots are free before admitting (unless nothing runs): better for
        throughput, worse for the first token. `parked`: finished sequences kept for requests that begin alike.
        `cache_tokens`: tokens in the cache at most, all sequences and the parked ones together. `chunk_flops`: prefill
        in one step at most. `batch_invariant`: every step has the same shapes, so that a request's numbers are the same
        bit for bit whatever runs beside it; slower. `small`: a model of the same tokenizer that guesses so many tokens
        ahead (speculate.py); what is written is distributed as without it. `page_tokens`: keep the cache in pages of so
        many (0: contiguous; None: pages on a GPU only).
        """
        self.model = model = accelerate(model.whole())
        self.config = model.config
        self.context = min(context or self.config.context, self.config.context)
        self.max_slots = max_slots
        self.cache_tokens = max(cache_tokens or max_slots * self.context, self.context)
        self.batch_invariant = batch_invariant
        self.device = model.embedding.weight.device
        fixed = FIXED_TOKENS if batch_invariant else None
        capacity = -(-self.context // FIXED_TOKENS) * FIXED_TOKENS if batch_invariant else self.context
        slots = max_slots + parked
        shape = (self.config, slots, capacity, model.compute_dtype, self.device)
        self.arena = make_arena(
            *shape, cache_tokens=self.cache_tokens, page_tokens=page_tokens, front=front_of(model)
        )
        self.rows = Rows(max_slots, self.context)
        self.lot = ParkingLot(self.arena, range(max_slots, slots))
        self.prefiller = Prefiller(
            model, self.arena, self.rows, self.lot, chunk_flops=chunk_flops, fixed_tokens=fixed
        )
        if self.config.experts is not None and batch_invariant:
            raise UsageError(
                "a mixture of experts cannot be served with --batch-invariant, because its shapes depend on the other "
                "requests; leave the option out."
            )
        if small is not None and batch_invariant:
            raise UsageError(
                "a small model guesses in shapes of its own: choose it or fixed shapes, not both."
            )
        self.speculator = None if small is None else Speculator(model, small, self.arena, self.rows, guesses)
        self.admission = Admission(
            self.rows,
            self.lot,
            self.arena,
            cache_tokens=self.cache_tokens,
            together=admit_together,
            replay=batch_invariant,
        )
        self.waiting = self.admission.waiting
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
        path: tuple[int, ...] = (0,),
    ) -> Handle:
        """Queue a request. With `n` > 1 each completion gets its own copy of the rules.

        `path`: what else decides its draws beside the seed; `generate` gives every prompt a number of its own.
        """
        check_prompt(ids, self.context, self.config.vocab_size)
        if params.beam:
            raise UsageError("beam search takes whole requests, not steps; call generate() for it.")
        if wrong := [token for token, _ in params.logit_bias if not 0 <= token < self.config.vocab_size]:
            raise UsageError(
                f"logit_bias names token {wrong[0]} and the model has {self.config.vocab_size:,} tokens."
            )
        if wrong := [token for token in params.stop_ids if not 0 <= token < self.config.vocab_size]:
            raise UsageError(
                f"stop_token_ids contains {wrong[0]}, outside the vocabulary of {self.config.vocab_size:,}."
            )
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        request_key = derive_key(params.seed, *path)
        for choice in range(params.n):
            self.waiting.append(
                LiveSequence(
                    handle=handle,
                    choice=choice,
                    prompt=ids,
                    params=params,
                    key=derive_key(request_key, choice),
                    max_tokens=min(params.max_tokens, self.context - len(ids)),
                    stop_rule=copy.deepcopy(stop_rule) if choice else stop_rule,
                    logits_mask=copy.deepcopy(logits_mask) if choice else logits_mask,
                ),
                params.cache_salt,
            )
        return handle

    def step(self) -> list[Event]:
        """Make room, admit, prefill, compute, account. Returns what happened since the last step."""
        events, self._cancelled = self._cancelled, []
        while (advance := self.advance()) is not None:
            events += self._events(advance)
            if self.speculator is None or not self.speculator.more:
                break
        return events

    def cancel(self, handle: Handle) -> None:
        """End a request now; its slot is free at the next step. Unknown and finished handles are ignored."""
        waiting = [s for s in self.waiting if s.handle == handle]
        for sequence in waiting:
            self.waiting.remove(sequence)
            self._cancelled.append(self._cancellation(sequence, len(sequence.made.ids)))
        for row, running in enumerate(self.rows.sequences):
            if running is not None and running.handle == handle:
                self.rows.sequences[row] = None
                self._cancelled.append(self._cancellation(running, int(self.rows.count[row])))

    def set_weights(self, version: int, state: Mapping[str, Tensor] | None = None) -> None:
        """From the next step on, events carry `version`; `state`, where given, is loaded into the model."""
        if state is not None:
            self.model.load_state_dict(dict(state))
        self.weight_version = version
        self.lot.clear()
        self.arena.set_front(front_of(self.model), self.arena.slots)
        if self.speculator is not None:
            self.speculator.forget()

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self._cancelled or self.running)

    @property
    def running(self) -> int:
        """Sequences in slots."""
        return self.rows.alive

    @property
    def used_tokens(self) -> int:
        """Tokens in the cache, those of parked sequences included."""
        return self.admission.used_tokens

    def reset(self) -> None:
        """Drop everything that waits or runs, without events."""
        self.waiting.clear()
        self.rows.sequences.clear()
        self._cancelled.clear()
        self.lot.clear()
        self.arena.clear()
        if self.speculator is not None:
            self.speculator.forget()

    # --- one step -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def advance(self) -> Advance | None:
        """The step without events; None if no token was made. Rows that ended stay readable until the next step."""
        if self.speculator is not None and (drawn := self.speculator.left()) is not None:
            return self._account(*drawn)
        self.admission.make_room()
        self.admission.admit(self.weight_version)
        self.prefiller.step()
        ready = self.rows.ready()
        if not ready.any():
            return None
        if self.speculator is not None and (drawn := self.speculator.draw(ready, self._choose)) is not None:
            return self._account(*drawn)
        logits = self._logits(ready)
        distribution = tempered_logprobs(logits, self.rows.temperature[: len(ready)])
        ids = self._choose(logits, distribution, ready)
        return self._account(ids, distribution, ready)

    def _logits(self, ready: npt.NDArray[np.bool_]) -> Tensor:
        """(B, V) of every sequence's next token; rows that are not ready are computed along, shortened."""
        rows, B = self.rows, len(self.rows)
        window = int(rows.length[:B][ready].max()) + 1
        shape, window = (self.max_slots, self.arena.capacity) if self.batch_invariant else (B, window)
        lengths = np.minimum(rows.length[:shape], self.arena.capacity - 1)
        lengths[B:] = 0  # unused rows
        last = torch.from_numpy(rows.last[:shape, None]).to(self.device)  # (B, 1)
        positions = torch.from_numpy(np.minimum(lengths, self.context - 1)[:, None]).to(self.device)  # (B, 1)
        view = Decode(self.arena, lengths, window)
        hidden = self.model.hidden(last, positions=positions, cache=view)
        return self.model.logits(hidden[:, 0])[:B]

    def _choose(self, logits: Tensor, distribution: Tensor, ready: npt.NDArray[np.bool_]) -> Tensor:
        """ids (B,) by each row's rules, masks and its own random numbers."""
        rows, B = self.rows, len(self.rows)
        choosable = distribution
        for row, sequence in enumerate(rows.sequences):
            if sequence is None or not ready[row]:
                continue
            early = rows.count[row] < rows.min_tokens[row]
            allowed = sequence.logits_mask.allowed() if sequence.logits_mask else None
            if not (sequence.params.adjusts_logits or early or allowed is not None):
                continue
            choosable = choosable.clone() if choosable is distribution else choosable
            if sequence.params.adjusts_logits:
                made = rows.tokens[row, : rows.count[row]].tolist()
                adjusted = adjust(logits[row], sequence.params, sequence.prompt, made)
                choosable[row] = tempered_logprobs(adjusted[None], rows.temperature[row : row + 1])[0]
            if early:
                stops = rows.stops[row]
                stops = torch.from_numpy(stops[stops != NO_TOKEN])
                if allowed is not None and not allowed.index_fill(0, stops, False).any():
                    rows.min_tokens[row] = 0  # the mask leaves nothing but the end
                else:
                    choosable[row, stops.to(self.device)] = -math.inf
            if allowed is not None:
                choosable[row].masked_fill_(~allowed.to(self.device), -math.inf)
            choosable[row] -= choosable[row].amax()  # what is left may be too unlikely for exp in fp32
        ids = draw(choosable, rows.rules(), uniforms(rows.key[:B], rows.count[:B]))
        for row, sequence in enumerate(rows.sequences):
            if sequence is not None and rows.count[row] < len(sequence.made.ids):
                ids[row] = sequence.made.ids[rows.count[row]]
        return ids

    def _account(self, ids: Tensor, distribution: Tensor, ready: npt.NDArray[np.bool_]) -> Advance:
        rows, B = self.rows, len(self.rows)
        chosen = distribution.gather(-1, ids[:, None]).squeeze(-1)
        tokens, logprobs = ids.cpu().numpy(), chosen.cpu().numpy()  # the step's one wait for the device
        if not np.isfinite(logprobs[ready]).all():
            self.reset()
            raise ZigguratError(
                f"the model gave probabilities that are not finite (weights version {self.weight_version}); "
                "its weights are damaged, load an earlier checkpoint."
            )
        each = np.flatnonzero(ready)
        count = rows.count[each]
        rows.tokens[each, count], rows.logprobs[each, count] = tokens[each], logprobs[each]
        stopped = (rows.stops[:B] == tokens[:, None]).any(-1) & (rows.count[:B] >= rows.min_tokens[:B])
        broken = np.zeros(B, dtype=np.bool_)  # their masks can follow them no longer
        rows.last[each] = tokens[each]
        rows.length[each] += 1
        rows.count[each] += 1
        for row in each.tolist():
            sequence = rows.sequences[row]
            if sequence and rows.count[row] <= len(sequence.made.ids):
                continue  # a replay: its rules have seen this token
            if sequence and sequence.stop_rule and sequence.stop_rule.accept(int(tokens[row])):
                stopped[row] = True
            if sequence and sequence.logits_mask and not sequence.logits_mask.accept(int(tokens[row])):
                stopped[row], broken[row] = False, True
        stopped &= ready
        ended = ready & (stopped | broken | (rows.count[:B] >= rows.max_tokens[:B]))
        sequences = [sequence if ready[row] else None for row, sequence in enumerate(rows.sequences)]
        for row in np.flatnonzero(ended).tolist():
            self._end(row)
        return Advance(sequences, tokens, logprobs, stopped, ended, distribution)

    def _end(self, row: int) -> None:
        """Free a row, and park what it holds."""
        sequence = self.rows.sequences[row]
        assert sequence is not None
        if self.lot.enabled and self.rows.version[row] == self.weight_version:
            cached = self.rows.known(row)[: self.rows.length[row]]
            if self.batch_invariant:  # what was decoded was computed in another shape than a prompt is
                cached = cached[: len(sequence.prompt) - 1]
            self.lot.park(row, cached, sequence.params.cache_salt)
        self.rows.sequences[row] = None

    # --- events -------------------------------------------------------------------------------------------------

    def _events(self, advance: Advance) -> list[Event]:
        events = []
        for row, sequence in enumerate(advance.sequences):
            index = int(self.rows.count[row]) - 1
            if sequence is None or index < len(sequence.made.ids):
                continue
            events.append(
                Event(
                    handle=sequence.handle,
                    token=int(advance.tokens[row]),
                    logprob=float(advance.logprobs[row]),
                    index=index,
                    finish=advance.finish(row),
                    weight_version=self.weight_version,
                    choice=sequence.choice,
                    top=_top(advance.distribution[row], sequence.params.logprobs),
                    prompt_scores=tuple(sequence.prompt_scores) if index == 0 else (),
                )
            )
        return events

    def _cancellation(self, sequence: LiveSequence, index: int) -> Event:
        return Event(sequence.handle, NO_TOKEN, 0.0, index, "cancelled", self.weight_version, sequence.choice)


def _top(distribution: Tensor, n: int) -> tuple[tuple[int, float], ...]:
    if not n:
        return ()
    values, ids = distribution.topk(min(n, len(distribution)))
    return tuple(zip(ids.tolist(), values.tolist(), strict=True))
