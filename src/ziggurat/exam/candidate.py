"""What may sit an exam: anything that answers conversations, and, for choices and text, gives log-likelihoods."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ziggurat.dialogue.forms import Form
from ziggurat.exam.item import Found
from ziggurat.records import Message


@dataclass(frozen=True)
class Ask:
    """How answers are drawn. Equal asks of one candidate give equal answers where `seed` is given."""

    max_tokens: int = 64
    temperature: float = 0.0
    samples: int = 1
    stop: tuple[str, ...] = ()
    seed: int = 0
    form: Form | None = None
    """What every answer must look like: tokens that would leave the form cannot be drawn."""


@dataclass(frozen=True)
class Likelihood:
    """Of one continuation: the sum of its tokens' log-probabilities in nats, its tokens, and whether each token is the
    likeliest."""

    nats: float
    tokens: int
    greedy: bool


class Candidate(Protocol):
    """A model that sits."""

    name: str
    sha256: str
    """Of the weights, or for a server elsewhere of its address and the model's name."""
    chats: bool
    """False: only continues raw text."""

    def answers(self, conversations: Sequence[Sequence[Message]], ask: Ask) -> list[list[str]]:
        """`ask.samples` texts for every conversation."""
        ...

    def continuations(self, texts: Sequence[str], ask: Ask) -> list[list[str]]:
        """The same after raw text."""
        ...

    def likelihoods(
        self, questions: Sequence[tuple[str | Sequence[Message], Sequence[str]]]
    ) -> list[list[Likelihood]]:
        """For each question (raw text, or a conversation) the likelihood of each of its continuations.

        Raises:
            UsageError: the candidate gives none (most servers elsewhere do not).
        """
        ...

    def text_nats(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        """For each text the nats of all of it in rolling windows, and its tokens."""
        ...


def with_cuts(candidate: Candidate, found: Sequence[Found]) -> list[Found]:
    """What was found by the last call of a candidate; marks of items whose prompts lost their first tokens say so."""
    cut: frozenset[int] = getattr(candidate, "cut", frozenset())
    return [
        dataclasses.replace(one, mark=dataclasses.replace(one.mark, detail={**one.mark.detail, "cut": True}))
        if i in cut
        else one
        for i, one in enumerate(found)
    ]
