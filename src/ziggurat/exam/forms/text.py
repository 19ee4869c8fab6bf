"""How well a model predicts text: bits per byte, and perplexity per word and per token.

A row is one document. The figures of a task are of all its text together: nats are added, then divided, so a long
document counts by its length (as lm-evaluation-harness's word_perplexity, byte_perplexity and bits_per_byte do). Words
are what stands between white space. Bits per byte compare models of any tokenizer; perplexity per token does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ziggurat.exam.candidate import Candidate
from ziggurat.exam.forms.answer import found
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.reading import Task
from ziggurat.exam.switches import Switches


def sit(candidate: Candidate, task: Task, items: Sequence[Item], switches: Switches) -> list[Found]:
    del task, switches
    scored = candidate.text_nats([item.raw for item in items])
    results = []
    for item, (nats, tokens) in zip(items, scored, strict=True):
        size = len(item.raw.encode("utf-8", "replace"))
        bits = abs(nats) / math.log(2) / max(1, size)
        detail = {
            "nats": abs(nats),
            "bytes": size,
            "words": len(item.raw.split()),
            "tokens": tokens,
            "weight": size,
        }
        results.append(found(item, (), Mark({"score": bits}, "", detail)))
    return results


def summary(found: Sequence[Found]) -> Mapping[str, float]:
    """Perplexities of all text together."""
    nats, words, tokens, size = (
        sum(float(one.mark.detail[name]) for one in found) for name in ("nats", "words", "tokens", "bytes")
    )
    per = {"word_perplexity": words, "token_perplexity": tokens, "byte_perplexity": size}
    return {name: math.exp(min(nats / count, 700.0)) for name, count in per.items() if count}
