"""An answer keeps rules (`exam/rules`): all of them strictly, all loosely, and which share of them.

The rules are the row's `rules`, or those of the settings. `score` is the strict pass of the whole prompt; `loose` the
loose pass; `rules_kept` and `rules_kept_loosely` shares of this answer's rules. `instruction_strict` and
`instruction_loose` of the task pool the rules of all prompts (arXiv:2311.07911, section 2.2), so that a prompt with
three rules counts three times. Settings: `main: loose | rules_kept` makes another figure the score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.rules import kept, kept_loosely

MAIN = ("strict", "loose", "rules_kept")


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """UsageError where there are no rules, or one is wrong.

    >>> mark(["a b"], Item(id="1", row={"rules": [{"kind": "words", "exactly": 2}]}), {}).scores["score"]
    1.0
    """
    rules = settings.get("rules") or item.row.get("rules")
    if not rules:
        raise UsageError(f"row {item.id} has no rules, and the metric's settings have none; add `rules`.")
    strict = [[kept(text, rule) for rule in rules] for text in answers]
    loose = [[kept_loosely(text, rule) for rule in rules] for text in answers]
    figures = {
        "strict": _mean([float(all(one)) for one in strict]),
        "loose": _mean([float(all(one)) for one in loose]),
        "rules_kept": _mean([_mean(list(map(float, one))) for one in strict]),
        "rules_kept_loosely": _mean([_mean(list(map(float, one))) for one in loose]),
    }
    main = str(settings.get("main", "strict"))
    if main not in MAIN:
        raise UsageError(f"metric.settings.main is {main!r}; it is one of {', '.join(MAIN)}.")
    first = strict[0] if strict else [False] * len(rules)
    broken = [str(rule["kind"]) for rule, good in zip(rules, first, strict=True) if not good]
    detail = {
        "kinds": [str(rule["kind"]) for rule in rules],
        "strict": first,
        "loose": loose[0] if loose else [False] * len(rules),
    }
    scores = {"score": figures.pop(main), **figures}
    return Mark(scores, f"broken: {', '.join(broken)}" if broken else "", detail)


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, float]:
    """Shares of all rules of all prompts, strict and loose, and strict by kind (`kind_words`, ...)."""
    strict: Counter[str] = Counter()
    loose: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for one in found:
        detail = one.mark.detail
        for kind, good, nearly in zip(
            detail.get("kinds", []), detail.get("strict", []), detail.get("loose", []), strict=True
        ):
            asked[kind] += 1
            strict[kind] += bool(good)
            loose[kind] += bool(nearly)
    if not asked:
        return {}
    figures = {
        "instruction_strict": strict.total() / asked.total(),
        "instruction_loose": loose.total() / asked.total(),
    }
    if settings.get("kinds", False):
        figures |= {f"kind_{kind}": strict[kind] / count for kind, count in sorted(asked.items())}
    return figures


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
