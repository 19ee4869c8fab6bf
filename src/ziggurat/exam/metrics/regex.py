"""1 if the answer matches a regular expression: the task's `pattern`, or the item's target.

Settings: `pattern`; `whole: true` (the whole trimmed answer must match; default: anywhere); `case: true`;
`group` with `equals: true`: the group of the match must equal the target. Matched by RE2 (google-re2), which takes
linear time for every pattern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import re2

from ziggurat.errors import UsageError
from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics.common import averaged, targets_of


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """UsageError for a pattern that RE2 does not read."""
    patterns = [str(settings["pattern"])] if "pattern" in settings else targets_of(item.target)
    flags = "(?s)" if settings.get("case", False) else "(?is)"
    try:
        compiled = [re2.compile(flags + pattern) for pattern in patterns]
    except re2.error as error:
        raise UsageError(
            f"the pattern {patterns[0]!r:.60} is no RE2 expression ({error}); correct it."
        ) from None
    whole, group = bool(settings.get("whole", False)), settings.get("group")

    def one(answer: str) -> Mark:
        text = answer.strip()
        matches = [found for p in compiled if (found := p.fullmatch(text) if whole else p.search(text))]
        right = bool(matches)
        taken = matches[0].group(group or 0) if matches else None
        if right and settings.get("equals", False):
            right = taken is not None and taken.strip() in [one.strip() for one in targets_of(item.target)]
        return Mark({"score": float(right)}, "" if right else "no match", {"answer": taken})

    return averaged(answers, one)
