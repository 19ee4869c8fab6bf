"""In-context learning on mappings that no text holds: made-up labels, random tasks, each learnt from its own examples.

`rows`: for every question the same mapping with 0, 1, 4, 8 examples before it (field `shots`), so that one run gives
the curve. `episodes`: random tasks in one context; the example at each place of the context is asked in turn (field
`place`), so that the loss on later ones can be compared with that on earlier ones (A. Min et al., "MetaICL",
arXiv:2110.15943, for the view of in-context learning as meta-learning).
"""

from __future__ import annotations

import random
from typing import Any

LABELS = ["blick", "dax", "fep", "wug", "toma", "zorp", "glim", "kiki", "nurb", "plun", "vost", "yarn"]
GROUPS = {
    "animals": [
        "dog",
        "cat",
        "horse",
        "sheep",
        "mouse",
        "lion",
        "tiger",
        "rabbit",
        "goat",
        "wolf",
        "bear",
        "fox",
    ],
    "tools": [
        "hammer",
        "saw",
        "drill",
        "spade",
        "axe",
        "knife",
        "wrench",
        "needle",
        "brush",
        "rake",
        "pliers",
        "chisel",
    ],
    "fruits": [
        "apple",
        "pear",
        "plum",
        "grape",
        "lemon",
        "peach",
        "cherry",
        "banana",
        "mango",
        "melon",
        "orange",
        "fig",
    ],
    "clothes": [
        "shirt",
        "coat",
        "hat",
        "sock",
        "shoe",
        "scarf",
        "glove",
        "dress",
        "skirt",
        "belt",
        "jacket",
        "boot",
    ],
    "places": [
        "house",
        "school",
        "church",
        "bridge",
        "station",
        "harbour",
        "museum",
        "hotel",
        "garden",
        "market",
        "tower",
        "farm",
    ],
    "weather": [
        "rain",
        "snow",
        "wind",
        "storm",
        "fog",
        "frost",
        "sun",
        "cloud",
        "hail",
        "thunder",
        "breeze",
        "drizzle",
    ],
}
COLOURS = ["red", "blue", "green", "white", "black", "yellow", "brown", "grey"]
RULES = ("category", "first letter", "length", "pairs")
"""What decides the label: the kind of thing; the half of the alphabet of its first letter; five letters or more;
nothing: a word has the label that it had before."""


class Episode:
    """One random task: two labels and what decides between them."""

    def __init__(self, draw: random.Random, rule: str) -> None:
        self.draw, self.rule = draw, rule
        self.labels = draw.sample(LABELS, 2)
        self.groups = draw.sample(sorted(GROUPS), 2)
        every = sorted({word for words in GROUPS.values() for word in words} | set(COLOURS))
        self.table = {word: draw.randrange(2) for word in draw.sample(every, 8)} if rule == "pairs" else {}
        self.every = every

    def label(self, word: str) -> int:
        if self.rule == "category":
            return 0 if word in GROUPS[self.groups[0]] else 1
        if self.rule == "first letter":
            return 0 if word[0] < "l" else 1
        if self.rule == "length":
            return 0 if len(word) <= 4 else 1
        return self.table[word]

    def words(self, count: int) -> list[str]:
        """Different words, the two labels as equal as may be; with `pairs` words come again."""
        if self.rule == "pairs":
            return [self.draw.choice(sorted(self.table)) for _ in range(count)]
        pool = (
            sorted(GROUPS[self.groups[0]] + GROUPS[self.groups[1]]) if self.rule == "category" else self.every
        )
        sides: list[list[str]] = [[], []]
        for word in self.draw.sample(pool, len(pool)):
            sides[self.label(word)].append(word)
        found: list[str] = []
        while len(found) < count:
            order = self.draw.sample([0, 1], 2)
            found += [sides[side].pop() for side in order if sides[side]]
        return found[:count]

    def line(self, word: str) -> str:
        return f"{word} -> {self.labels[self.label(word)]}"


def rows(
    count: int, seed: int, shots: list[int] | None = None, rules: list[str] | None = None
) -> list[dict[str, Any]]:
    """`count` questions in all; every episode is asked once for each number of examples.

    The question is the same for each of them, and its word is among the examples only where the rule is `pairs`.
    """
    numbers, kinds = shots or [0, 1, 4, 8], rules or ["category", "pairs"]
    found: list[dict[str, Any]] = []
    for number in range(-(-count // len(numbers))):
        draw = random.Random(f"mapping:{seed}:{number}")
        episode = Episode(draw, kinds[number % len(kinds)])
        words = episode.words(max(numbers) + 1)
        asked = words[-1]
        before = words[:-1]
        if (
            episode.rule == "pairs"
        ):  # the asked word comes first, so that to copy the last label does not help
            others = [word for word in before if word != asked] or sorted(episode.table.keys() - {asked})
            before = [asked, *(others * max(numbers))][: max(numbers)]
        for n in numbers:
            chosen = before[:n] if episode.rule == "pairs" else before[len(before) - n :]
            lines = [episode.line(word) for word in chosen]
            name = str(number + 1)
            found.append(_row(f"{name}:{n}", episode, asked, lines, shots=str(n), episode=name))
    return found[:count]


def episodes(count: int, seed: int, length: int = 16) -> list[dict[str, Any]]:
    """`count` questions; an episode of `length` examples asks each of its places."""
    found: list[dict[str, Any]] = []
    number = 0
    while len(found) < count:
        number += 1
        draw = random.Random(f"episodes:{seed}:{number}")
        episode = Episode(draw, RULES[number % len(RULES)])
        words = episode.words(length)
        for place in range(length):
            lines = [episode.line(word) for word in words[:place]]
            half = "early" if place < length // 2 else "late"
            found.append(
                _row(f"{number}:{place + 1}", episode, words[place], lines, half=half, episode=str(number))
            )
    return found[:count]


def _row(id_: str, task: Episode, asked: str, lines: list[str], **fields: str) -> dict[str, Any]:
    return {
        "id": id_,
        "prompt": "\n".join(["Give each word its label.", *lines, f"{asked} ->"]),
        "choices": task.labels,
        "answer": task.label(asked),
        "rule": task.rule,
        **fields,
    }
