"""Whole completions of many prompts: the fast way for rollouts, samples and exams."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ziggurat.engine.engine import Engine
from ziggurat.engine.events import Completion, Handle
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.rows import LogitsMask, StopRule
from ziggurat.errors import UsageError
from ziggurat.model.transformer import Transformer

ADMIT_SHARE = 16
"""Slots are refilled once 1 / 16 of them are free: a prefill of one prompt costs nearly as much as of several."""


def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams | Sequence[SamplingParams],
    *,
    max_slots: int = 256,
    stop_rules: Sequence[StopRule | None] | None = None,
    numbers: Sequence[int] | None = None,
    logits_masks: Sequence[LogitsMask | None] | None = None,
) -> list[Completion]:
    """Complete every prompt; the fast way for rollouts and exams. With n > 1, the n completions of a prompt follow it.

    One `params` for all: prompt i draws by (seed, i), so equal prompts differ. One `params` each: prompt i draws by
    its own seed, as a request of its own would. `numbers`: what stands for i, where the prompts are a part of others.
    `logits_masks`: one for each prompt, as stop rules are; UsageError with a beam, which takes none.
    """
    each = [params] * len(prompts) if isinstance(params, SamplingParams) else list(params)
    if len(each) != len(prompts):
        raise UsageError(
            f"{len(prompts)} prompts came with {len(each)} sampling parameters; give one, or one each."
        )
    if any(p.beam for p in each):
        if logits_masks:
            raise UsageError(
                "a beam takes no form of its answers; sample with a form, or leave the form out."
            )
        from ziggurat.engine.beam import beam_search

        return [c for ids, p in zip(prompts, each, strict=True) for c in beam_search(model, ids, p)]
    if not prompts:
        return []
    if numbers is None:
        numbers = range(len(prompts)) if isinstance(params, SamplingParams) else [0] * len(prompts)
    return _generate_sampled(model, prompts, each, numbers, max_slots, stop_rules, logits_masks)


def _generate_sampled(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    each: list[SamplingParams],
    numbers: Sequence[int],
    max_slots: int,
    stop_rules: Sequence[StopRule | None] | None,
    logits_masks: Sequence[LogitsMask | None] | None,
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
        mask = logits_masks[i] if logits_masks else None
        handle = engine.submit(prompts[i], each[i], stop_rule=rule, logits_mask=mask, path=(numbers[i],))
        place[handle] = first[i]
    completions: list[Completion | None] = [None] * sequences
    while (advance := engine.advance()) is not None:
        for row in np.flatnonzero(advance.ended).tolist():
            sequence, finish, count = advance.sequences[row], advance.finish(row), engine.rows.count[row]
            assert sequence is not None
            assert finish is not None
            completions[place[sequence.handle] + sequence.choice] = Completion(
                engine.rows.tokens[row, :count].tolist(), engine.rows.logprobs[row, :count].tolist(), finish
            )
    return [completion for completion in completions if completion is not None]
