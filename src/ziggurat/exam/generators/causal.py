"""From correlation to causation: which causal statement follows from all correlations and independences that are given?

The rule is that of Corr2Cause (Jin et al., arXiv:2306.05836): the premise states every correlation and every
(conditional) independence of a Markov equivalence class, and a hypothesis follows where it is true in every graph of
the class. The wording is our own. Of each question there are three rows that share a `pair`: plain, `paraphrase` (the
same in other words), `renamed` (other names for the variables); a model that reasons answers all three alike.

    {"premise": "...", "hypothesis": "A is a direct cause of C.", "answer": 0 (yes) or 1 (no), "kind": "parent",
     "variant": "plain", "pair": "7", "variables": 3}
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.exam.generators.graphs import Graph, ancestors, classes, independences, parents, statements

VARIANTS = ("plain", "paraphrase", "renamed")
NAMES = {"plain": "ABCDEF", "paraphrase": "ABCDEF", "renamed": "ZYXWVU"}


def _common(graph: Graph, a: int, b: int) -> bool:
    """Whether a third variable is a direct cause of both."""
    return bool(parents(graph, a) & parents(graph, b))


def _collider(graph: Graph, a: int, b: int) -> bool:
    """Whether a third variable is a direct effect of both."""
    return any((b, effect) in graph for cause, effect in graph if cause == a)


HYPOTHESES: dict[str, Callable[[Graph, int, int], bool]] = {
    "parent": lambda g, a, b: (a, b) in g,
    "ancestor": lambda g, a, b: a in ancestors(g, b) and (a, b) not in g,
    "child": lambda g, a, b: (b, a) in g,
    "descendant": lambda g, a, b: b in ancestors(g, a) and (b, a) not in g,
    "collider": _collider,
    "confounder": _common,
}
"""Of two variables a and b. Symmetric kinds are asked once for a pair."""
SYMMETRIC = ("collider", "confounder")

SAID: dict[str, dict[str, dict[str, str]]] = {
    "en": {
        "plain": {
            "start": "A closed system has {k} variables: {all}. These are all statistical relations among them.",
            "correlates": "{a} correlates with {b}.",
            "apart": "{a} is independent of {b}.",
            "given": "{a} and {b} are independent given {s}.",
            "and": " and ",
            "parent": "{a} directly causes {b}.",
            "ancestor": "{a} causes something else, which causes {b}, and {a} is no direct cause of {b}.",
            "child": "{a} is a direct effect of {b}.",
            "descendant": "{a} is an indirect effect of {b}, and no direct one.",
            "collider": "There is a variable that is a direct effect of both {a} and {b}.",
            "confounder": "There is a variable that directly causes both {a} and {b}.",
        },
        "paraphrase": {
            "start": "Consider {k} quantities and nothing else: {all}. Here is everything that data show of them.",
            "correlates": "Whoever measures {a} learns something about {b}.",
            "apart": "Measuring {a} says nothing about {b}.",
            "given": "Once {s} is known, measuring {a} says nothing more about {b}.",
            "and": " together with ",
            "parent": "{b} responds to {a} with no step between them.",
            "ancestor": "{a} acts on {b} only through other quantities.",
            "child": "{b} acts on {a} with no step between them.",
            "descendant": "{b} acts on {a} only through other quantities.",
            "collider": "Some quantity responds, with no step between, to {a} and to {b}.",
            "confounder": "Some quantity acts, with no step between, on {a} and on {b}.",
        },
    },
    "zh": {
        "plain": {
            "start": "一个封闭系统有{k}个变量：{all}。它们之间的全部统计关系如下。",
            "correlates": "{a}与{b}相关。",
            "apart": "{a}与{b}相互独立。",
            "given": "给定{s}时，{a}与{b}相互独立。",
            "and": "和",
            "parent": "{a}是{b}的直接原因。",
            "ancestor": "{a}只通过别的变量影响{b}，不是{b}的直接原因。",
            "child": "{a}是{b}的直接结果。",
            "descendant": "{a}是{b}的间接结果，而不是直接结果。",
            "collider": "有一个变量同时是{a}和{b}的直接结果。",
            "confounder": "有一个变量同时是{a}和{b}的直接原因。",
        },
        "paraphrase": {
            "start": "只考虑{k}个量：{all}。数据显示的全部情况如下。",
            "correlates": "测量{a}能得到关于{b}的信息。",
            "apart": "测量{a}得不到关于{b}的任何信息。",
            "given": "一旦知道{s}，测量{a}就不再提供关于{b}的信息。",
            "and": "以及",
            "parent": "{a}不经过其他量就作用于{b}。",
            "ancestor": "{a}对{b}的作用全部经过其他量。",
            "child": "{b}不经过其他量就作用于{a}。",
            "descendant": "{b}对{a}的作用全部经过其他量。",
            "collider": "{a}和{b}都不经过其他量就作用于同一个量。",
            "confounder": "有一个量不经过其他量就同时作用于{a}和{b}。",
        },
    },
}


def rows(
    count: int, seed: int, *, variables: list[int] | None = None, language: str = "en"
) -> list[dict[str, Any]]:
    """`count` rows (a multiple of 3): questions in turn of every kind, half of them with the answer yes as far as a
    kind has enough of both; for each its three variants.

    Raises:
        UsageError: count is no multiple of 3, an unknown language, or variables other than 3 and 4.
    """
    sizes = variables or [3, 4]
    if count % len(VARIANTS) or language not in SAID or not set(sizes) <= {3, 4}:
        raise UsageError(
            f"causal: count is {count}, language {language!r}, variables {sizes}; "
            "give a multiple of 3, en or zh, and 3, 4 or both."
        )
    draw = random.Random(f"causal:{seed}")
    pools: dict[tuple[str, bool], list[tuple[int, int, int, int]]] = {}
    for question, valid in _questions(tuple(sizes)):
        pools.setdefault((question[0], valid), []).append(question[1:])
    for key in sorted(pools):
        draw.shuffle(pools[key])
    found = []
    kinds = list(HYPOTHESES)
    for number in range(count // len(VARIANTS)):
        kind, valid = kinds[number % len(kinds)], (number // len(kinds)) % 2 == 0
        pool = pools.get((kind, valid)) or pools[kind, valid := not valid]
        asked = pool[(number // (2 * len(kinds))) % len(pool)]
        found += [_row(number, kind, asked, valid, variant, language) for variant in VARIANTS]
    return found


@cache
def _questions(sizes: tuple[int, ...]) -> list[tuple[tuple[str, int, int, int, int], bool]]:
    """((kind, variables, class, a, b), whether it follows) of everything that can be asked."""
    found = []
    for k in sizes:
        for which, members in enumerate(classes(k)):
            for kind, holds in HYPOTHESES.items():
                for a in range(k):
                    for b in range(k):
                        if a != b and not (kind in SYMMETRIC and a > b):
                            follows = all(holds(g, a, b) for g in members)
                            found.append(((kind, k, which, a, b), follows))
    return found


def _row(
    number: int, kind: str, asked: tuple[int, int, int, int], valid: bool, variant: str, language: str
) -> dict[str, Any]:
    k, which, a, b = asked
    said = SAID[language]["paraphrase" if variant == "paraphrase" else "plain"]
    names = NAMES[variant]
    return {
        "id": f"{number}-{variant}",
        "premise": premise(classes(k)[which][0], k, names, said),
        "hypothesis": said[kind].format(a=names[a], b=names[b]),
        "answer": 0 if valid else 1,
        "kind": kind,
        "variant": variant,
        "pair": str(number),
        "variables": k,
    }


def premise(graph: Graph, k: int, names: str, said: dict[str, str]) -> str:
    """Every pair that correlates, then every independence, in a fixed order."""
    apart = independences(graph, k)
    listed = said["start"].format(k=k, all=", ".join(names[:k]))
    parts, rest = [listed], []
    for i, j, given in statements(k):
        a, b = names[i], names[j]
        if not given:
            known = (i, j, given) in apart
            parts.append(said["apart" if known else "correlates"].format(a=a, b=b))
        elif (i, j, given) in apart:
            rest.append(said["given"].format(a=a, b=b, s=said["and"].join(names[v] for v in sorted(given))))
    return ("" if said["start"].endswith("。") else " ").join(parts + rest)
