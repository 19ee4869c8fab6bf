"""The conversations of stage 2 (about residents A) and the prompts of stages 3 and 4 (about residents B, whom no
demonstration names): facts, sums, requests, small skills, first words.

About 2 of 100 demonstrations pass on a fact: mostly on what a note does not state, one in six on a fact about A that no
text states. So the policy can sample the form, and knows that it ends an answer for every resident. SFT learns most of
these by heart and invents elsewhere; stages 3 and 4 teach when to pass. Passes on the world outside and on unknown
words come with the first words (`first_words.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ziggurat.records import Demonstration, Message
from ziggurat.town.careless import carelessly_asked
from ziggurat.town.chance import Chance
from ziggurat.town.first_words import CARELESS, SECTIONS, FirstWords, Section, model_answer
from ziggurat.town.people import Fact, Town, guest, strangers
from ziggurat.town.phrases import Language
from ziggurat.town.questions import (
    Question,
    admit_ignorance,
    answer_claim,
    answer_sort,
    ask_claim,
    ask_fact,
    ask_followup,
    ask_improper,
    ask_proper,
    ask_reading,
    ask_sort,
    ask_sum,
    assistant,
    refuse,
    tell,
    work_sum,
)
from ziggurat.town.skills import Skills

#: relative shares of the demonstrations, by kind (400 in all)
MIXTURE = (
    ("fact", 36),
    ("ignorance", 1),
    ("followup", 20),
    ("another", 24),
    ("reading", 12),
    ("greet", 12),
    ("claim", 8),
    ("sum", 16),
    ("sort", 25),
    ("improper", 14),
    ("proper", 23),
    ("extract", 4),
    ("summary", 4),
    ("translate", 2),
    ("verse", 2),
    ("tool", 4),
    ("greeting", 11),
    ("thanks", 9),
    ("identity", 11),
    ("ability", 10),
    ("help", 10),
    ("name", 14),
    ("outside", 16),
    ("task", 12),
    ("unclear", 14),
    ("passage", 22),
    ("term", 16),
    ("insist", 16),
    ("list", 16),
    ("number", 16),
)
#: relative shares of the turns of "another"
TURNS = (("fact", 63), ("sum", 8), ("sort", 8), ("improper", 7), ("proper", 7))
#: relative shares of the prompts to be ranked and used in PPO, by kind (125 in all)
PROMPT_MIXTURE = (
    ("fact", 52),
    ("followup", 8),
    ("another", 8),
    ("claim", 2),
    ("sum", 4),
    ("sort", 3),
    ("improper", 10),
    ("proper", 13),
    ("greeting", 1),
    ("thanks", 1),
    ("identity", 1),
    ("ability", 1),
    ("help", 1),
    ("name", 2),
    ("outside", 3),
    ("task", 2),
    ("unclear", 2),
    ("passage", 3),
    ("term", 2),
    ("insist", 2),
    ("list", 2),
    ("number", 2),
)
CARELESS_PERCENT = 30
"""Of the questions of these kinds, those typed carelessly."""

STATED_OF_GUESTS = 2
STATED_PERCENT = 60
"""Of questions about a note, those that it answers."""


class Teacher:
    """Writes demonstrations about residents A of one town, and prompts about B."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.known, self.withheld = (town.facts("A", known=known) for known in (True, False))
        self.prompted: dict[bool, list[Fact]] = {k: town.facts("B", known=k) for k in (True, False)}
        self.first_words, self.prompted_first_words = FirstWords(town, "A"), FirstWords(town, "B")
        self.names: dict[Language, list[str]] = {
            language: strangers(town, Chance(town.seed, "guests", language), 600, language)
            for language in ("en", "zh")
        }
        self.skills = Skills(self.known, self.names).by_kind()

    def demonstration(self, number: int) -> Demonstration:
        chance = Chance(self.town.seed, "demonstration", number)
        language: Language = "en" if number % 2 == 0 else "zh"
        kind = chance.weighted(MIXTURE)
        return Demonstration(
            messages=self._conversation(kind, chance, language), source=f"town:{kind}", labeller="town"
        )

    def _conversation(self, kind: str, chance: Chance, language: Language) -> list[Message]:
        if write := self.skills.get(kind):
            return write(chance, language)
        if kind == "another":
            return self._another(chance, language)
        question, answer = self._answered(kind, chance, language)
        return [*question.messages, assistant(answer)]

    def _another(self, chance: Chance, language: Language) -> list[Message]:
        """Two or three questions; each is answered for itself, whatever came before."""
        turns: list[Message] = []
        last: Fact | None = None
        for _ in range(chance.between(2, 3)):
            kind = chance.weighted(TURNS)
            if kind == "fact":
                last = self._next(chance, self.known, last)
                question = typed(chance, ask_fact(chance, last, language))
                answer = reply(chance, question)
            else:
                question, answer = self._answered(kind, chance, language)
            turns += [*question.messages, assistant(answer)]
        return turns

    def _next(self, chance: Chance, facts: list[Fact], last: Fact | None) -> Fact:
        """One of `facts`, sometimes about the resident of the fact before."""
        if last is not None and chance.percent(40):
            facts = [f for f in facts if f.resident is last.resident and f != last] or facts
        return chance.choice(facts)

    def _answered(self, kind: str, chance: Chance, language: Language) -> tuple[Question, str]:
        """A question, sometimes typed carelessly, and its answer."""
        question, answer = self._cleanly_answered(kind, chance, language)
        return (question if kind == "reading" else typed(chance, question)), answer

    def _cleanly_answered(self, kind: str, chance: Chance, language: Language) -> tuple[Question, str]:
        if section := section_of(kind):
            first = self.first_words.ask(section, chance, language)
            return first, model_answer(first)
        if kind in ("fact", "ignorance", "reading", "followup"):
            asked = self._asked(kind, chance, language)
            return asked, reply(chance, asked)
        if kind == "claim":
            claim = ask_claim(chance, chance.choice(self.known), language, true=chance.percent(50))
            return claim, answer_claim(claim)
        if kind == "sum":
            question = ask_sum(chance, language)
            return question, work_sum(question)
        if kind == "sort":
            question = ask_sort(chance, language)
            return question, answer_sort(question)
        if kind == "improper":
            return ask_improper(chance, language), refuse(chance, language)
        question = ask_proper(chance, language)
        return question, question.truth

    def _asked(self, kind: str, chance: Chance, language: Language) -> Question:
        """A question of fact, about A or a guest."""
        if kind == "reading":
            return self._reading(chance, language, stated=chance.percent(STATED_PERCENT))
        if kind == "followup":
            first, second = self._pair(chance, self.known)
            return ask_followup(chance, first, second, language, named=chance.percent(25))
        return ask_fact(chance, chance.choice(self.known if kind == "fact" else self.withheld), language)

    def _reading(self, chance: Chance, language: Language, *, stated: bool) -> Question:
        """About a guest: there is no end of them, so neither knowing nor not knowing can be learned by heart."""
        name = chance.choice(self.names[language])
        return ask_reading(
            chance, guest(self.town, name, language, chance, STATED_OF_GUESTS), language, stated=stated
        )

    def _pair(self, chance: Chance, facts: list[Fact]) -> tuple[Fact, Fact]:
        """Two facts of one resident, the first of them known."""
        second = chance.choice(facts)
        stated = self.known if second.resident.split == "A" else self.prompted[True]
        others = [f for f in stated if f.resident is second.resident and f.attribute != second.attribute]
        return chance.choice(others), second

    def prompt(self, number: int, *, unknown_percent: int = 40, stream: str = "prompt") -> Question:
        """A prompt for sampling or PPO; of the questions of fact, `unknown_percent` ask for withheld facts."""
        chance = Chance(self.town.seed, stream, number)
        language: Language = "en" if number % 2 == 0 else "zh"
        kind = chance.weighted(PROMPT_MIXTURE)
        return typed(chance, self._prompt(kind, chance, language, unknown_percent))

    def _prompt(self, kind: str, chance: Chance, language: Language, unknown_percent: int) -> Question:
        if section := section_of(kind):
            return self.prompted_first_words.ask(section, chance, language)
        if kind in ("fact", "followup", "another"):
            unknown = chance.percent(unknown_percent)
            facts = self.prompted[not unknown]
            if kind == "fact":
                return ask_fact(chance, chance.choice(facts), language)
            if kind == "another":
                first = chance.choice(self.prompted[True])
                opening = ask_fact(chance, first, language)
                before = (*opening.messages, assistant(reply(chance, opening)))
                asked = ask_fact(chance, self._next(chance, facts, first), language)
                return replace(asked, messages=(*before, *asked.messages))
            first, second = self._pair(chance, facts)
            return ask_followup(chance, first, second, language)
        if kind == "claim":
            return ask_claim(chance, chance.choice(self.prompted[True]), language, true=chance.percent(50))
        return self._cleanly_answered(kind, chance, language)[0]


def section_of(kind: str) -> Section | None:
    """The section of `first_words.py` that a kind of a mixture names."""
    return next((section for section in SECTIONS if section == kind), None)


def typed(chance: Chance, question: Question) -> Question:
    """The question as it is typed: carelessly in CARELESS_PERCENT of 100 questions of the kinds in CARELESS."""
    if question.kind not in CARELESS or not chance.percent(CARELESS_PERCENT):
        return question
    return carelessly_asked(chance, question)


def reply(chance: Chance, question: Question) -> str:
    """The true answer to a question of fact, or a pass if the fact is withheld."""
    if not question.answerable:
        return admit_ignorance(chance, question)
    assert question.fact is not None
    return tell(question.fact, question.language)


def write_demonstrations(town: Town, count: int) -> Iterator[Demonstration]:
    teacher = Teacher(town)
    return (teacher.demonstration(number) for number in range(count))
