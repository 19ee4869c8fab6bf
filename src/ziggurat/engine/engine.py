"""The engine: many requests at once, token ids in, token ids out.

A step has five lines: make room in the cache, admit waiting requests into free slots, prefill (at most one chunk of
work, where the caller wants its running requests undisturbed), compute one token for every sequence that is ready,
account for what finished. A prompt is prefilled but for its last token, which takes the same path as any generated
one; so a step has one shape whatever arrives.

    waiting ──admit──> prefill ──ready──> decode ──ended──> parked, for whoever comes with the same beginning
       ^                  │                 │
       └────preempted─────┴─────────────────┘    when the cache is full, the youngest goes back to the front of the line

It is not thread-safe: whoever owns it calls it from one thread (`shared.py` lets several take turns). It reads live
weights: what an optimizer changed is what the next step uses; `set_weights` names the version, and sequences in
flight go on over the keys and values they already have.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ziggurat.engine.cache import Arena
from ziggurat.engine.events import Advance, Event, Handle
from ziggurat.engine.pages import PagedArena
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.penalties import adjust
from ziggurat.engine.prefill import WHOLE_TOKENS, Prefiller
from ziggurat.engine.prefixes import ParkingLot
from ziggurat.engine.rows import NO_TOKEN, Draft, LogitsMask, Rows, StopRule
from ziggurat.engine.sampler import derive_key, draw, tempered_logprobs, uniforms
from ziggurat.engine.speculate import GUESSES, Speculator
from ziggurat.engine.views import Decode
from ziggurat.errors import ContextError, UsageError, ZigguratError
from ziggurat.model.transformer import Transformer

FIXED_TOKENS = 32
"""Tokens of a prefill whose shape never changes."""
PAGE_TOKENS = 32
"""Tokens of a page on a GPU."""


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
        throughput, worse for the first token. `parked`: finished sequences kept for those who begin alike.
        `cache_tokens`: tokens in the cache at most, all sequences and the parked ones together. `chunk_flops`: prefill
        in one step at most. `batch_invariant`: every step has the same shapes, so that a request's numbers are the same
        bit for bit whatever runs beside it; slower. `small`: a model of the same tokenizer that guesses so many tokens
        ahead (speculate.py); what is written is distributed as without it. `page_tokens`: keep the cache in pages of so
        many (0: contiguous; None: pages on a GPU only).
        """
        self.model, self.config = model, model.config
        self.context = min(context or self.config.context, self.config.context)
        self.max_slots, self.admit_together = max_slots, admit_together
        self.cache_tokens = max(cache_tokens or max_slots * self.context, self.context)
        self.batch_invariant = batch_invariant
        self.device = model.embedding.weight.device
        fixed = FIXED_TOKENS if batch_invariant else None
        capacity = -(-self.context // FIXED_TOKENS) * FIXED_TOKENS if batch_invariant else self.context
        slots = max_slots + parked
        self.arena = self._arena(slots, capacity, page_tokens)
        self.rows = Rows(max_slots, self.context)
        self.lot = ParkingLot(self.arena, range(max_slots, slots))
        self.prefiller = Prefiller(
            model, self.arena, self.rows, self.lot, chunk_flops=chunk_flops, fixed_tokens=fixed
        )
        if small is not None and batch_invariant:
            raise UsageError(
                "a small model guesses in shapes of its own: choose it or fixed shapes, not both."
            )
        self.speculator = None if small is None else Speculator(model, small, self.arena, self.rows, guesses)
        self.waiting: deque[Draft] = deque()
        self.weight_version = 0
        self.preempted = 0  # times that a sequence was sent back, since the engine was made
        self.filled = 0  # tokens in the cache when the last step began; may be read on any thread
        self._next_handle, self._next_serial = 0, 0
        self._cancelled: list[Event] = []

    def _arena(self, slots: int, capacity: int, page_tokens: int | None) -> Arena:
        if page_tokens is None:
            page_tokens = PAGE_TOKENS if self.device.type == "cuda" else 0
        dtype = self.model.compute_dtype
        if not page_tokens:
            return Arena(self.config, slots, capacity, dtype, self.device)
        # Beyond the tokens themselves: a page of each slot is not full, one is being filled, prefill pads.
        pages = -(-(self.cache_tokens + WHOLE_TOKENS) // page_tokens) + 2 * slots
        return PagedArena(
            self.config, slots, capacity, dtype, self.device, page_tokens=page_tokens, pages=pages
        )

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
        for row, running in enumerate(self.rows.drafts):
            if running is not None and running.handle == handle:
                self.rows.drafts[row] = None
                self._cancelled.append(self._cancellation(running, int(self.rows.count[row])))

    def set_weights(self, version: int, state: Mapping[str, Tensor] | None = None) -> None:
        """From the next step on, events carry `version`; `state`, where given, is loaded into the model."""
        if state is not None:
            self.model.load_state_dict(dict(state))
        self.weight_version = version
        self.lot.clear()
        if self.speculator is not None:
            self.speculator.forget()

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self._cancelled or self.running)

    @property
    def running(self) -> int:
        """Sequences in slots."""
        return sum(sequence is not None for sequence in self.rows.drafts)

    @property
    def used_tokens(self) -> int:
        """Tokens in the cache, or soon (a prompt that is being prefilled), those of parked sequences included."""
        alive = [row for row, draft in enumerate(self.rows.drafts) if draft is not None]
        held = np.maximum(self.rows.length, self.rows.target)[alive]
        return int(held.sum()) + self.lot.tokens

    def reset(self) -> None:
        """Drop everything that waits or runs, without events."""
        self.waiting.clear()
        self.rows.drafts.clear()
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
        self._make_room()
        self._admit()
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

    def _make_room(self) -> None:
        """Before the cache is over its bound, parked sequences are dropped, then the youngest running one."""
        while (filled := self.used_tokens) + self.running > self.cache_tokens:
            if self.lot.drop_oldest():
                continue
            alive = [(draft.serial, row) for row, draft in enumerate(self.rows.drafts) if draft is not None]
            if len(alive) < 2:
                break
            self.waiting.appendleft(self.rows.preempt(max(alive)[1]))
            self.preempted += 1
        self.filled = filled

    def _admit(self) -> None:
        """Waiting requests take the holes first, then the slots after the last; holes left over are closed."""
        rows = self.rows
        holes = rows.holes()
        for slot in holes:
            self.arena.release(slot)
        free = self.max_slots - len(rows) + len(holes)
        if self.waiting and (free >= self.admit_together or free == self.max_slots):
            slots = (holes + list(range(len(rows), self.max_slots)))[: self._fitting(free)]
            for slot in slots:
                sequence = self.waiting.popleft()
                sequence.serial, self._next_serial = self._next_serial, self._next_serial + 1
                rows.fill(slot, sequence, replay=self.batch_invariant)
                rows.version[slot] = self.weight_version
            holes = holes[len(slots) :]
        if holes:
            source, target = rows.close_holes()
            if len(source):
                self.arena.move(source, target, int(rows.length[target].max()))
                for slot in source.tolist():
                    self.arena.release(slot)

    def _fitting(self, free: int) -> int:
        """How many of those who wait fit into the cache, parked sequences given up for them."""
        room = self.cache_tokens - self.used_tokens - self.running
        fitting = 0
        for draft in list(self.waiting)[:free]:
            need = len(draft.prompt) + len(draft.made.ids) + 1
            while need > room and self.lot.parked:
                before = self.lot.tokens
                self.lot.drop_oldest()
                room += before - self.lot.tokens
            if need > room and (fitting or self.running):
                break
            room -= need
            fitting += 1
        return fitting

    def _logits(self, ready: npt.NDArray[np.bool_]) -> Tensor:
        """(B, V) of every sequence's next token; rows that are not ready are computed along, shortened."""
        rows, B = self.rows, len(self.rows)
        window = int(rows.length[:B][ready].max()) + 1
        shape, window = (self.max_slots, self.arena.capacity) if self.batch_invariant else (B, window)
        lengths = np.minimum(rows.length[:shape], self.arena.capacity - 1)
        lengths[B:] = 0  # nobody is there
        last = torch.from_numpy(rows.last[:shape, None]).to(self.device)  # (B, 1)
        positions = torch.from_numpy(np.minimum(lengths, self.context - 1)[:, None]).to(self.device)  # (B, 1)
        view = Decode(self.arena, lengths, window)
        hidden = self.model.hidden(last, positions=positions, cache=view)
        return self.model.logits(hidden[:, 0])[:B]

    def _choose(self, logits: Tensor, distribution: Tensor, ready: npt.NDArray[np.bool_]) -> Tensor:
        """ids (B,) by each row's rules, masks and its own random numbers."""
        rows, B = self.rows, len(self.rows)
        choosable = distribution
        for row, sequence in enumerate(rows.drafts):
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
                choosable[row, torch.from_numpy(stops[stops != NO_TOKEN]).to(self.device)] = -math.inf
            if allowed is not None:
                choosable[row].masked_fill_(~allowed.to(self.device), -math.inf)
        ids = draw(choosable, rows.rules(), uniforms(rows.key[:B], rows.count[:B]))
        for row, sequence in enumerate(rows.drafts):
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
        rows.last[each] = tokens[each]
        rows.length[each] += 1
        rows.count[each] += 1
        for row in each.tolist():
            sequence = rows.drafts[row]
            if sequence and rows.count[row] <= len(sequence.made.ids):
                continue  # a replay: its rules have seen this token
            if sequence and sequence.stop_rule and sequence.stop_rule.accept(int(tokens[row])):
                stopped[row] = True
            if sequence and sequence.logits_mask:
                sequence.logits_mask.accept(int(tokens[row]))
        stopped &= ready
        ended = ready & (stopped | (rows.count[:B] >= rows.max_tokens[:B]))
        drafts = [draft if ready[row] else None for row, draft in enumerate(rows.drafts)]
        for row in np.flatnonzero(ended).tolist():
            self._end(row)
        return Advance(drafts, tokens, logprobs, stopped, ended, distribution)

    def _end(self, row: int) -> None:
        """Free a row, and park what it holds."""
        draft = self.rows.drafts[row]
        assert draft is not None
        if self.lot.enabled and self.rows.version[row] == self.weight_version:
            cached = self.rows.known(row)[: self.rows.length[row]]
            if self.batch_invariant:  # what was decoded was computed in another shape than a prompt is
                cached = cached[: len(draft.prompt) - 1]
            self.lot.park(row, cached, draft.params.cache_salt)
        self.rows.drafts[row] = None

    # --- events -------------------------------------------------------------------------------------------------

    def _events(self, advance: Advance) -> list[Event]:
        events = []
        for row, sequence in enumerate(advance.drafts):
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
