"""A small battery of facts, opposites and sums, asked by examples: what alignment may cost of what a model knew.

The model continues raw text after four solved examples, and the first line that it writes must be the answer (exact
match, case and a final full stop aside). No chat template is in it, so the style of answers plays no part.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams

CAPITALS = """France Paris|Italy Rome|Spain Madrid|Germany Berlin|England London|Russia Moscow|Japan Tokyo
China Beijing|Egypt Cairo|Greece Athens|Portugal Lisbon|Austria Vienna|Poland Warsaw|Ireland Dublin|Norway Oslo
Sweden Stockholm|Denmark Copenhagen|Finland Helsinki|Hungary Budapest|Cuba Havana|Peru Lima|Canada Ottawa
Kenya Nairobi|Iran Tehran|Iraq Baghdad|Belgium Brussels|Turkey Ankara|Thailand Bangkok|Chile Santiago
Scotland Edinburgh"""
OPPOSITES = """hot cold|big small|up down|day night|black white|fast slow|happy sad|rich poor|old young|wet dry
open closed|high low|left right|strong weak|full empty|hard soft|early late|love hate|light dark|begin end
win lose|true false|north south|good bad|clean dirty|inside outside|first last|always never|buy sell|push pull"""
SUMS = 30
EXAMPLES = 4


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(a, b) for line in text.splitlines() for a, b in [one.split() for one in line.split("|")]]


def items() -> Iterator[tuple[str, str]]:
    """(raw text that ends where the answer begins, answer): 26 capitals, 26 opposites, 26 sums."""
    chance = random.Random("battery")
    sums = []
    while len(sums) < SUMS:
        a, b = chance.randint(2, 9), chance.randint(2, 9)
        if (f"{a} + {b}", str(a + b)) not in sums:
            sums.append((f"{a} + {b}", str(a + b)))
    tasks = (
        ("What is the capital of {}?", _pairs(CAPITALS)),
        ("What is the opposite of {}?", _pairs(OPPOSITES)),
        ("What is {}?", sums),
    )
    for asked, pairs in tasks:
        shown = "".join(f"Question: {asked.format(a)}\nAnswer: {b}\n\n" for a, b in pairs[:EXAMPLES])
        for a, b in pairs[EXAMPLES:]:
            yield f"{shown}Question: {asked.format(a)}\nAnswer:", b


def exact_matches(chat: Chat) -> list[bool]:
    """Of each item in order."""
    every = list(items())
    params = SamplingParams(temperature=0.0, max_tokens=8)
    said = chat.continue_many([text for text, _ in every], params, stop=["\n"])
    return [
        one.text.strip().rstrip(".").lower() == wanted.lower()
        for one, (_, wanted) in zip(said, every, strict=True)
    ]
