"""A criterion of a gate: one question about a candidate, answered by a figure, an interval, a bar and a sentence.

    class Mine:
        name = "mine"
        def measure(self, bench: Bench) -> Finding: ...

`Bench` has what criteria share: both models, loaded once; their answers to the same held-out prompts; the held-out
records with who judged them; the policy. It is used inside the process that judges (`judging.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ziggurat.flywheel.gate.policy import GatePolicy
from ziggurat.records import Comparison, Message, Prompt, Rating

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Answer, Chat
    from ziggurat.evaluation.statistics import Interval

Verdict = Literal["passed", "refused", "undecided", "not_measured"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a criterion found."""

    verdict: Verdict
    sentence: str
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    bar: float | None = None
    unit: str = "share"
    """share, bits, ratio, difference."""
    n: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Criterion(Protocol):
    name: str

    def measure(self, bench: Bench) -> Finding: ...


@dataclass(frozen=True)
class Judged:
    """A held-out comparison, and whose it is."""

    comparison: Comparison
    person: str
    split: str


@dataclass(frozen=True)
class Rated:
    """A held-out thumb, and whose it is."""

    rating: Rating
    person: str


@dataclass(kw_only=True)
class Bench:
    """One candidate before its gate."""

    candidate: Path
    against: Path | None
    """The model of the serving release; None for the first release."""
    policy: GatePolicy
    judged: Sequence[Judged] = ()
    rated: Sequence[Rated] = ()
    prompts: Sequence[Prompt] = ()
    prompt_ids: Sequence[str | None] = ()
    """The judgement that each prompt comes from, so that a deletion finds the samples."""
    canaries: Sequence[dict[str, str]] = ()
    planted: int | None = None
    """How many canaries the turn was to plant; None for a candidate that no turn made."""
    scorers: Sequence[str] = ()
    """Hashes of the reward models that trained the candidate or its parents."""
    labels: Sequence[str] = ()
    """Hashes of the files of labels that it learned from."""
    battles: Sequence[dict[str, Any]] = ()
    """Votes between the candidate and the serving release: {person, outcome: 1, 0.5 or 0}."""
    metrics: Sequence[dict[str, Any]] = ()

    @cached_property
    def ours(self) -> Chat:
        return _load(self.candidate)

    @cached_property
    def theirs(self) -> Chat | None:
        return None if self.against is None else _load(self.against)

    @cached_property
    def our_answers(self) -> list[Answer]:
        return self._answers(self.ours)

    @cached_property
    def their_answers(self) -> list[Answer]:
        return [] if self.theirs is None else self._answers(self.theirs)

    @cached_property
    def asked(self) -> list[Prompt]:
        """The held-out prompts that leave room for an answer in both contexts, at most `policy.prompts`."""
        chats = [one for one in (self.ours, self.theirs) if one is not None]
        room = min(chat.context for chat in chats) - 8
        fits = [one for one in self.prompts if all(prompt_length(chat, one.prompt) < room for chat in chats)]
        step = max(1, len(fits) // self.policy.prompts)
        return fits[::step][: self.policy.prompts]

    def _answers(self, chat: Chat) -> list[Answer]:
        from ziggurat.engine.params import SamplingParams

        if not self.asked:
            return []
        policy = self.policy
        params = SamplingParams(temperature=policy.temperature, max_tokens=policy.max_tokens, seed=1)
        return chat.answer_many([one.prompt for one in self.asked], params)


def _load(folder: Path) -> Chat:
    from ziggurat.dialogue.chat import Chat

    return Chat.load(folder, as_trained=True)


def prompt_length(chat: Chat, prompt: Sequence[Message]) -> int:
    return len(chat.template.render(list(prompt), add_generation_prompt=True).ids)


DOUBT = 0.1
"""A fall of so much is too large to pass as chance."""


def verdict_of_fall(fall: Interval, tolerance: float) -> Verdict:
    """Of a paired difference to the serving release. refused: a fall beyond the tolerance whose interval leaves out 0.
    undecided: one beyond the tolerance that may be chance, but is DOUBT or more. Else passed."""
    if not fall.value < -tolerance:
        return "passed"
    if fall.high < 0:
        return "refused"
    return "undecided" if fall.value <= -DOUBT + 1e-9 else "passed"


def of_chance(fall: Interval, tolerance: float, setting: str) -> str:
    """What a sentence adds about a fall beyond the tolerance that is not refused; else nothing."""
    verdict = verdict_of_fall(fall, tolerance)
    if verdict == "refused" or not fall.value < -tolerance:
        return ""
    accepted = math.ceil(-100 * fall.value + 1) / 100
    way = f"; whoever may sign can accept it with --set {setting}={accepted:.2f}"
    return " The fall may be chance" + (way if verdict == "undecided" else "") + "."


def percent(value: float | None) -> str:
    return "no data" if value is None else f"{100 * value:.1f} %"
