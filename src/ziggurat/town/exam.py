"""The exam: questions frozen with ids, about residents C, in both languages. Development questions are about D.

C and D occur in no demonstration, dialogue, comparison or PPO prompt, and the exam's wordings in no demonstration. Each
language has its own items and figures. `write_first_words` is an exam of its own beside `write_exam`, whose items have
stayed byte for byte since the first release.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ziggurat.records import Message
from ziggurat.town.careless import carelessly_asked, lower_case, misspell, retyped
from ziggurat.town.chance import Chance
from ziggurat.town.first_words import CARELESS, SECTIONS, FirstWords
from ziggurat.town.people import Fact, Town
from ziggurat.town.phrases import LANGUAGES, Language, attributes
from ziggurat.town.questions import (
    Question,
    ask_fact,
    ask_followup,
    ask_improper,
    ask_proper,
    ask_sort,
    ask_sum,
    name_written_out,
)

#: how often the exam asks each fact of a resident C, each time in another wording
WORDINGS_KNOWN, WORDINGS_UNKNOWN = 3, 4
#: items per language
FOLLOWUPS_A, FOLLOWUPS_C, SUMS, SORTS, IMPROPER, PROPER, KNOWN_A = 100, 100, 120, 120, 300, 400, 96
#: items per language of each section of `write_first_words`; facts asked in three spellings
FIRST_WORDS_ITEMS, OUTSIDE_ITEMS, FIRST_WORDS_CARELESS_PERCENT, SPELLING_PAIRS = 20, 40, 40, 80
DEVELOPMENT_REQUESTS = 16
DEVELOPMENT_WORDINGS = 2
DEVELOPMENT_FIRST_WORDS = 2  # of each section


@dataclass(frozen=True)
class Item:
    id: str
    section: str  # known, unknown, known_a, followup_a, followup_c, named_c, sum, sort, improper, proper; first words
    question: Question

    @property
    def resident(self) -> str:
        """The cluster for the bootstrap: the resident whose fact is asked, or the item itself."""
        fact = self.question.fact
        return f"resident-{fact.resident.index}" if fact else self.id


def write_exam(town: Town) -> list[Item]:
    """The final exam of a town."""
    return [item for language in LANGUAGES for item in _items(town, language)]


def _items(town: Town, language: Language) -> Iterator[Item]:
    chance = Chance(town.seed, "exam", language)
    for section, known, wordings in (("known", True, WORDINGS_KNOWN), ("unknown", False, WORDINGS_UNKNOWN)):
        for fact in town.facts("C", known=known):
            start = chance.below(4)
            for w in range(wordings):
                question = ask_fact(chance, fact, language, exam=True, wording=start + w)
                yield Item(_id(section, language, fact, w), section, question)
    for fact in chance.sample(town.facts("A", known=True), KNOWN_A):
        yield Item(_id("known_a", language, fact, 0), "known_a", ask_fact(chance, fact, language, exam=True))
    for split, count in (("A", FOLLOWUPS_A), ("C", FOLLOWUPS_C)):
        facts = town.facts("A" if split == "A" else "C", known=True)
        for i in range(count):
            second = chance.choice(facts)
            first = chance.choice([f for f in facts if f.resident is second.resident and f is not second])
            section = f"followup_{split.lower()}"
            followup = ask_followup(chance, first, second, language)
            yield Item(f"{section}:{language}:{i}", section, followup)
            if split == "C":
                yield Item(f"named_c:{language}:{i}", "named_c", name_written_out(followup))
    for section, count, ask in (
        ("sum", SUMS, ask_sum),
        ("improper", IMPROPER, ask_improper),
        ("proper", PROPER, ask_proper),
    ):
        seen: set[str] = set()
        while len(seen) < count:
            question = ask(chance, language, exam=True)
            if question.messages[-1].content not in seen:
                seen.add(question.messages[-1].content)
                yield Item(f"{section}:{language}:{len(seen) - 1}", section, question)
    for i in range(SORTS):
        yield Item(f"sort:{language}:{i}", "sort", ask_sort(chance, language))


def write_first_words(town: Town) -> list[Item]:
    """The exam of what a stranger types first: `FIRST_WORDS_ITEMS` of each section and language, in wordings that
    nothing was taught with, and facts about residents C asked cleanly, in lower case and misspelt (pairs)."""
    writer = FirstWords(town, "C", "exam")
    return [item for language in LANGUAGES for item in _first_words(town, writer, language)]


def _first_words(town: Town, writer: FirstWords, language: Language) -> Iterator[Item]:
    for section in SECTIONS:
        chance = Chance(town.seed, "first words", section, language)
        asked: list[tuple[Message, ...]] = []
        while len(asked) < (OUTSIDE_ITEMS if section == "outside" else FIRST_WORDS_ITEMS):
            question = writer.ask(section, chance, language)
            if question.kind in CARELESS and chance.percent(FIRST_WORDS_CARELESS_PERCENT):
                question = carelessly_asked(chance, question)
            if question.messages not in asked:
                yield Item(f"first-{section}:{language}:{len(asked)}", section, question)
                asked.append(question.messages)
    chance = Chance(town.seed, "spelling", language)
    for fact in chance.sample(town.facts("C", known=True), SPELLING_PAIRS):
        clean = ask_fact(chance, fact, language, exam=True)
        text = clean.messages[-1].content
        lower = retyped(clean, lower_case(text, language))
        misspelt = retyped(clean, misspell(chance, text, language))
        for spelling, asked_so in (("clean", clean), ("lower_case", lower), ("misspelt", misspelt)):
            yield Item(_id(spelling, language, fact, 0), spelling, asked_so)


def _id(section: str, language: Language, fact: Fact, wording: int) -> str:
    return f"{section}:{language}:{fact.resident.index}:{attributes()[fact.attribute].name}:{wording}"


def write_development(town: Town) -> list[Item]:
    """Questions about residents D, a few requests and first words: PPO's gold check and the choice of its checkpoint.

    Every fourth question of fact is typed carelessly.
    """
    items: list[Item] = []
    writer = FirstWords(town, "D", "development")
    for language in LANGUAGES:
        chance = Chance(town.seed, "development", language)
        spelling = Chance(town.seed, "development spelling", language)
        for fact in town.facts("D"):
            section = "known" if fact.known else "unknown"
            for w in range(DEVELOPMENT_WORDINGS):
                question = ask_fact(chance, fact, language, wording=fact.resident.index + w)
                if len(items) % 4 == 3:
                    question = carelessly_asked(spelling, question)
                items.append(Item(_id("dev-" + section, language, fact, w), section, question))
        for i in range(DEVELOPMENT_REQUESTS):
            items.append(Item(f"dev-improper:{language}:{i}", "improper", ask_improper(chance, language)))
            items.append(Item(f"dev-proper:{language}:{i}", "proper", ask_proper(chance, language)))
        for section in SECTIONS:
            for i in range(DEVELOPMENT_FIRST_WORDS):
                first = writer.ask(section, chance, language)
                items.append(Item(f"dev-{section}:{language}:{i}", section, first))
    return items
