"""The one interface of judges: a grade from 1 to 10 of one answer, or the better of two answers in a given order.

A verdict about a pair is asked for in both orders. A judge prefers an answer where both orders say so; where they
disagree the place decided and not the answer, so the pair counts as a tie.
Source: Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena" (arXiv:2306.05685), sections 3.3, 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from ziggurat.records import Message

Place = Literal["first", "second", "tie"]
Winner = Literal["a", "b", "tie"]
LOWEST, HIGHEST = 1, 10
"""Of a grade."""


@dataclass(frozen=True)
class Case:
    """One answer to be graded. `messages`: the conversation before it; `row`: further fields, such as `reference`."""

    id: str
    messages: tuple[Message, ...]
    answer: str
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """Two answers to one conversation.

    `models`: who wrote a and b, where that is known. `quality`: of a minus that of b by people or by a known truth,
    from -1 to 1; None where it is not known. Pairs of one `cluster` (a question) are resampled together.
    """

    id: str
    messages: tuple[Message, ...]
    a: str
    b: str
    models: tuple[str, str] = ("", "")
    quality: float | None = None
    cluster: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)

    def swapped(self) -> Pair:
        """The same pair with b in the first place."""
        quality = None if self.quality is None else -self.quality
        return replace(self, a=self.b, b=self.a, models=(self.models[1], self.models[0]), quality=quality)


@dataclass(frozen=True)
class Grade:
    """`value` is None where the reply could not be read."""

    value: float | None
    said: str = ""


@dataclass(frozen=True)
class Choice:
    """Which place won; None where the reply could not be read."""

    place: Place | None
    said: str = ""


class AnyJudge(Protocol):
    """Whoever judges."""

    name: str
    model: str
    """Whose answers are its own: the judging model's name; empty for rules."""
    sha256: str
    """Of what judges: weights, or the file of a function; empty where the name says all."""

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """One grade a case, from LOWEST to HIGHEST."""
        ...

    def choose(self, pairs: Sequence[Pair]) -> list[Choice]:
        """One choice a pair, with `a` in the first place."""
        ...


@dataclass(frozen=True)
class Compared:
    """What a judge says of a pair in both orders: `there` with a first, `back` with b first."""

    pair: Pair
    there: Choice
    back: Choice

    @property
    def verdicts(self) -> tuple[Winner | None, Winner | None]:
        """The same two in terms of the answers."""
        return _of(self.there, "a", "b"), _of(self.back, "b", "a")

    @property
    def read(self) -> bool:
        return self.there.place is not None and self.back.place is not None

    @property
    def changed(self) -> bool:
        """Whether the two orders give different verdicts."""
        return self.read and self.verdicts[0] != self.verdicts[1]

    @property
    def winner(self) -> Winner | None:
        """Where both orders agree, their verdict, else a tie; None where a reply could not be read."""
        if not self.read:
            return None
        return "tie" if self.changed else self.verdicts[0]

    @property
    def score(self) -> float | None:
        """Of a: 1 for a win, 0.5 for a tie."""
        return None if self.winner is None else SCORES[self.winner]


SCORES: dict[str, float] = {"a": 1.0, "tie": 0.5, "b": 0.0}


def _of(choice: Choice, first: Winner, second: Winner) -> Winner | None:
    return {"first": first, "second": second, "tie": "tie", None: None}[choice.place]  # type: ignore[return-value]


def both_orders(judge: AnyJudge, pairs: Sequence[Pair]) -> list[Compared]:
    """Every pair in both orders, in one call of the judge."""
    asked = [order for pair in pairs for order in (pair, pair.swapped())]
    said = judge.choose(asked)
    return [Compared(pair, said[2 * i], said[2 * i + 1]) for i, pair in enumerate(pairs)]


def unread(found: Sequence[Compared]) -> int:
    """Replies that could not be read; two a pair at most."""
    return sum((one.there.place is None) + (one.back.place is None) for one in found)
