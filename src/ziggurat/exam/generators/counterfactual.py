"""Counterfactual questions about machines of lamps: what would have been, had one lamp been switched by hand?

A machine is a small structural model (Pearl, Causality, 2000, section 1.4): root lamps have a state, every other lamp
follows a rule over lamps before it. The answer sets one lamp by hand, keeps the roots, and works the rules out again;
lamps that cause the switched one do not change. In a `fork` and an `upstream` question, whoever reasons by correlation
answers wrong.

    {"story": "...", "question": "If lamp B had been switched off by hand, would lamp C be on?", "answer": 0 (yes) or 1}
"""

from __future__ import annotations

import random
from typing import Any

from ziggurat.errors import UsageError

SHAPES: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "chain": (("B", "same", ("A",)), ("C", "same", ("B",))),
    "negated": (("B", "not", ("A",)), ("C", "not", ("B",))),
    "fork": (("B", "same", ("A",)), ("C", "same", ("A",))),
    "upstream": (("B", "same", ("A",)), ("C", "same", ("B",))),
    "either": (("B", "same", ("A",)), ("D", "or", ("B", "C"))),
    "both": (("B", "same", ("A",)), ("D", "and", ("B", "C"))),
}
"""Of each shape the lamps that follow a rule, in order; lamps without one are roots."""
ASKED = {
    "chain": ("B", "C"),
    "negated": ("B", "C"),
    "fork": ("B", "C"),
    "upstream": ("C", "A"),
    "either": ("B", "D"),
    "both": ("B", "D"),
}
"""(switched by hand, asked for)."""
NAMES = {
    "en": ("red", "blue", "green", "white", "yellow", "purple", "orange", "pink"),
    "zh": ("红", "蓝", "绿", "白", "黄", "紫", "橙", "粉"),
}
SAID = {
    "en": {
        "same": "The {x} lamp is on exactly when the {a} lamp is on.",
        "not": "The {x} lamp is on exactly when the {a} lamp is off.",
        "or": "The {x} lamp is on exactly when the {a} lamp or the {b} lamp (or both) is on.",
        "and": "The {x} lamp is on exactly when both the {a} lamp and the {b} lamp are on.",
        "now": "Right now the {x} lamp is {state}.",
        "ask": "Suppose the {x} lamp had been switched {state} by hand, and nothing else had been touched. "
        "Would the {y} lamp be on?",
        "on": "on",
        "off": "off",
    },
    "zh": {
        "same": "当且仅当{a}灯亮时，{x}灯亮。",
        "not": "当且仅当{a}灯灭时，{x}灯亮。",
        "or": "当且仅当{a}灯或{b}灯（或两者）亮时，{x}灯亮。",
        "and": "当且仅当{a}灯和{b}灯都亮时，{x}灯亮。",
        "now": "现在{x}灯是{state}的。",
        "ask": "假如{x}灯被人用手{state}，其他什么都没有动，{y}灯会亮吗？",
        "on": "亮",
        "off": "灭",
        "hand_on": "打开",
        "hand_off": "关掉",
    },
}


def rows(count: int, seed: int, *, language: str = "en") -> list[dict[str, Any]]:
    """`count` rows, shapes in turn. UsageError for an unknown language."""
    if language not in SAID:
        raise UsageError(f"counterfactual: language is {language!r}; give en or zh.")
    draw = random.Random(f"counterfactual:{seed}")
    said, found = SAID[language], []
    for number in range(count):
        shape = list(SHAPES)[number % len(SHAPES)]
        rules = SHAPES[shape]
        lamps = sorted({"A", *(x for x, _, _ in rules), *(c for _, _, causes in rules for c in causes)})
        names = dict(zip(lamps, draw.sample(NAMES[language], len(lamps)), strict=True))
        roots = {lamp: draw.random() < 0.5 for lamp in lamps if lamp not in {x for x, _, _ in rules}}
        now = state(rules, roots, {})
        hand, asked = ASKED[shape]
        then = state(rules, roots, {hand: not now[hand]})
        word = {True: said["on"], False: said["off"]}
        story = [said[rule].format(x=names[x], a=names[c[0]], b=names[c[-1]]) for x, rule, c in rules]
        story += [said["now"].format(x=names[lamp], state=word[now[lamp]]) for lamp in lamps]
        by_hand = said.get("hand_on" if not now[hand] else "hand_off", word[not now[hand]])
        found.append(
            {
                "id": str(number),
                "story": ("" if language == "zh" else " ").join(story),
                "question": said["ask"].format(x=names[hand], y=names[asked], state=by_hand),
                "answer": 0 if then[asked] else 1,
                "shape": shape,
            }
        )
    return found


def state(
    rules: tuple[tuple[str, str, tuple[str, ...]], ...], roots: dict[str, bool], by_hand: dict[str, bool]
) -> dict[str, bool]:
    """Every lamp's state; a lamp set by hand does not follow its rule."""
    found = {**roots, **{x: on for x, on in by_hand.items() if x in roots}}
    for x, rule, causes in rules:
        on = [found[c] for c in causes]
        worked = {"same": on[0], "not": not on[0], "or": any(on), "and": all(on)}[rule]
        found[x] = by_hand.get(x, worked)
    return found
