"""A win rate from thumbs alone, where people compared too little: did the candidate move towards what they liked?

Held-out thumbs (held out by person and by time, never trained on) are of single answers to different questions, so
no answer has another beside it. What can be said is how much more probable the candidate makes an answer than the
serving release does, per token, so that long answers do not count more:

    moved = (log p_candidate(answer) - log p_serving(answer)) / tokens of the answer

The rate is the share of pairs of a liked and a disliked answer in which the liked one moved further, ties half: the
area under the ROC curve of `moved`. 50 % says that the candidate did not learn what is liked. The interval resamples
persons where there are enough of them, else thumbs. This is weaker than a comparison: it says where the candidate went,
and no person has seen two answers to one question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ziggurat.evaluation.statistics import Interval, auroc_interval
from ziggurat.flywheel.gate.criterion import Rated
from ziggurat.records import Message

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat

BY_THUMBS = "people's held-out thumbs"
EACH = 5
"""Liked answers, and disliked ones, that there must be at least."""


def enough(rated: Sequence[Rated], least: int) -> bool:
    """Whether there are `least` thumbs, EACH of them up and EACH down."""
    up = sum(one.rating.label for one in rated)
    return len(rated) >= least and min(up, len(rated) - up) >= EACH


def liked_rate(ours: Chat, theirs: Chat, rated: Sequence[Rated], *, persons: bool) -> Interval:
    """The rate of the module's head, over the thumbs whose conversation fits both contexts."""
    talks = [conversation(one) for one in rated]
    scores = [_scores(chat, talks) for chat in (ours, theirs)]
    kept = [
        ((a - b) / max(1, length), one)
        for a, b, length, one in zip(*scores, _lengths(ours, talks), rated, strict=True)
        if a is not None and b is not None
    ]
    of = [one.person for _, one in kept] if persons else None
    return auroc_interval([moved for moved, _ in kept], [one.rating.label for _, one in kept], of)


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
