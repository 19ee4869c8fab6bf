"""What leaves the house towards an upstream: private data is masked or refused, by the workspace's policy.

Found are e-mail addresses, phone numbers, identity numbers (China's by its check digit, the American social security
number by its form) and card numbers (by Luhn's check digit). Names, addresses and anything told in words are not found:
this lowers a risk and removes none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ziggurat.product.errors import Invalid
from ziggurat.product.workspaces import settings_of
from ziggurat.store.store import Store

_EMAIL = re.compile(r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
_CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.]?\d)")
_CHINESE_ID = re.compile(r"(?<!\d)\d{17}[\dXx](?![\dXx])")
_SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_CHINESE_MOBILE = re.compile(r"(?<!\d)(?:\+?86[ -]?)?1[3-9]\d(?:[ -]?\d{4}){2}(?!\d)")
_INTERNATIONAL = re.compile(r"(?<![\w+])\+[1-9]\d{0,2}(?:[ .()/-]{0,2}\d){6,12}(?!\d)")
_AMERICAN = re.compile(r"(?<![\w.-])(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-])")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def _luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()][::-1]
    return sum(d if i % 2 == 0 else d * 2 - 9 * (d > 4) for i, d in enumerate(digits)) % 10 == 0 and any(
        digits
    )


def _chinese_id(text: str) -> bool:
    total = sum(int(c) * w for c, w in zip(text[:17], _WEIGHTS, strict=True))
    return "10X98765432"[total % 11] == text[17].upper()


def _always(_text: str) -> bool:
    return True


FINDERS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("email", _EMAIL, _always),
    ("id", _CHINESE_ID, _chinese_id),
    ("card", _CARD, _luhn),
    ("id", _SSN, _always),
    ("phone", _CHINESE_MOBILE, _always),
    ("phone", _INTERNATIONAL, _always),
    ("phone", _AMERICAN, _always),
)


class Masked(NamedTuple):
    text: str
    found: dict[str, int]
    """How many of each kind."""


def masked(text: str, kinds: Sequence[str] = ("email", "phone", "id", "card")) -> Masked:
    """The text with `[email]`, `[phone]`, `[id]` and `[card]` in the place of what was found.

    >>> masked("Write to ana@example.org or +49 30 901820.").text
    'Write to [email] or [phone].'
    """
    found: dict[str, int] = {}
    for kind, pattern, fits in FINDERS:
        if kind in kinds:

            def put(match: re.Match[str], kind: str = kind, fits: Callable[[str], bool] = fits) -> str:
                if not fits(match[0]):
                    return match[0]
                found[kind] = found.get(kind, 0) + 1
                return f"[{kind}]"

            text = pattern.sub(put, text)
    return Masked(text, found)


def outgoing(store: Store, workspace_id: str, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages of a request as they may leave for an upstream.

    Raises:
        Invalid: they hold private data, and the policy refuses that (code private_data).
    """
    with store.read() as conn:
        policy = settings_of(conn, workspace_id)["masking"]
    if policy["policy"] == "off":
        return [dict(message) for message in messages]
    found: dict[str, int] = {}
    sent = [_mask_json(dict(message), policy["kinds"], found) for message in messages]
    if found and policy["policy"] == "refuse":
        kinds = ", ".join(sorted(found))
        raise Invalid(
            f"this holds private data ({kinds}), which may not leave this server; remove it or choose a local model.",
            code="private_data",
        )
    return sent


def _mask_json(value: Any, kinds: Sequence[str], found: dict[str, int]) -> Any:
    """Mask every text in a JSON value: contents in parts and the arguments of tool calls too."""
    if isinstance(value, str):
        if value.startswith("data:"):
            return value  # an image's bytes
        result = masked(value, kinds)
        for kind, number in result.found.items():
            found[kind] = found.get(kind, 0) + number
        return result.text
    if isinstance(value, Mapping):
        return {
            name: inner if name in ("role", "type", "id", "tool_call_id") else _mask_json(inner, kinds, found)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_mask_json(inner, kinds, found) for inner in value]
    return value
