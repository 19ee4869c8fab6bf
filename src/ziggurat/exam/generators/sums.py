"""Sums in words: one to three steps, with the steps worked out, so that examples can show them."""

from __future__ import annotations

import random
from typing import Any

PEOPLE = ("Ada", "Ben", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hana")
THINGS = ("apples", "books", "candles", "marbles", "pencils", "shells", "stamps", "tickets")


def rows(count: int, seed: int, *, most: int = 20) -> list[dict[str, Any]]:
    """`count` rows of 1, 2 and 3 steps by turns; numbers up to `most`; no answer is negative.

    A row: {"id", "difficulty", "question", "steps", "answer"}.
    """
    draw = random.Random(seed)
    return [_row(draw, number, 1 + number % 3, most) for number in range(count)]


def _row(draw: random.Random, number: int, length: int, most: int) -> dict[str, Any]:
    person, thing = draw.choice(PEOPLE), draw.choice(THINGS)
    have = draw.randint(2, most)
    told, steps = [f"{person} has {have} {thing}."], []
    for _ in range(length):
        kind = draw.choice(("more", "less", "times"))
        if kind == "times" and have * 3 <= 5 * most:
            factor = draw.randint(2, 3)
            told.append(f"Then {person} has {factor} times as many.")
            steps.append(f"{have} * {factor} = {have * factor}.")
            have *= factor
        elif kind == "less" and have > 1:
            less = draw.randint(1, have - 1)
            told.append(f"{person} gives {less} away.")
            steps.append(f"{have} - {less} = {have - less}.")
            have -= less
        else:
            more = draw.randint(1, most)
            told.append(f"{person} finds {more} more.")
            steps.append(f"{have} + {more} = {have + more}.")
            have += more
    told.append(f"How many {thing} does {person} have now?")
    return {
        "id": f"sums-{number + 1:03d}",
        "difficulty": f"{length} step" + ("s" if length > 1 else ""),
        "question": " ".join(told),
        "steps": " ".join(steps),
        "answer": str(have),
    }
