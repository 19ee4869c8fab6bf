"""Rules of answers in a conversation: asks back, gives a number, spells a word with its lines, one of several rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ziggurat.exam.rules import parts

NUMBER = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?")
_ASKS = re.compile(
    r"[?？]|\b(?:could|can|would) you (?:please )?(?:clarify|specify|tell me|provide)|"
    r"\bplease (?:clarify|specify|provide|tell me)|\blet me know (?:which|what|who|where|when)|"
    r"请(?:你|您)?(?:告诉我|说明|提供|澄清|具体)|请问",
    re.IGNORECASE,
)


def asks(text: str) -> bool:
    """Asks something back: has a question mark, or asks for more ("please specify")."""
    return _ASKS.search(text) is not None


def numbers(text: str) -> list[float]:
    """Every number in order of place.

    >>> numbers("1,234 and -5.5")
    [1234.0, -5.5]
    """
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def last_number(text: str, value: float, tolerance: float = 1e-6) -> bool:
    """The last number of the text is this one: what comes before it may be the way there."""
    found = numbers(text)
    return bool(found) and abs(found[-1] - value) <= tolerance


def acrostic(text: str, word: str) -> bool:
    """The first letters or characters of the lines make a word; a title line is not allowed for."""
    firsts = [re.sub(r"^[\W\d_]+", "", line)[:1] for line in parts.lines(text)]
    return "".join(firsts).casefold() == word.casefold()


def either(text: str, rules: Sequence[Mapping[str, Any]]) -> bool:
    """Keeps at least one of several rules."""
    from ziggurat.exam.rules import kept

    return any(kept(text, rule) for rule in rules)


RULES: dict[str, Callable[..., bool]] = {
    "asks": asks,
    "last_number": last_number,
    "acrostic": acrostic,
    "either": either,
}
