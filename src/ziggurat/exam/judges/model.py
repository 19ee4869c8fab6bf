"""Any candidate as a judge: a model in this process or on a server is asked, and its reply is read strictly."""

from __future__ import annotations

from collections.abc import Sequence

from ziggurat.errors import UsageError
from ziggurat.exam.candidate import Ask, Candidate
from ziggurat.exam.judges.judge import Case, Choice, Grade, Pair
from ziggurat.exam.judges.prompts import read_choice, read_grade, to_choose, to_grade

MAX_TOKENS = 384
"""Of a reply: a few sentences of reasons and the last line."""


class ModelJudge:
    """A model that judges by the words of `prompts.py`, greedily."""

    def __init__(self, candidate: Candidate, *, max_tokens: int = MAX_TOKENS, seed: int = 0) -> None:
        """Raises UsageError for a model that only continues text."""
        if not candidate.chats:
            raise UsageError(
                f"{candidate.name} only continues text, so it cannot judge; name a model that chats."
            )
        self.candidate, self.name, self.model = candidate, candidate.name, candidate.name
        self.sha256 = candidate.sha256
        self.ask = Ask(max_tokens=max_tokens, temperature=0.0, seed=seed)

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        replies = self.candidate.answers([to_grade(case) for case in cases], self.ask)
        return [read_grade(reply[0]) for reply in replies]

    def choose(self, pairs: Sequence[Pair]) -> list[Choice]:
        replies = self.candidate.answers([to_choose(pair) for pair in pairs], self.ask)
        return [read_choice(reply[0]) for reply in replies]
