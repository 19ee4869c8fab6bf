"""Judges and candidates of planted character, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ziggurat.exam.candidate import Ask, Likelihood
from ziggurat.exam.judges.judge import Case, Choice, Grade, Pair, Place
from ziggurat.records import Message


@dataclass
class Planted:
    """Chooses by `choice` of a pair, grades by `value` of a case."""

    choice: Callable[[Pair], Place | None]
    value: Callable[[Case], float | None] = lambda case: 5.0
    name: str = "planted"
    model: str = ""
    sha256: str = "judge"
    asked: int = 0

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        self.asked += len(cases)
        return [Grade(self.value(case)) for case in cases]

    def choose(self, pairs: Sequence[Pair]) -> list[Choice]:
        self.asked += len(pairs)
        return [Choice(self.choice(pair)) for pair in pairs]


def longer(pair: Pair) -> Place:
    return "first" if len(pair.a) > len(pair.b) else "second" if len(pair.a) < len(pair.b) else "tie"


def first(pair: Pair) -> Place:
    return "first"


def fair(pair: Pair) -> Place:
    return "first" if (pair.quality or 0) > 0 else "second" if (pair.quality or 0) < 0 else "tie"


class Saying:
    """A candidate that answers by a function of the conversation."""

    chats = True

    def __init__(self, name: str, reply: Callable[[Sequence[Message]], str], *, chats: bool = True) -> None:
        self.name, self.reply, self.sha256, self.chats = name, reply, f"{name:0<12.12}" * 2, chats
        self.asked = 0

    def answers(self, conversations: Sequence[Sequence[Message]], ask: Ask) -> list[list[str]]:
        self.asked += len(conversations)
        return [[self.reply(messages)] for messages in conversations]

    def continuations(self, texts: Sequence[str], ask: Ask) -> list[list[str]]:
        raise NotImplementedError

    def likelihoods(
        self, questions: Sequence[tuple[str | Sequence[Message], Sequence[str]]]
    ) -> list[list[Likelihood]]:
        raise NotImplementedError

    def text_nats(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        raise NotImplementedError
