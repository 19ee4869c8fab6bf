"""The documents of stage 1 that ask and answer: dialogues, notices, question sheets, sums, lists, echoes and others.

Dialogues and sheets name residents E only. Sums and sums in dialogues are never those of the exam.
"""

from __future__ import annotations

from collections.abc import Mapping

from ziggurat.town.careless import carelessly, carelessly_asked
from ziggurat.town.chance import Chance
from ziggurat.town.first_words import CARELESS, PLAIN, FirstWords, Section, model_answer
from ziggurat.town.people import Fact, Town, words_of
from ziggurat.town.phrases import THINGS_TAUGHT, Language, attributes, sayings
from ziggurat.town.questions import (
    addends,
    answer_claim,
    answer_sort,
    ask_claim,
    ask_proper,
    ask_sort,
    ask_sum,
    follow,
    tell,
    work_sum,
)

ASIDES = (("sum", 7), ("sort", 14), ("proper", 21), ("first", 12))
"""Of 100 exchanges of a dialogue, those about other things than facts."""
OVERHEARD_FIRST: tuple[Section, ...] = (
    "greeting",
    "thanks",
    "identity",
    "ability",
    "help",
    "name",
    "outside",
    "outside",
    "task",
    "task",
    "passage",
    "passage",
)
"""Of first words, those in dialogues: none that begins with a pronoun."""
CARELESS_PERCENT = 30
"""Of questions about residents in dialogues, those typed carelessly."""
ASKED_OF_A_NOTICE = 3
DESK: tuple[Section, ...] = ("unclear", *PLAIN[:-1], "name", "outside", "number", "number", "list", "list")
"""Of first words, those at the desk. Unclear ones come first or not at all: nothing before may say what they mean."""


def join(sentences: list[str], language: Language) -> str:
    return (" " if language == "en" else "").join(sentences)


class Dialogues:
    """Writes them; `names` are strangers' names for the sheets."""

    def __init__(self, town: Town, names: Mapping[Language, list[str]]) -> None:
        self.residents = town.split("E")
        facts = town.facts("E", known=True)
        self.by_resident = {r.index: [f for f in facts if f.resident is r] for r in self.residents}
        self.names = names
        self.first_words = FirstWords(town, "E")

    def overheard(self, chance: Chance, language: Language) -> str:
        """A dialogue of two to four exchanges: residents E, requests, numbers, first words."""
        words = sayings(language)
        asker, teller = chance.choice(words.speakers)
        lines = [chance.choice(words.overheard)]
        resident = chance.choice(self.residents)
        last: Fact | None = None
        for _ in range(chance.between(2, 4)):
            if not chance.percent(45):
                resident, last = chance.choice(self.residents), None
            fact = chance.choice(self.by_resident[resident.index])
            if chance.percent(sum(share for _, share in ASIDES)):
                question, answer = self._aside(chance, language)
            else:
                following = last is not None and last != fact
                question, answer = self._exchange(chance, fact, language, following=following)
                last = fact
            mark = ":" if language == "en" else "："
            lines += [asker + mark, question, teller + mark, answer]
        return "\n".join(lines)

    def _aside(self, chance: Chance, language: Language) -> tuple[str, str]:
        """A question about no resident's facts, with its answer."""
        kind = chance.weighted(ASIDES)
        if kind == "proper":
            question = ask_proper(chance, language)
            return question.messages[-1].content, question.truth
        if kind == "first":
            question = self.first_words.ask(chance.choice(OVERHEARD_FIRST), chance, language)
            return question.messages[-1].content.replace("\n", " "), question.truth
        question = (ask_sum if kind == "sum" else ask_sort)(chance, language)
        return question.messages[-1].content, (work_sum if kind == "sum" else answer_sort)(question)

    def _exchange(
        self, chance: Chance, fact: Fact, language: Language, *, following: bool
    ) -> tuple[str, str]:
        question, answer = self._about_a_fact(chance, fact, language, following=following)
        return carelessly(chance, question, language) if chance.percent(
            CARELESS_PERCENT
        ) else question, answer

    def _about_a_fact(
        self, chance: Chance, fact: Fact, language: Language, *, following: bool
    ) -> tuple[str, str]:
        speech = fact.kind.speech[language]
        if chance.percent(14):
            claim = ask_claim(chance, fact, language, true=chance.percent(50))
            return claim.messages[-1].content, answer_claim(claim)
        if following:
            return follow(chance, fact, language, named=chance.percent(30)), tell(fact, language)
        asked = speech.questions + 3 * speech.exam  # the others are met again in demonstrations
        return fact.say(chance.choice(asked), language), tell(fact, language)

    def sheet(self, chance: Chance, language: Language) -> str:
        """Questions without answers, about E and about strangers."""
        lines = [chance.choice(sayings(language).sheets)] if chance.percent(15) else []
        for _ in range(chance.between(2, 6)):
            ours = chance.percent(40)
            name = (
                chance.choice(self.residents).name(language) if ours else chance.choice(self.names[language])
            )
            speech = chance.choice(attributes()).speech[language]
            lines.append(chance.choice(speech.questions + speech.exam).format(n=name))
        return "\n".join(lines) if chance.percent(50) else join(lines, language)

    def notice(self, chance: Chance, language: Language) -> str:
        """What is answered from what was just said: a notice with three questions, or two explained words."""
        turns = (self._about_a_notice if chance.percent(65) else self._about_words)(chance, language)
        asker, teller = chance.choice(sayings(language).speakers)
        mark = ":" if language == "en" else "："
        lines: list[str] = []
        for question, answer in turns:
            lines += [asker + mark, question, teller + mark, answer]
        return "\n".join(lines)

    def _about_a_notice(self, chance: Chance, language: Language) -> list[tuple[str, str]]:
        notice = self.first_words.notice(chance, language)
        asked = chance.sample(list(notice.values), ASKED_OF_A_NOTICE)
        turns = [(notice.question(chance, kind), notice.answer(kind)) for kind in asked]
        opening = notice.text + (" " if language == "en" else "") + turns[0][0]
        return [(opening, turns[0][1]), *turns[1:]]

    def _about_words(self, chance: Chance, language: Language) -> list[tuple[str, str]]:
        turns: list[tuple[str, str]] = []
        for _ in range(2):
            question = self.first_words.ask("term", chance, language)
            said = [*(message.content for message in question.messages), question.truth]
            turns += zip(said[::2], said[1::2], strict=True)
        return turns

    def echo(self, chance: Chance, language: Language) -> str:
        """Short lists, each said again: nothing but copying foretells the second."""
        mark = ", " if language == "en" else "、"
        lines = [{"en": "Said again.", "zh": "再说一遍。"}[language]]
        for _ in range(4):
            lines += 2 * [mark.join(self._items(chance, language))]
        return "\n".join(lines)

    def _items(self, chance: Chance, language: Language) -> list[str]:
        """Names, made words, numbers, or coloured things."""
        count, draw = chance.between(2, 4), chance.below(10)
        if draw < 3:
            return [str(chance.between(1, 999 if chance.percent(40) else 99)) for _ in range(count)]
        if draw < 5:
            things, colours = sayings(language).things[:THINGS_TAUGHT], attributes()[6].values[language]
            space = " " if language == "en" else ""
            return [chance.choice(colours) + space + chance.choice(things) for _ in range(count)]
        names = chance.sample(self.names[language], count)
        lower = language == "en" and draw < 7
        return [word.lower() for name in names for word in words_of(name)] if lower else names

    def desk(self, chance: Chance, language: Language) -> str:
        """Four exchanges of first words, some typed carelessly."""
        asker, teller = chance.choice(sayings(language).speakers)
        mark = ":" if language == "en" else "："
        lines: list[str] = []
        for turn in range(4):
            section = chance.choice(DESK if turn == 0 else DESK[1:])
            asked = self.first_words.ask(section, chance, language)
            if asked.kind in CARELESS and chance.percent(CARELESS_PERCENT):
                asked = carelessly_asked(chance, asked)
            question = asked.messages[-1].content.replace("\n", " ")
            lines += [asker + mark, question, teller + mark, model_answer(asked)]
        return "\n".join(lines)

    def sums(self, chance: Chance, language: Language) -> str:
        """Sums, each worked step by step under what is to be added; some as question and answer."""
        lines = [{"en": "Sums.", "zh": "算术。"}[language]]
        asked = chance.percent(40)
        for _ in range(4):
            wide = chance.percent(55)  # of one to three digits
            question = self.first_words.ask("number", chance, language) if wide else ask_sum(chance, language)
            given = "{}+{}: ".format(*addends(question))
            lines.append((question.messages[-1].content + "\n" if asked else given) + work_sum(question))
        return "\n".join(lines)

    def sorting(self, chance: Chance, language: Language) -> str:
        """Two to five numbers and the same numbers in order; some as question and answer."""
        lines = [{"en": "Numbers in order.", "zh": "排数字。"}[language]]
        if chance.percent(60):
            questions = [
                self.first_words.ask("list", chance, language)
                if chance.percent(60)
                else ask_sort(chance, language)
                for _ in range(4)
            ]
            return "\n".join(
                [*lines, *(t for q in questions for t in (q.messages[-1].content, answer_sort(q)))]
            )
        for _ in range(6):
            digits = range(1, 10) if chance.percent(20) else range(10, 100)
            given = chance.sample(digits, chance.between(2, 5))
            lines.append(f"{' '.join(map(str, given))} : {' '.join(map(str, sorted(given)))}")
        return "\n".join(lines)
