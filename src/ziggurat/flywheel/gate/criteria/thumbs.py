"""A win rate from thumbs alone, where people compared too little: did the candidate move towards what they liked?

Held-out thumbs (held out by person or by time, never trained on) are of single answers to different questions, so
no answer has another beside it. What can be said is how much more probable the candidate makes an answer than the
serving release does, per token, so that long answers do not count more:

    moved = (log p_candidate(answer) - log p_serving(answer)) / tokens of the answer

The rate is the share of pairs of a liked and a disliked answer **of one person** in which the liked one moved further,
ties half: the area under the ROC curve of `moved` within persons, each weighted by her pairs. Pairs across persons
would compare how people use thumbs, not answers. 50 % says that the candidate did not learn what is liked.

A candidate that only becomes surer of what the serving release says anyway moves towards probable answers, which people
like more often. So the lower bound must exceed the rate that log p_serving(answer) alone gives, as well as the bar.

The interval resamples persons where there are enough of them, else thumbs. This is weaker than a comparison: it says
where the candidate went, and no person has seen two answers to one question.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ziggurat.evaluation.statistics import Interval, auroc, bootstrap_statistic, cluster_bootstrap
from ziggurat.flywheel.gate.criterion import Rated
from ziggurat.records import Message

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat

BY_THUMBS = "people's held-out thumbs"
EACH = 5
"""Liked answers, and disliked ones, that there must be at least."""
PEOPLE = 3
"""Persons with thumbs up and thumbs down that there must be at least; none may have given more than half of all."""
OWN = "flywheel/"
BY_HAND = ("flywheel/thumb", "flywheel/approve", "flywheel/reject")
"""Sources of ratings that a person gave to one answer; metrics of programs are none."""


@dataclass(frozen=True)
class Moved:
    """A thumb whose conversation fits both contexts."""

    label: bool
    person: str
    moved: float
    """Nats per token, against the serving release."""
    before: float
    """The serving release's own log p, in nats per token."""


def by_people(rated: Sequence[Rated]) -> list[Rated]:
    """Thumbs of people; of the records of a file that is given, all."""
    sources = [(one.rating.source or "", one) for one in rated]
    return [one for source, one in sources if source in BY_HAND or not source.startswith(OWN)]


def moved_of(ours: Chat, theirs: Chat, rated: Sequence[Rated]) -> list[Moved]:
    """How far each thumb's answer moved; of the thumbs that fit both contexts and whose person gave both kinds."""
    talks = [conversation(one) for one in rated]
    scores = [_scores(chat, talks) for chat in (ours, theirs)]
    lengths = _lengths(ours, talks)
    found = [
        Moved(bool(one.rating.label), one.person, (a - b) / max(1, length), b / max(1, length))
        for a, b, length, one in zip(*scores, lengths, rated, strict=True)
        if a is not None and b is not None
    ]
    kinds = defaultdict[str, set[bool]](set)
    for one in found:
        kinds[one.person].add(one.label)
    return [one for one in found if len(kinds[one.person]) == 2]


def missing(kept: Sequence[Moved], least: int) -> str | None:
    """Why these thumbs decide nothing, as half a sentence; None if they do."""
    up, of = sum(one.label for one in kept), Counter(one.person for one in kept)
    if len(kept) < least or min(up, len(kept) - up) < EACH:
        return (
            f"{up} thumbs up and {len(kept) - up} down are of people who gave both and fit the models' context; "
            f"{least} are needed, {EACH} up and {EACH} down at least"
        )
    if len(of) < PEOPLE or 2 * max(of.values()) > len(kept):
        return (
            f"{len(of)} people gave the {len(kept)} held-out thumbs, one of them {max(of.values())}; {PEOPLE} people "
            "are needed, and none may have given more than half"
        )
    return None


def liked_rate(kept: Sequence[Moved], scores: Sequence[float], *, persons: bool) -> Interval:
    """The share of pairs of a liked and a disliked answer of one person in which the liked one has the higher score."""
    x, label = np.array(scores, dtype=np.float64), np.array([one.label for one in kept])
    of = np.unique([one.person for one in kept], return_inverse=True)[1]

    def within(i: NDArray[np.int64]) -> tuple[list[float], list[int]]:
        """The rate of each person among these thumbs, and her pairs."""
        mine = [i[of[i] == person] for person in np.unique(of[i])]
        ups = [int(label[one].sum()) for one in mine]
        pairs = [up * (len(one) - up) for up, one in zip(ups, mine, strict=True)]
        return [auroc(x[one], label[one]) if n else 0.0 for one, n in zip(mine, pairs, strict=True)], pairs

    def rate(i: NDArray[np.int64]) -> float:
        rates, pairs = within(i)
        return float(np.average(rates, weights=pairs)) if sum(pairs) else math.nan

    if not persons:
        return bootstrap_statistic(rate, len(kept))
    rates, pairs = within(np.arange(len(kept)))
    return replace(cluster_bootstrap(rates, weights=pairs), n=len(kept))


def conversation(one: Rated) -> tuple[list[Message], list[Message]]:
    """The prompt, and the whole conversation with the answer."""
    completion, prompt = one.rating.completion, list(one.rating.prompt)
    said = (
        [Message(role="assistant", content=completion)] if isinstance(completion, str) else list(completion)
    )
    return prompt, [*prompt, *said]


def _scores(chat: Chat, talks: Sequence[tuple[list[Message], list[Message]]]) -> list[float | None]:
    from ziggurat.flywheel.gate.criteria.win_rate import completion_scores

    return completion_scores(chat, talks)


def _lengths(chat: Chat, talks: Sequence[tuple[list[Message], list[Message]]]) -> list[int]:
    """Tokens of each answer."""
    return [
        len(chat.template.render(whole).ids)
        - len(chat.template.render(prompt, add_generation_prompt=True).ids)
        for prompt, whole in talks
    ]
