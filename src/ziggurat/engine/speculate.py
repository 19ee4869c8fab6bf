"""Speculative decoding: a small model guesses some tokens ahead, the large one reads them all in one pass.

    known ... | last                 guesses of the small model        tokens that come of it
                last g1 g2 g3 g4     the large model reads them        g1 g2 and, where g3 is refused, another one

A guess g, drawn from the small model's q, is taken with probability min(1, p(g) / q(g)), where p is the large model's;
a refused one is replaced by a draw from the positive part of p - q. What comes out is distributed as p, whatever q is
(Leviathan et al. 2023, arXiv:2211.17192, 2.3; Chen et al. 2023, arXiv:2302.01318). Both are taken after the request's
own rules (temperature, min-p, top-k, top-p), and are one-hot where it is greedy.

One thing differs from the papers: the token after the last guess is not drawn from p but made like all others, from one
guess more. So a token depends on (seed, position) and the tokens before it, and neither on where a window began nor on
neighbours; a preempted sequence goes on with the same draws. It costs nothing, since the small model must read its last
guess in any case.

Requests whose distribution follows the sequence - masks, penalties, biases, min_tokens - are drawn as ever, in the same
pass. Left out: trees of guesses; shared prefixes in the small model's cache; guesses when shapes are fixed.

Legend: B rows, T = W + 1 tokens read at once, W guesses ahead, V vocabulary, H, K, D, G as in cache.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ziggurat.engine.cache import Arena
from ziggurat.engine.rows import LiveSequence, Rows
from ziggurat.engine.sampler import branch, pick, probabilities, tempered_logprobs, uniforms
from ziggurat.engine.views import Decode, Extend, Several
from ziggurat.errors import UsageError
from ziggurat.model.cpu import accelerate
from ziggurat.model.prefix import front_of
from ziggurat.model.transformer import Transformer

GUESSES = 4
"""Tokens that the small model runs ahead, unless said otherwise."""
FILL_TOKENS = 512
"""Of prompts that the small model reads in one step while others wait for a token."""

Mask = npt.NDArray[np.bool_]
Drawn = tuple[Tensor, Tensor, Mask]
"""ids (B,), log-probabilities of the large model (B, V), and the rows that get a token (B,)."""


@dataclass
class Window:
    """What came of one pass: up to T tokens for each row, given out one a row at a time."""

    sequences: list[LiveSequence | None]  # whose rows they were
    ids: Tensor  # (B, T)
    distribution: Tensor  # (B, T, V)
    tokens: npt.NDArray[np.int64]  # (B,) how many of them each row gets
    given: int = 0


class Speculator:
    """The small model, its cache, and the tokens of the last pass that are not given out yet."""

    def __init__(
        self, model: Transformer, small: Transformer, arena: Arena, rows: Rows, guesses: int
    ) -> None:
        """`rows` and `arena` are the engine's. Raises UsageError where the models do not fit together."""
        context = rows.tokens.shape[1]
        if small.config.vocab_size != model.config.vocab_size:
            raise UsageError(
                f"the small model has {small.config.vocab_size:,} tokens and the large one "
                f"{model.config.vocab_size:,}; only a model of the same tokenizer can guess for it."
            )
        if small.config.context < context:
            raise UsageError(
                f"the small model has a context of {small.config.context:,} and the large one of {context:,}; "
                "choose one that reaches as far."
            )
        if guesses < 1:
            raise UsageError(f"{guesses} guesses ahead are none; give 1 or more.")
        self.model, self.small, self.guesses = model, accelerate(small), guesses
        self.arena, self.rows = arena, rows
        self.device, self.context = arena.device, context
        slots = len(rows.count)
        # what is read beyond the end of a row that runs no further ahead falls into the last places
        self.own = Arena(
            small.config, slots, context + guesses + 1, small.compute_dtype, arena.device, front_of(small)
        )
        self.held = np.zeros(slots, dtype=np.int64)  # tokens in the small model's cache
        self.owner: list[LiveSequence | None] = [None] * slots
        self.window: Window | None = None
        self.guessed = self.taken = 0  # guesses read by the large model, and those of them that it took

    # --- what the engine asks for -----------------------------------------------------------------------------------

    @property
    def more(self) -> bool:
        """Whether some row has a token left of the last pass."""
        return self.window is not None and bool(self._gets(self.window).any())

    def left(self) -> Drawn | None:
        """The next token of every row that has one left of the last pass."""
        window = self.window
        if window is None or not (gets := self._gets(window)).any():
            self.window = None
            return None
        window.given += 1
        return window.ids[:, window.given - 1], window.distribution[:, window.given - 1], gets

    def _gets(self, window: Window) -> Mask:
        rows = zip(window.sequences, self.rows.sequences, window.tokens, strict=True)
        return np.array(
            [now is not None and now is then and n > window.given for then, now, n in rows], dtype=np.bool_
        )

    def draw(self, ready: Mask, choose: Callable[[Tensor, Tensor, Mask], Tensor]) -> Drawn | None:
        """One pass for all rows; None where no row is to be guessed for. `choose`: the engine's way for the others."""
        able = ready & np.array(
            [sequence is not None and guessable(sequence) for sequence in self.rows.sequences]
        )
        if not able.any():
            return None
        able, ready = self._fill(able, ready)
        B = len(able)
        left = self.rows.max_tokens[:B] - self.rows.count[:B] - 1  # tokens that may follow the next one
        ahead = np.where(able, np.minimum(self.guesses, left), 0)
        guess, q = self._guess(int(ahead.max()) + 1, able)
        logits = self._read(guess, ahead, ready)  # (B, T, V)
        ids, distribution, taken = self._settle(logits, guess, q)
        within = np.arange(ids.shape[1]) < ahead[:, None]  # (B, T) guesses that the large model has read
        run = np.cumprod(taken & within, axis=1).sum(1)  # guesses taken before the first that is not
        tokens = np.where(able, run + 1, 1)
        self.held[:B] = np.where(able, self.rows.length[:B] + tokens, self.held[:B])
        self.guessed += int(ahead[able].sum())
        self.taken += int(run[able].sum())
        if (plain := ready & ~able).any():
            others = torch.from_numpy(np.flatnonzero(plain)).to(self.device)
            ids[others, 0] = choose(logits[:, 0], distribution[:, 0], plain)[others]
        self.window = Window(list(self.rows.sequences), ids, distribution, np.where(ready, tokens, 0))
        return self.left()

    def forget(self) -> None:
        """Drop tokens that are not given out, and whose cache is whose."""
        self.window = None
        self.owner = [None] * len(self.owner)

    # --- the small model --------------------------------------------------------------------------------------------

    def _fill(self, able: Mask, ready: Mask) -> tuple[Mask, Mask]:
        """Bring the small model's cache up to date; rows for which that takes too long wait for the next step."""
        self._follow()
        B, left = len(able), FILL_TOKENS
        self.held[:B] = np.minimum(self.held[:B], self.rows.length[:B])
        complete = self.held[:B] >= self.rows.length[:B]
        for row in np.flatnonzero(able & ~complete).tolist():
            known = self.rows.known(row)
            while (start := int(self.held[row])) < self.rows.length[row]:
                if left <= 0 and (ready & (complete | ~able)).any():
                    break
                stop = min(int(self.rows.length[row]), start + FILL_TOKENS)
                ids = torch.tensor([known[start:stop]], device=self.device)
                positions = torch.arange(start, stop, device=self.device)[None]
                self.small.hidden(ids, positions=positions, cache=Extend(self.own, row, start, stop - start))
                self.held[row] = stop
                left -= stop - start
            complete[row] = self.held[row] >= self.rows.length[row]
        return able & complete, ready & (complete | ~able)

    def _follow(self) -> None:
        """Sequences that the engine moved to a lower row take their keys and values with them."""
        for row, sequence in enumerate(self.rows.sequences):
            if sequence is None or self.owner[row] is sequence:
                continue
            source = next((slot for slot, owner in enumerate(self.owner) if owner is sequence), None)
            self.held[row] = 0 if source is None else self.held[source]
            if source is not None:
                self.own.share(source, row, 0, int(self.held[source]))
                self.owner[source] = None
            self.owner[row] = sequence

    def _guess(self, T: int, able: Mask) -> tuple[Tensor, Tensor]:
        """Guesses (B, T), each from the one before it, and what they were drawn from (B, T, V)."""
        rows, B = self.rows, len(able)
        start = np.where(able, rows.length[:B], self.held[:B])
        last = torch.from_numpy(rows.last[:B]).to(self.device)
        if not able.any():  # all of them still wait for their prompts to be read; others do not
            return last[:, None], torch.ones(B, 1, self.model.config.vocab_size, device=self.device)
        guesses, distributions = [], []
        keys = branch(rows.key[:B], "guess")
        for j in range(T):
            positions = torch.from_numpy(np.minimum(start + j, self.context - 1)[:, None]).to(self.device)
            window = int(start[able].max()) + j + 1
            hidden = self.small.hidden(
                last[:, None], positions=positions, cache=Decode(self.own, start + j, window)
            )
            q = probabilities(
                tempered_logprobs(self.small.logits(hidden[:, 0]), rows.rules().temperature), rows.rules()
            )
            last = pick(q, torch.from_numpy(uniforms(keys, rows.count[:B] + j)).to(self.device))
            guesses.append(last)
            distributions.append(q)
        return torch.stack(guesses, 1), torch.stack(distributions, 1)

    # --- the large model --------------------------------------------------------------------------------------------

    def _read(self, guess: Tensor, ahead: npt.NDArray[np.int64], ready: Mask) -> Tensor:
        """Logits (B, T, V) after the last known token and after each guess but the last."""
        rows, (B, T) = self.rows, guess.shape
        last = torch.from_numpy(rows.last[:B, None]).to(self.device)
        ids = torch.cat((last, guess[:, :-1]), 1)  # (B, T)
        lengths = rows.length[:B]
        places = np.minimum(lengths[:, None] + np.arange(T), self.context - 1)
        stored = ready[:, None] & (np.arange(T) <= ahead[:, None])  # (B, T)
        view = Several(self.arena, lengths, stored, int(lengths[ready].max()) + T)
        positions = torch.from_numpy(places).to(self.device)
        return self.model.logits(self.model.hidden(ids, positions=positions, cache=view))

    def _settle(self, logits: Tensor, guess: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Mask]:
        """ids (B, T), the log-probabilities that are reported (B, T, V), and which ids are the guesses (B, T)."""
        rows, (B, T, V) = self.rows, logits.shape
        rules = rows.rules().repeat(T)
        logprobs = tempered_logprobs(logits.view(B * T, V), rules.temperature)
        p = probabilities(logprobs, rules)
        counts = (rows.count[:B, None] + np.arange(T)).reshape(-1)

        def numbers(purpose: str) -> Tensor:
            return torch.from_numpy(uniforms(branch(rows.key[:B], purpose).repeat(T), counts)).to(self.device)

        ids, taken = settle(p, q.view(B * T, V), guess.view(-1), numbers("accept"), numbers("again"))
        return ids.view(B, T), logprobs.view(B, T, V), taken.view(B, T).cpu().numpy()


def guessable(sequence: LiveSequence) -> bool:
    """Whether a request is drawn from the model's distribution, cut by rules that do not follow the sequence."""
    params = sequence.params
    return not (sequence.logits_mask or params.adjusts_logits or params.min_tokens)


def settle(p: Tensor, q: Tensor, guess: Tensor, accept: Tensor, again: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (N,) distributed as p, and where they are the guesses (N,).

    p and q (N, V) add up to 1; guess (N,) was drawn from q; accept and again (N,) are uniform in [0, 1).
    """
    p_guess, q_guess = (each.gather(-1, guess[:, None])[:, 0] for each in (p, q))
    taken = accept * q_guess < p_guess
    refused = (~taken).nonzero()[:, 0]
    if not len(refused):
        return guess.clone(), taken
    rest = (p[refused] - q[refused]).clamp_min_(0)
    rest = torch.where(rest.sum(-1, keepdim=True) > 0, rest, p[refused])  # p = q but for rounding
    ids = guess.clone()
    ids[refused] = pick(rest, again[refused])
    return ids, taken
