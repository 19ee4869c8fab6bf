"""A made-up term: asked about without a definition, then defined, then used on values with a known result.

Turn 1 is passed by a question back or by saying that the term is not known; turns 2 and 3 by the right result.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ziggurat.errors import UsageError

TERMS = {
    "en": ("blenk", "dromf", "quarl", "tiveth", "morpet", "zarnow", "gluppy", "fendrick", "oskel", "wibbon"),
    "zh": (
        "布伦数",
        "卓夫值",
        "夸尔数",
        "提维值",
        "莫佩数",
        "扎诺值",
        "格鲁数",
        "芬德值",
        "奥斯数",
        "威本值",
    ),
}
RULES: dict[str, tuple[str, str, Callable[[int], int]]] = {
    "double-three": ("twice the number plus 3", "该数的两倍加3", lambda n: 2 * n + 3),
    "square-less": ("the number times itself, minus 1", "该数的平方减1", lambda n: n * n - 1),
    "ten-times": ("ten times the number plus 5", "该数的十倍加5", lambda n: 10 * n + 5),
    "less-than-fifty": ("50 minus the number", "50减去该数", lambda n: 50 - n),
    "triple": ("three times the number", "该数的三倍", lambda n: 3 * n),
}
SAID = {
    "en": {
        "ask": "What is the {term} of {a}?",
        "define": "Let me explain: the {term} of a number is {rule}. For example, the {term} of 1 is {one}. "
        "So what is the {term} of {a}?",
        "again": "And what is the {term} of {b}?",
    },
    "zh": {
        "ask": "{a}的{term}是多少？",
        "define": "我来解释：一个数的{term}等于{rule}。例如，1的{term}是{one}。那么{a}的{term}是多少？",
        "again": "那么{b}的{term}是多少？",
    },
}
ADMITS = {"kind": "either", "rules": [{"kind": "asks"}, {"kind": "asks_back"}]}
"""A rule: the answer asks back, or says that it does not know the term."""


def rows(count: int, seed: int, *, language: str = "en") -> list[dict[str, Any]]:
    """`count` dialogues of three turns. UsageError for an unknown language."""
    if language not in SAID:
        raise UsageError(f"definition: language is {language!r}; give en or zh.")
    draw = random.Random(f"definition:{seed}")
    said, found = SAID[language], []
    for number in range(count):
        term = TERMS[language][number % len(TERMS[language])]
        name = list(RULES)[number % len(RULES)] if number < len(TERMS[language]) else draw.choice(list(RULES))
        in_english, in_chinese, worked = RULES[name]
        a, b = draw.sample(range(2, 10), 2)
        rule = in_english if language == "en" else in_chinese
        words = {"term": term, "a": a, "b": b, "rule": rule, "one": worked(1)}
        turns = [
            {"user": said["ask"].format(**words), "expect": [ADMITS], "label": "asks"},
            {
                "user": said["define"].format(**words),
                "expect": [{"kind": "last_number", "value": worked(a)}],
                "label": "uses",
            },
            {
                "user": said["again"].format(**words),
                "expect": [{"kind": "last_number", "value": worked(b)}],
                "label": "uses again",
            },
        ]
        found.append({"id": f"{number}-{name}", "turns": turns, "rule": name})
    return found
