"""People with stated tastes and habits, who judge pairs whose true order is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ziggurat.flywheel.dataset.samples import Sample

WORDS = (
    "canal",
    "ferry",
    "baker",
    "lantern",
    "market",
    "harbour",
    "ledger",
    "orchard",
    "bridge",
    "tailor",
    "violin",
)
GOOD = ("sure", "because", "first")
BAD = ("whatever", "obviously", "maybe")


@dataclass(frozen=True)
class Answer:
    text: str
    gold: float


def an_answer(rng: np.random.Generator, *, length_pays: float = 0.0) -> Answer:
    """Good words raise its gold score, bad ones lower it."""
    words = list(rng.choice(WORDS, rng.integers(4, 25)))
    gold = length_pays * len(words)
    for group, sign in ((GOOD, 1.0), (BAD, -1.0)):
        for word in group:
            if rng.random() < 0.35:
                words.insert(int(rng.integers(0, len(words) + 1)), word)
                gold += sign
    return Answer(" ".join(words) + ".", gold)


@dataclass(frozen=True)
class Crowd:
    samples: list[Sample]
    wrong: list[bool]
    """Of each sample, whether its label is against the gold scores."""


def a_crowd(
    seed: int,
    habits: Sequence[str],
    *,
    each: int = 20,
    shared_by: int = 1,
    noise: float = 0.12,
    length_pays: float = 0.0,
) -> Crowd:
    """Person k has `habits[k]`: honest inverted longest random. Every pair is judged by `shared_by` people in turn."""
    rng = np.random.default_rng(seed)
    samples, wrong = [], []
    pairs = len(habits) * each // shared_by
    order = [k for _ in range(each) for k in rng.permutation(len(habits))]
    for number in range(pairs):
        one = an_answer(rng, length_pays=length_pays)
        other = an_answer(rng, length_pays=length_pays)
        while one.gold == other.gold or len(one.text) == len(other.text):
            other = an_answer(rng, length_pays=length_pays)
        for turn in range(shared_by):
            k = int(order[number * shared_by + turn])
            better = one.gold > other.gold
            if rng.random() < noise:
                better = not better
            if habits[k] == "inverted":
                better = not better
            elif habits[k] == "longest":
                better = len(one.text) > len(other.text)
            elif habits[k] == "random":
                better = bool(rng.random() < 0.5)
            wrong.append(better != (one.gold > other.gold))
            samples.append(vote(k, number, len(samples), one.text, other.text, better))
    return Crowd(samples, wrong)


def vote(k: int, number: int, at: int, one: str, other: str, first_better: bool) -> Sample:
    record = {
        "id": f"j{at}",
        "prompt": [{"role": "user", "content": f"What about number {number}?"}],
        "completions": [one, other],
        "ranks": [1, 2] if first_better else [2, 1],
    }
    return Sample(
        kind="comparison",
        record=record,
        judgement_id=f"j{at}",
        person_id=f"person{k}",
        person=f"p{k:02}",
        source="pick",
        judged_at=at,
        basis="consent",
        ids=("a", "b"),
        shown=("a", "b") if at % 2 else ("b", "a"),
    )
