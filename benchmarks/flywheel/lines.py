"""A line of releases: people vote on what serves, the loop's commands make the next release, and again.

    votes over HTTP -> `ziggurat flywheel build` -> `turn` -> `gate` -> `promote`

Every line has a home of its own below $ZIGGURAT_HOME/flywheel-proof: a store, runs, releases. The server runs all the
time, as it does for people; the commands are processes beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loop import CHANNEL, Loop, wait_until_served
from people import Person, Team
from ranking import Workbench
from reviewing import review
from server import Server
from tastes import Taste, Voter
from voting import Round, vote_in_chats

from ziggurat.console import err

GOLD_ITEMS = 12


@dataclass(frozen=True)
class Plan:
    """What people do in a turn, and how a turn learns."""

    voters: int = 20
    votes: int = 200
    rankings: float = 0.4
    """Share of the votes that are rankings on the workbench; the others are picks and thumbs in chats, but for"""
    reviews: float = 0.1
    """the share of them that an expert decides before anybody sees the answer."""
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
        """Judgements of one voter in a turn."""
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

    @property
    def loop_seconds(self) -> float:
        """From votes to the next release, without the people's own time."""
        return sum(value for name, value in self.seconds.items() if name != "votes")

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
    bench: Workbench | None = None
    expert: Person | None = None

    def people(self, manners: Sequence[str]) -> None:
        """Invite as many voters as there are manners; labellers, who may also chat."""
        invited = self.team.invite(len(manners), role="labeller")
        self.voters = [
            (person, Voter(i, self.seed, manner))  # type: ignore[arg-type]
            for i, (person, manner) in enumerate(zip(invited, manners, strict=True))
        ]

    def vote(self, number: int, rates: Sequence[int] = ()) -> Round:
        """Everybody judges. `rates`: how many times `plan.each` a person judges; default once."""
        plan, settings = self.plan, self.plan.settings
        each = [plan.each * (rates[i] if rates else 1) for i in range(len(self.voters))]
        ranked = [round(plan.rankings * share) for share in each]
        reviewed = round(plan.reviews * sum(each))
        in_chats = [share - part for share, part in zip(each, ranked, strict=True)]
        for i in range(reviewed):  # these ask, and an expert judges
            in_chats[i % len(in_chats)] -= 1
        prompts = self.taste.prompts(f"{self.seed} {number}", sum(each) + 3 * GOLD_ITEMS)
        chatted, prompts = prompts[: sum(in_chats)], prompts[sum(in_chats) :]
        votes = vote_in_chats(self.voters, self.taste, chatted, in_chats, model=CHANNEL, settings=settings)
        if reviewed:
            if self.expert is None:
                (self.expert,) = self.team.invite(1, role="reviewer", name="expert")
            asking = [person for person, _ in self.voters]
            votes = votes.and_also(
                review(
                    self.team,
                    self.expert,
                    asking,
                    self.taste,
                    prompts[:reviewed],
                    model=CHANNEL,
                    settings=settings,
                )
            )
            prompts = prompts[reviewed:]
        if sum(ranked):
            if self.bench is None:
                self.bench = Workbench.open(self.team, self.taste)
                self.bench.add_gold(prompts[sum(ranked) :], CHANNEL, settings, GOLD_ITEMS)
            self.bench.sample(prompts[: sum(ranked)], CHANNEL, settings)
            votes = votes.and_also(self.bench.rank(self.voters, ranked))
        return votes

    def candidate(self, number: int, rates: Sequence[int] = ()) -> Step:
        """Votes, a dataset version, a turn."""
        votes = self.vote(number, rates)
        step = Step(votes, seconds={"votes": votes.seconds})
        self.steps.append(step)
        with step.clock("build"):
            step.dataset = self.loop.build(*self.plan.build)
        plan = self.plan
        more = ["--trainable", plan.trainable, "--budget", plan.budget, "--seed", str(self.seed), *plan.turn]
        with step.clock("turn"):
            step.turn = self.loop.turn(step.dataset, *more)
        return step

    def next_release(self, number: int) -> Step:
        """A candidate before the gate; promoted only if it passes."""
        step = self.candidate(number)
        with step.clock("gate"):
            step.gate = self.loop.gate(step.turn, *self.plan.gate)
        if step.gate["verdict"] == "passed":
            with step.clock("promote"):
                step.release = self.loop.promote(step.gate)
                wait_until_served(self.team.owner, step.release)
        return step


@contextmanager
def open_line(home: Path, first: str, taste: Taste, seed: int, plan: Plan) -> Iterator[Line]:
    """A server whose first release is `first`, set up by its owner. Nobody has voted yet."""
    with Server([first], home) as server:
        team = Team.found(server.address, server.token)
        try:
            loop = Loop(home)
            loop.first_release(first)
            wait_until_served(team.owner)
            yield Line(home, loop, server, team, taste, seed, plan)
        except Exception:
            err.print("".join(server.said[-40:]))
            raise
        finally:
            team.close()
