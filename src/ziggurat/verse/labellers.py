"""Simulated labellers who know rhyme: their taste is stated here, their noise is adjustable.

Their taste, in points (a completion's points are a sum):

    not in the form that was asked for              -1.5 to -2, and nothing else counts
    even lines that rhyme with their fellows        +1 if all do, in part for eight lines
    two lines that end with the same character      -1, and the rhyme counts for nothing
    a line that is in a book                    -0.75
    a line written twice                             -0.75
    a given first character that is missing         -0.5 each (acrostics)
    an ending that the round overuses               -0.4 each
    a rhyme group that the round overuses           -0.4

A round overuses a character that ends more than OVERUSED_ENDING_SHARE of its lines, and a group in which more
than OVERUSED_GROUP_SHARE of its rhyming poems rhyme. So a policy that found one safe rhyme earns less in the next
round. This taste is not the gold check: it is graded, noisy, and depends on the round; the gold check is a rule about
one poem, and no labeller uses the exam's bounds on variety.

Each labeller adds Gaussian noise to every completion's points (Thurstone's model), and calls completions tied whose
points are nearly equal. So the chance of ordering two rightly is known, and with it the labelling ceiling.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ziggurat.ladder import rankings
from ziggurat.verse.demonstrations import Task, wrong_heads
from ziggurat.verse.prosody import (
    Form,
    endings,
    group_shares,
    is_han,
    repeats_an_ending,
    rhyme_groups,
    rhyme_of,
    split_lines,
    well_formed,
)

OVERUSED_ENDING_SHARE = 0.025  # of lines; the commonest ending of real poems makes 0.009
OVERUSED_GROUP_SHARE = 0.35  # of rhyming poems; the commonest group of real poems makes 0.24
MIN_LINES_COUNTED = 200  # of fewer lines nothing counts as overused


@dataclass(frozen=True)
class Memory:
    """What the labellers have read: books, and this round's completions."""

    books: frozenset[str] = frozenset()
    overused_endings: frozenset[str] = frozenset()
    overused_groups: frozenset[str] = frozenset()


def read_round(books: frozenset[str], texts: Iterable[str]) -> Memory:
    """The memory after reading a round's completions through."""
    poems = [split_lines(text) for text in texts]
    counted = Counter(character for lines in poems for character in endings(lines))
    if counted.total() < MIN_LINES_COUNTED:
        return Memory(books)
    overused = frozenset(c for c, n in counted.items() if n > OVERUSED_ENDING_SHARE * counted.total())
    groups = frozenset(g for g, share in group_shares(poems).items() if share > OVERUSED_GROUP_SHARE)
    return Memory(books, overused, groups)


def points(task: Task, text: str, memory: Memory) -> float:
    """The taste all labellers share."""
    lines = split_lines(text)
    if not well_formed(lines, task.form):
        return -1.5 - 0.5 * misshapen_share(lines, task.form)
    worth = -1.0 if repeats_an_ending(lines) else rhyming_share(lines)
    worth -= 0.75 * any(line in memory.books for line in lines)
    worth -= 0.75 * (len(set(lines)) < len(lines))
    worth -= 0.5 * wrong_heads(task, lines)
    worth -= 0.4 * sum(character in memory.overused_endings for character in endings(lines))
    worth -= 0.4 * (rhyme_of(lines) in memory.overused_groups)
    return worth


def misshapen_share(lines: Sequence[str], form: Form) -> float:
    """Of the lines that are there or should be, how many are missing, too many, or of the wrong length."""
    right = sum(len(line) == form.characters and is_han(line) for line in lines[: form.lines])
    return 1.0 - right / max(form.lines, len(lines))


def rhyming_share(lines: Sequence[str]) -> float:
    """How many of the even lines rhyme with the largest set of fellows: 2 of 2 is 1, 3 of 4 is 2/3, none is 0."""
    feet = endings(lines)[1::2]
    counted = Counter(group for character in feet for group in sorted(rhyme_groups(character)))
    most = max(counted.values(), default=1)
    return (most - 1) / max(1, len(feet) - 1)


def pair_kind(task: Task, a: str, b: str, memory: Memory) -> str | None:
    """The kind of a pair of completions, the better one first; None: nothing special."""
    better, worse = (a, b) if points(task, a, memory) >= points(task, b, memory) else (b, a)
    good, bad = split_lines(better), split_lines(worse)
    if not well_formed(bad, task.form):
        return "formed/misshapen" if well_formed(good, task.form) else None
    if repeats_an_ending(good):
        return None
    if repeats_an_ending(bad):
        return "clean/same character again"
    if wrong_heads(task, bad) > wrong_heads(task, good):
        return "acrostic kept/broken"
    return "rhymed/unrhymed" if rhyming_share(good) > rhyming_share(bad) else None


@dataclass(frozen=True)
class Labeller(rankings.Labeller[random.Random]):
    """One labeller, whose errors are normally distributed."""

    noise: float = 0.3
    tie_width: ClassVar[float] = 0.2

    def error(self, chance: random.Random) -> float:
        return chance.gauss(0.0, 1.0)

    def right_order(self, gap: float) -> float:
        return chance_of_right_order(gap, self.noise)


LABELLERS = tuple(Labeller(name) for name in ("Mei", "Lin", "Qiao"))


def chance_of_right_order(gap: float, noise: float) -> float:
    """P(a + noise > b + noise') for points that differ by `gap`: Phi(gap / (noise sqrt 2)), in terms of erf."""
    if noise == 0:
        return 1.0 if gap > 0 else 0.5
    return 0.5 * (1.0 + math.erf(gap / (2.0 * noise)))
