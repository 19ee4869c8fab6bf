"""Rules that an answer passes or fails, as data: `{"kind": "words", "max": 20}`.

Metric `checks`: the share of the row's `checks` that the answer passes under `share`, and 1 under `score` where it
passes all of them. With several samples both are means over the samples.

Case is ignored, and a value in Latin letters matches only as a whole word ("cat" is not found in "concatenate").
A word is a word of an alphabetic script, or one Chinese character. Left out: anything that needs understanding; a
check that a wrong answer passes by luck belongs into no task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ziggurat.errors import DataError, did_you_mean
from ziggurat.evaluation.diversity import units
from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics import text_facts as facts

Check = Mapping[str, Any]


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """`settings["field"]` (default "checks") names the row's list of checks."""
    checks = item.row[str(settings.get("field", "checks"))]
    found = [[failed(answer, check) for check in checks] for answer in answers]
    passed = [sum(not why for why in one) / len(checks) for one in found]
    why = next((why for one in found for why in one if why), "")
    return Mark(
        {"score": sum(share == 1 for share in passed) / len(passed), "share": sum(passed) / len(passed)}, why
    )


def failed(text: str, check: Check, earlier: Sequence[str] = ()) -> str:
    """Why an answer fails a check, in a few words; "" where it passes. `earlier`: the answers before it.

    >>> failed("A concatenation.", {"kind": "contains", "values": ["cat"]})
    'lacks "cat"'
    >>> failed("Which city do you mean?", {"kind": "question"})
    ''

    Raises:
        DataError: an unknown kind.
    """
    kind = str(check.get("kind"))
    if kind == "earlier":
        return _repeats(text, check, earlier)
    if kind not in KINDS:
        raise DataError(f'unknown check "{kind}".{did_you_mean(kind, [*KINDS, "earlier"])}', field="kind")
    return KINDS[kind](text, check)


def mentions(text: str, value: str) -> bool:
    """Whether `value` stands in the text: as a whole word where it begins or ends with a Latin letter or a digit."""
    left = r"(?<![A-Za-z0-9])" if re.match(r"[A-Za-z0-9]", value) else ""
    right = r"(?![A-Za-z0-9])" if re.search(r"[A-Za-z0-9]$", value) else ""
    return re.search(left + re.escape(value) + right, text, re.IGNORECASE) is not None


def _values(check: Check) -> list[str]:
    return [str(value) for value in check["values"]]


def _contains(text: str, check: Check) -> str:
    missing = [value for value in _values(check) if not mentions(text, value)]
    return f'lacks "{missing[0]}"' if missing else ""


def _any(text: str, check: Check) -> str:
    return "" if any(mentions(text, v) for v in _values(check)) else f'has none of "{_values(check)[0]}" ...'


def _lacks(text: str, check: Check) -> str:
    present = [value for value in _values(check) if mentions(text, value)]
    return f'has "{present[0]}"' if present else ""


def _regex(text: str, check: Check) -> str:
    flags = 0 if check.get("case") else re.IGNORECASE
    return "" if re.search(check["pattern"], text.strip(), flags | re.MULTILINE) else "has another form"


def _equals(text: str, check: Check) -> str:
    return "" if facts.plain(text) in {facts.plain(v) for v in _values(check)} else "is not the right answer"


def _ordered(text: str, check: Check) -> str:
    """Each value once found, the next one after it."""
    place = 0
    for value in _values(check):
        at = text.lower().find(value.lower(), place)
        if at < 0:
            return f'"{value}" is missing or out of order'
        place = at + len(value)
    return ""


def _amount(name: str, count: Callable[[str], int]) -> Callable[[str, Check], str]:
    """A check with bounds: at least `min`, at most `max`."""

    def check_amount(text: str, check: Check) -> str:
        n = count(text)
        if n < check.get("min", 0) or n > check.get("max", n):
            return f"{n} {name}"
        return ""

    return check_amount


def _number(text: str, check: Check) -> str:
    """The last number of the text, within `tolerance`."""
    found = facts.numbers(text)
    if not found:
        return "has no number"
    near = abs(found[-1] - float(check["value"])) <= float(check.get("tolerance", 1e-6))
    return "" if near else f"says {found[-1]:g}"


def _json(text: str, check: Check) -> str:
    """The whole answer, or its only fenced block, is JSON; `keys`: of an object, `items`: how many of a list."""
    try:
        value = json.loads(facts.unfenced(text))
    except ValueError:
        return "is not JSON"
    if "keys" in check and not (isinstance(value, dict) and set(check["keys"]) <= set(value)):
        return "lacks a key"
    if "items" in check and not (isinstance(value, list) and len(value) == check["items"]):
        return "has another number of items"
    wanted = check.get("equals")
    return "" if wanted is None or value == wanted else "holds other values"


def _language(text: str, check: Check) -> str:
    found = facts.language(text)
    return "" if found == check["is"] else f"is {found}"


def _question(text: str, check: Check) -> str:
    asks = bool(re.search(r"[?？]", text)) or any(mentions(text, one) for one in facts.ASKS)
    return "" if asks == check.get("is", True) else ("asks back" if asks else "asks nothing")


def _case(text: str, check: Check) -> str:
    letters = [c for c in text if c.isalpha() and c.lower() != c.upper()]
    right = letters and all((c.isupper() if check["is"] == "upper" else c.islower()) for c in letters)
    return "" if right else f"is not all {check['is']} case"


def _acrostic(text: str, check: Check) -> str:
    """The first letters or characters of the lines make `word`."""
    first = "".join(re.sub(r"^[\W\d_]+", "", line)[:1] for line in facts.lines(text))
    return "" if first.lower() == str(check["word"]).lower() else f'its lines begin with "{first[:12]}"'


def _without(text: str, check: Check) -> str:
    """None of the `letters` occurs, and the text has some."""
    present = [c for c in str(check["letters"]) if c.lower() in text.lower()]
    return f'has the letter "{present[0]}"' if present else ("" if text.strip() else "is empty")


def _repeats(text: str, check: Check, earlier: Sequence[str]) -> str:
    """Against all answers before it: at most `max` (default 0.5) of its 3-grams occur there; and it says something."""
    if not units(text):
        return "is empty"
    shared = max((facts.share_of_grams(text, other, 3) for other in earlier), default=0.0)
    return f"repeats {shared:.0%} of an earlier answer" if shared > check.get("max", 0.5) else ""


KINDS: dict[str, Callable[[str, Check], str]] = {
    "contains": _contains,
    "any": _any,
    "lacks": _lacks,
    "regex": _regex,
    "equals": _equals,
    "ordered": _ordered,
    "words": _amount("words", lambda text: len(facts.words(text))),
    "lines": _amount("lines", lambda text: len(facts.lines(text))),
    "sentences": _amount("sentences", lambda text: len(facts.sentences(text))),
    "items": _amount("list items", lambda text: len(facts.list_items(text))),
    "paragraphs": _amount("paragraphs", lambda text: len(facts.paragraphs(text))),
    "number": _number,
    "json": _json,
    "language": _language,
    "question": _question,
    "case": _case,
    "acrostic": _acrostic,
    "without": _without,
}
