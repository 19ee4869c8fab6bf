"""A round of votes: each voter asks questions, sees answers and says what is better, over HTTP.

Of a voter's judgements in chats half are blind picks of two answers of the serving release, half are thumbs; a thumb
down is followed by the voter's own answer, half of the time. Rankings stand in `ranking.py`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from people import Answer, Person
from tastes import TIE_WIDTH, Asked, Taste, Voter

KINDS = ("pick", "thumb")
"""What a voter does, in turn."""
REWRITES = 0.5
AT_ONCE = 6
"""People who wait for an answer at the same time."""


@dataclass(frozen=True)
class Vote:
    """One judgement, with what the noise-free taste says of the answers."""

    kind: str
    voter: int
    prompt_kind: str
    points: tuple[float, ...]
    said: Any

    @property
    def right(self) -> bool | None:
        """Whether it agrees with the taste; None where the taste has no order, or the person named none."""
        if self.kind == "pick" and self.points[0] != self.points[1] and self.said in (0, 1):
            return self.said == int(self.points[1] > self.points[0])
        if self.kind == "thumb" and self.points[0] != 0:
            return (self.said > 0) == (self.points[0] > 0)
        if self.kind == "ranking" and len(set(self.points)) > 1 and len(set(self.said)) > 1:
            best = max(range(len(self.points)), key=lambda i: self.points[i])
            return self.said[best] == 1
        return None


@dataclass
class Round:
    """The votes of a round and what they took."""

    votes: list[Vote] = field(default_factory=list)
    seconds: float = 0.0

    def and_also(self, other: Round) -> Round:
        return Round([*self.votes, *other.votes], self.seconds + other.seconds)

    def counts(self) -> dict[str, int]:
        return dict(Counter(vote.kind for vote in self.votes))

    def agreement(self) -> float | None:
        """Share of the votes that agree with the noise-free taste (of a ranking, about the best answer), of those
        where both name an order."""
        known = [vote.right for vote in self.votes if vote.right is not None]
        return sum(known) / len(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "votes": len(self.votes),
            "kinds": self.counts(),
            "agreement": self.agreement(),
            "seconds": round(self.seconds, 1),
        }


def vote_in_chats(
    people: Sequence[tuple[Person, Voter]],
    taste: Taste,
    prompts: Sequence[Asked],
    shares: Sequence[int],
    *,
    model: str,
    settings: dict[str, Any] | None = None,
    kinds: Sequence[str] = KINDS,
) -> Round:
    """As many judgements of each person as `shares` says, on prompts of their own."""
    if len(prompts) < sum(shares):
        raise ValueError(f"these people need {sum(shares)} prompts; there are {len(prompts)}.")
    begun = time.perf_counter()
    ends = list(accumulate(shares))

    def all_of(i: int) -> list[Vote]:
        person, voter = people[i]
        found: list[Vote] = []
        for n, asked in enumerate(prompts[ends[i] - shares[i] : ends[i]]):
            chance = voter.chance(asked.text)
            chat_id = person.new_chat(model)
            if kinds[(n + i) % len(kinds)] == "pick":
                shown = person.ask_two(chat_id, asked.text, models=(model, model), settings=settings)
                found.append(_pick(person, voter, taste, asked, shown, chance))
            else:
                answer = person.ask(chat_id, asked.text, settings=settings)
                found += _thumb(person, voter, taste, asked, answer, chance)
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        votes = [vote for some in pool.map(all_of, range(len(people))) for vote in some]
    return Round(votes, time.perf_counter() - begun)


def _pick(
    person: Person, voter: Voter, taste: Taste, asked: Asked, shown: tuple[Answer, Answer], chance: Any
) -> Vote:
    seen = [voter.sees(taste, asked, one.text, chance) for one in shown]
    said: int | str
    if shown[0].text.strip() == shown[1].text.strip() or abs(seen[0] - seen[1]) < TIE_WIDTH:
        said = "tie" if max(seen) > -0.5 else "both_bad"
    else:
        said = int(seen[1] > seen[0])
    person.pick(shown, shown[said].message_id if isinstance(said, int) else said)
    points = tuple(taste.points(asked, one.text) for one in shown)
    return Vote("pick", voter.number, asked.kind, points, said)


def _thumb(
    person: Person, voter: Voter, taste: Taste, asked: Asked, answer: Answer, chance: Any
) -> list[Vote]:
    """Up or down; below a thumb down an honest person sometimes writes the better answer."""
    seen = voter.sees(taste, asked, answer.text, chance)
    value = 1 if seen > (2.0 if voter.manner == "longest" else 0.0) else -1
    person.thumb(answer, value, reasons=("accurate",) if value > 0 else ("wrong",))
    points = (taste.points(asked, answer.text),)
    votes = [Vote("thumb", voter.number, asked.kind, points, value)]
    if value < 0 and voter.manner == "honest" and chance.random() < REWRITES:
        text = taste.better(asked, answer.text, chance)
        if text is not None and text.strip() != answer.text.strip():
            person.rewrite(answer, text)
            votes.append(Vote("rewrite", voter.number, asked.kind, points, text))
    return votes
