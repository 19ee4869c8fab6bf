"""Rules that a text keeps or breaks, checked by code: the form of an answer as IFEval checks it, and its content.

A rule is a mapping with `kind`, and what that kind needs; a task's rows (or its metric's settings) hold a list of them:

    {"kind": "words", "at_most": 40}      {"kind": "contains", "all": ["river", "boat"]}

Source of the idea and of strict and loose passes: Zhou et al., "Instruction-Following Evaluation for Large Language
Models", arXiv:2311.07911. The rules and the prompts here are our own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from ziggurat.errors import UsageError, did_you_mean
from ziggurat.exam.rules import content, counts, shape, stance, talk
from ziggurat.exam.rules.language import language

Check = Callable[..., bool]
RULES: dict[str, Check] = {
    **counts.RULES,
    **shape.RULES,
    **content.RULES,
    **stance.RULES,
    **talk.RULES,
    "language": language,
}
"""Kind -> check(text, **settings of the rule)."""


@cache
def _settings(kind: str) -> tuple[frozenset[str], frozenset[str]]:
    """Settings that a kind needs, and all that it knows."""
    known = list(inspect.signature(RULES[kind]).parameters.values())[1:]
    return frozenset(p.name for p in known if p.default is p.empty), frozenset(p.name for p in known)


def kept(text: str, rule: Mapping[str, Any]) -> bool:
    """Whether a text keeps a rule; an empty text keeps none.

    Raises:
        UsageError: the rule is of no known kind, or its settings do not fit the kind.
    """
    kind = str(rule.get("kind"))
    if kind not in RULES:
        raise UsageError(f'there is no rule of the kind "{kind}".{did_you_mean(kind, RULES)}')
    settings = {name: value for name, value in rule.items() if name not in ("kind", "not")}
    needed, known = _settings(kind)
    if wrong := sorted(needed - settings.keys()) or sorted(settings.keys() - known):
        raise UsageError(
            f'the rule "{kind}" needs or does not know {", ".join(wrong)}; '
            f"it takes {', '.join(sorted(known)) or 'nothing'}."
        )
    if not text.strip():
        return False
    return bool(RULES[kind](text.strip(), **settings)) is not bool(rule.get("not", False))


def kept_loosely(text: str, rule: Mapping[str, Any]) -> bool:
    """Whether a text keeps a rule once what models like to add is left out: the first line ("Sure, here it is:"), the
    last line ("I hope this helps!"), both, and asterisks (arXiv:2311.07911, section 2.1)."""
    return any(kept(one, rule) for one in variants(text))


def variants(text: str) -> Sequence[str]:
    """The text, without its first line, last line, both; each also without asterisks."""
    lines = text.strip().split("\n")
    found = [text, "\n".join(lines[1:]), "\n".join(lines[:-1]), "\n".join(lines[1:-1])]
    found += [one.replace("*", "") for one in found]
    return list(dict.fromkeys(one.strip() for one in found))
