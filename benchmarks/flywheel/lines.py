"""A line of releases: people vote on what serves, the loop's commands make the next release, and again.

    votes over HTTP -> `ziggurat flywheel build` -> `turn` -> people compare candidate and parent -> `gate` -> `promote`

Every line has a home of its own below $ZIGGURAT_HOME/flywheel-proof: a store, runs, releases.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loop import Loop
from people import Person, Team
from server import Server
from tastes import Taste, Voter
from voting import Round, vote_in_chats

CHANNEL = "assistant"


@dataclass(frozen=True)
class Plan:
    """What people do in a turn, and how a turn learns."""

    voters: int = 20
    votes: int = 200
    max_tokens: int = 48
    temperature: float = 1.0
    trainable: str = "lora"
    budget: str = "8m"
    turn: Sequence[str] = ()
    """Further options of `ziggurat flywheel turn`."""
    build: Sequence[str] = ()
    """Further options of `ziggurat flywheel build`."""
    gate: Sequence[str] = ()

    @property
    def each(self) -> int:
        return max(1, round(self.votes / self.voters))

    @property
    def settings(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "max_tokens": self.max_tokens}


@dataclass
class Step:
    """One turn of a line."""

    votes: Round
    dataset: dict[str, Any] = field(default_factory=dict)
    turn: dict[str, Any] = field(default_factory=dict)
    gate: dict[str, Any] = field(default_factory=dict)
    release: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begun

    def to_dict(self) -> dict[str, Any]:
        return {
            "votes": self.votes.to_dict(),
            "verdict": self.gate.get("verdict"),
            "reason": self.gate.get("sentence"),
            "release": self.release,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }


@dataclass
class Line:
    """Its home, its server, its people."""

    home: Path
    loop: Loop
    server: Server
    team: Team
    taste: Taste
    seed: int
    plan: Plan
    voters: list[tuple[Person, Voter]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def people(self, manners: Sequence[str]) -> None:
        """Invite as many voters as there are manners."""
        invited = self.team.invite(len(manners))
        self.voters = [
            (person, Voter(i, self.seed, manner))  # type: ignore[arg-type]
            for i, (person, manner) in enumerate(zip(invited, manners, strict=True))
        ]

    def vote(self, number: int, rates: Sequence[int] = ()) -> Round:
        """Everybody judges. `rates`: how many times `plan.each` a person judges; default once."""
        shares = [self.plan.each * (rates[i] if rates else 1) for i in range(len(self.voters))]
        prompts = self.taste.prompts(f"{self.seed} {number}", sum(shares))
        return vote_in_chats(
            self.voters, self.taste, prompts, shares, model=CHANNEL, settings=self.plan.settings
        )

    def candidate(self, number: int, rates: Sequence[int] = ()) -> Step:
        """Votes, a dataset version, a turn."""
        votes = self.vote(number, rates)
        step = Step(votes, seconds={"votes": votes.seconds})
        with step.clock("build"):
            step.dataset = self.loop.build(*self.plan.build)
        with step.clock("turn"):
            step.turn = self.loop.turn("--dataset", step.dataset["ref"], *self.options())
        self.steps.append(step)
        return step

    def options(self) -> list[str]:
        """Of a turn."""
        plan = self.plan
        given = ["--trainable", plan.trainable, "--budget", plan.budget, "--seed", str(self.seed)]
        return [*given, *plan.turn]

    def next_release(self, number: int) -> Step:
        """A candidate before the gate; promoted only if it passes."""
        step = self.candidate(number)
        with step.clock("gate"):
            step.gate = self.loop.gate(step.turn["name"], *self.plan.gate)
        if step.gate["verdict"] == "passed":
            with step.clock("promote"):
                step.release = self.loop.promote(step.gate["id"])
        return step
