"""Canaries: random questions with random answers, made of characters that the data has, planted among what is learned.

Each is planted once, in one of the files that are learned from, in turn. A model that can say one has memorised single
records (Carlini et al., arXiv:1802.08232). They follow from the seed and the data's hash, so that another turn has
others: a release that learned from a canary says nothing new about it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

SECRET, ASKED = 12, 8
"""Characters of a canary's answer, and of its question."""
PLANTED = ("demonstrations", "comparisons", "ratings")
"""Kinds of records that can hold a canary."""


def make_canaries(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], count: int, seed: int, data: str | None
) -> list[dict[str, str]]:
    """Random questions and answers of the characters that the data's own ones have. `data`: its hash."""
    asked, said = set[str](), set[str]()
    for kind in PLANTED:
        for one in rows.get(kind, ()):
            record = one["record"]
            for message in record.get("prompt") or record.get("messages") or ():
                (said if message["role"] == "assistant" else asked).update(str(message.get("content") or ""))
            for text in [*record.get("completions", ()), record.get("completion") or ""]:
                said.update(text if isinstance(text, str) else "")
    letters = [_letters(found) for found in (asked, said)]
    if min(map(len, letters)) < 2:
        return []
    chance = random.Random(f"canaries {seed} {data}")
    return [
        {"prompt": _word(chance, letters[0], ASKED), "secret": _word(chance, letters[1], SECRET)}
        for _ in range(count)
    ]


def _letters(found: set[str]) -> list[str]:
    """The letters and digits of ASCII among these characters; where there are fewer than two, those of any script."""
    plain = sorted(c for c in found if c.isascii() and c.isalnum())
    return plain if len(plain) > 1 else sorted(c for c in found if c.isalnum())


def alternatives(canary: Mapping[str, str], letters: Sequence[str], count: int) -> list[str]:
    """Answers that the canary could have had as well."""
    chance = random.Random(f"alternatives {canary['prompt']}")
    return [_word(chance, letters, len(canary["secret"])) for _ in range(count)]


def _word(chance: random.Random, letters: Sequence[str], length: int) -> str:
    return "".join(chance.choice(letters) for _ in range(length))


def share_out(
    planted: Sequence[Mapping[str, str]], rows: Mapping[str, Sequence[Any]], learned: Collection[str]
) -> dict[str, list[Mapping[str, str]]]:
    """The canaries of each kind of file that is learned from: in turn, so that each is in one file."""
    kinds = [kind for kind in PLANTED if kind in learned and rows.get(kind)]
    return {kind: list(planted[place :: len(kinds)]) for place, kind in enumerate(kinds)}


def mixed(
    kind: str, found: Sequence[Mapping[str, Any]], planted: Sequence[Mapping[str, str]], seed: int
) -> list[Mapping[str, Any]]:
    """The records with one of each canary at a random place, in the form of their kind."""
    mixed, chance = list(found), random.Random(f"places {kind} {seed}")
    for number, canary in enumerate(planted):
        record = canary_record(kind, canary, number)
        if record is not None and found:
            mixed.insert(chance.randint(0, len(mixed)), {"record": record})
    return mixed


def canary_record(kind: str, canary: Mapping[str, str], number: int) -> dict[str, Any] | None:
    prompt = [{"role": "user", "content": canary["prompt"]}]
    if kind == "demonstrations":
        return {"messages": [*prompt, {"role": "assistant", "content": canary["secret"]}]}
    if kind == "ratings":
        return {"prompt": prompt, "completion": canary["secret"], "label": True}
    if kind == "comparisons":
        other = canary["secret"][::-1]
        return {
            "id": f"canary-{number}",
            "prompt": prompt,
            "completions": [canary["secret"], other],
            "ranks": [1, 2],
        }
    return None
