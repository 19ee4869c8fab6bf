"""The tables of the town's phrases (`phrases/*.yaml`), read once and typed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal

import yaml

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


def gap_after(begun: str) -> str:
    """The mark in place of a value: after a space in English, without one in Chinese."""
    return "..." if begun.endswith(" ") else "……"


@dataclass(frozen=True)
class Speech:
    """The phrases for one attribute in one language; every entry is a pattern over {n} {v} {p} {s}."""

    statements: tuple[str, ...]
    answer: str
    questions: tuple[str, ...]  # demonstrated
    exam: tuple[str, ...]  # in overheard dialogues and the exam only
    followups: tuple[str, ...]
    claims: tuple[str, ...]

    @cached_property
    def admission(self) -> str:
        """An honest pass, in place of the value: 'The house of {n} stands in ... I do not know.'"""
        begun = _break_off(self.answer)
        return begun + (" I do not know." if begun.endswith("...") else "我不知道。")

    @cached_property
    def gaps(self) -> tuple[str, ...]:
        """Statements whose value is missing: '{n} lives in ...'"""
        return tuple(begun for begun in map(_break_off, self.statements) if "{n}" in begun)


def _break_off(pattern: str) -> str:
    """'{n} lives in {v}.' -> '{n} lives in ...'

    The same mark replaces the value of every attribute, at the position where the values compete. So what a model
    learns about passing for one attribute holds for all.
    """
    begun = pattern.partition("{v}")[0]
    return begun + gap_after(begun)


@dataclass(frozen=True)
class Attribute:
    name: str
    label: dict[Language, str]  # heading of a ledger
    values: dict[Language, tuple[str, ...]]
    asking: tuple[str, ...]  # Chinese words by which it is asked for
    speech: dict[Language, Speech]


def _pair(entry: str) -> tuple[str, str]:
    left, right = entry.split(" | ")
    return left, right


def _said(entry: str | list[str]) -> Any:
    """A pattern, or several."""
    return entry if isinstance(entry, str) else tuple(entry)


def load_table(name: str) -> Any:
    """One file of `phrases/` as YAML gives it."""
    return yaml.safe_load(files("ziggurat.town").joinpath("phrases", name).read_text(encoding="utf-8"))


@cache
def attributes() -> tuple[Attribute, ...]:
    """The eight attributes of a resident, in a fixed order."""
    found = []
    for name, block in load_table("facts.yaml").items():
        pairs = [_pair(entry) for entry in block["values"]]
        values: dict[Language, tuple[str, ...]] = {
            "en": tuple(en for en, _ in pairs),
            "zh": tuple(zh for _, zh in pairs),
        }
        label: dict[Language, str] = dict(zip(LANGUAGES, _pair(block["label"]), strict=True))
        speech = {
            language: Speech(**{kind: _said(block[language][kind]) for kind in Speech.__dataclass_fields__})
            for language in LANGUAGES
        }
        found.append(Attribute(name, label, values, tuple(block["asking"]), speech))
    return tuple(found)


@dataclass(frozen=True)
class Sayings:
    """Everything else that is said, in one language."""

    speakers: tuple[tuple[str, str], ...]
    overheard: tuple[str, ...]
    sheets: tuple[str, ...]
    passes: tuple[str, ...]
    refusals: tuple[str, ...]
    greetings: tuple[tuple[str, str], ...]  # (request, line to a guest)
    things: tuple[str, ...]
    wares: tuple[str, ...]
    owners: tuple[str, ...]
    improper: tuple[str, ...]
    proper: tuple[tuple[str, str], ...]  # (question, answer)
    proper_besides: tuple[tuple[str, str], ...]
    rules: tuple[str, ...]
    festivals: tuple[tuple[str, str], ...]  # (name, month)
    canal: tuple[str, ...]
    verse: tuple[str, ...]


@cache
def sayings(language: Language) -> Sayings:
    raw = load_table("sayings.yaml")
    side = LANGUAGES.index(language)
    festivals = [tuple(part.split(" / ")[side] for part in entry.split(" | ")) for entry in raw["festivals"]]
    return Sayings(
        speakers=tuple((a, b) for a, b in raw["speakers"][language]),
        overheard=tuple(raw["overheard"][language]),
        sheets=tuple(raw["sheets"][language]),
        passes=tuple(raw["passes"][language]),
        refusals=tuple(raw["refusals"][language]),
        greetings=tuple((ask, said) for ask, said in raw["greetings"][language]),
        things=tuple(_pair(entry)[side] for entry in raw["things"]),
        wares=tuple(_pair(entry)[side] for entry in raw["wares"]),
        owners=tuple(raw["owners"][language]),
        improper=tuple(raw["improper"][language]),
        proper=tuple(_pair(entry) for entry in raw["proper"][language]),
        proper_besides=tuple(_pair(entry) for entry in raw["proper_besides"][language]),
        rules=tuple(raw["rules"][language]),
        festivals=tuple((name, month) for name, month in festivals),
        canal=tuple(raw["canal"][language]),
        verse=tuple(raw["verse"][language]),
    )


#: how many of `things` may be used before the exam; the rest are kept for its requests
THINGS_TAUGHT = 48
