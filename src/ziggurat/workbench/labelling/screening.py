"""Prompts before they enter a project: private data is marked, masked or left out, and InstructGPT's further rules.

    private data   e-mail addresses, phone, identity and card numbers (`product.mask`); names and told facts are not
                   found, so people still look
    person cap     at most 200 prompts of one person, the first ones
    near duplicates  of prompts that share a long beginning the first stays
    split          train, valid or test by person: all prompts of one person are on one side

Source: InstructGPT (arXiv:2203.02155), section 3.2 and appendix A.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ziggurat.corpus.near import near_duplicates
from ziggurat.corpus.split import text_hash
from ziggurat.product.mask import masked

PERSON_FIELDS = ("person", "user", "user_id", "author")
"""Fields of `meta` that may name whose prompt it is."""
TAG = "private_data"


class Screening(BaseModel):
    """The rules of one import."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    private_data: Literal["mark", "mask", "leave_out", "keep"] = "mark"
    person_cap: int = Field(default=200, ge=1, le=1_000_000)
    near_duplicates: bool = True
    split: dict[Literal["train", "valid", "test"], float] | None = None
    """Shares; None: no split."""


@dataclass
class Screened:
    entries: list[dict[str, Any]]
    private: Counter[str] = field(default_factory=Counter)
    """How many of each kind were found."""
    marked: int = 0
    """Entries with private data."""
    left_out: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)


def screen(entries: Sequence[Mapping[str, Any]], rules: Screening) -> Screened:
    """The entries that may enter, each as the rules want it."""
    made = Screened([])
    kept = [one for one in (_private(dict(entry), rules, made) for entry in entries) if one is not None]
    kept = _capped(kept, rules.person_cap, made)
    if rules.near_duplicates:
        kept = _distinct(kept, made)
    if rules.split:
        for entry in kept:
            side = side_of(person_of(entry) or question_of(entry), rules.split)
            entry["meta"] = {**(entry.get("meta") or {}), "split": side}
            made.splits[side] += 1
    made.entries = kept
    return made


def _private(entry: dict[str, Any], rules: Screening, made: Screened) -> dict[str, Any] | None:
    if rules.private_data == "keep":
        return entry
    found: Counter[str] = Counter()
    clean = {
        name: _masked(entry[name], found)
        for name in ("messages", "completions", "brief", "draft")
        if name in entry
    }
    if not found:
        return entry
    made.private.update(found)
    made.marked += 1
    if rules.private_data == "leave_out":
        made.left_out["it holds private data"] += 1
        return None
    if rules.private_data == "mask":
        return entry | clean
    return entry | {
        "tags": list(dict.fromkeys([*(entry.get("tags") or ()), TAG])),
        "meta": {**(entry.get("meta") or {}), TAG: dict(sorted(found.items()))},
    }


def marked(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """An entry that a lead adds, with the tag and the counts where private data is in it. One of a wrong form is
    returned as it is, to be refused with its place."""
    tags, meta = entry.get("tags") or [], entry.get("meta") or {}
    if not isinstance(tags, list | tuple) or not isinstance(meta, Mapping):
        return entry
    return _private(dict(entry), Screening(), Screened([])) or entry


def _masked(value: Any, found: Counter[str]) -> Any:
    if isinstance(value, str):
        result = masked(value)
        found.update(result.found)
        return result.text
    if isinstance(value, Mapping):
        return {k: v if k in ("role", "id", "model") else _masked(v, found) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(one, found) for one in value]
    return value


def person_of(entry: Mapping[str, Any]) -> str | None:
    """Whose prompt it is, as the file says."""
    meta = entry.get("meta") or {}
    return next((str(meta[name]) for name in PERSON_FIELDS if meta.get(name)), None)


def _capped(entries: list[dict[str, Any]], cap: int, made: Screened) -> list[dict[str, Any]]:
    counts: Counter[str] = Counter()
    kept = []
    for entry in entries:
        person = person_of(entry)
        if person is not None:
            counts[person] += 1
            if counts[person] > cap:
                made.left_out[f"more than {cap:,} prompts of one person"] += 1
                continue
        kept.append(entry)
    return kept


def question_of(entry: Mapping[str, Any]) -> str:
    """The last message of the user, or the brief."""
    said = [str(one.get("content") or "") for one in entry.get("messages") or () if one.get("role") == "user"]
    return said[-1] if said else str(entry.get("brief") or "")


def _distinct(entries: list[dict[str, Any]], made: Screened) -> list[dict[str, Any]]:
    first: dict[str, int] = {}
    for n, entry in enumerate(entries):
        first.setdefault(question_of(entry), n)
    gone = near_duplicates({text: n for text, n in first.items() if text})
    kept = [entry for entry in entries if question_of(entry) not in gone]
    if len(kept) < len(entries):
        made.left_out["its prompt shares a long beginning with another"] += len(entries) - len(kept)
    return kept


def side_of(person: str, shares: Mapping[Any, float]) -> str:
    """By a hash, so that a person is on the same side in every import.

    >>> side_of("ana", {"train": 1.0})
    'train'
    """
    total = sum(shares.values()) or 1.0
    at = int.from_bytes(text_hash(json.dumps(person))[:4], "big") / 2**32 * total
    for name, share in shares.items():
        at -= share
        if at < 0:
            return str(name)
    return str(next(iter(shares)))
