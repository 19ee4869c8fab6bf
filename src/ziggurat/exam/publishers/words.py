"""LAMBADA's way of asking: how likely the last word is, and whether each of its tokens is the likeliest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ziggurat.exam.candidate import Candidate, with_cuts
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.reading import Task

if TYPE_CHECKING:
    from ziggurat.exam.switches import Switches


def last_words(candidate: Candidate, task: Task, items: Sequence[Item], switches: Switches) -> list[Found]:
    """The score is the share of words that greedy decoding would write."""
    del task, switches
    given = candidate.likelihoods([(item.raw, [f" {item.target}"]) for item in items])
    results = [
        Found(
            item.id,
            item.stratum,
            item.cluster,
            item.pair,
            (),
            Mark({"score": float(one.greedy)}, "", {"nats": one.nats, "tokens": one.tokens}),
        )
        for item, (one,) in zip(items, given, strict=True)
    ]
    return with_cuts(candidate, results)


def perplexity(found: Sequence[Found]) -> dict[str, float]:
    """exp of the mean surprise of a word, as lm-evaluation-harness's."""
    nats = [float(one.mark.detail["nats"]) for one in found]
    return {"perplexity": math.exp(min(-sum(nats) / len(nats), 700.0))} if nats else {}
