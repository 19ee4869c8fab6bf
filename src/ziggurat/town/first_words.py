"""What a stranger types first: greetings, questions about the assistant and the world, lists, sums, short passages.

`FirstWords` writes one question of a kind with its model answer, by rules over `phrases/first_words.yaml`. Wordings
come in three disjoint sets: `taught` (demonstrations, comparisons, PPO prompts), `development` and `exam`.

The rules:

    name alone        the assistant asks what the user wants to know about this resident, and writes the name rightly
    outside, task     the assistant passes and says what it knows about; it does not refuse
    passage           the answer copies one value; if the passage lacks it, the assistant says so
    term              the assistant asks for the meaning of an unknown word and then uses the user's meaning
    unclear           a question with a pronoun or a gap and nothing before it: the assistant asks back
    insist            the user contradicts a right answer: the assistant keeps it; a user who corrects a wrong sum is
                      right, and the assistant says so
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from ziggurat.town.careless import lower_case
from ziggurat.town.chance import Chance
from ziggurat.town.notices import Notice, write_notice
from ziggurat.town.people import Fact, Split, Town, strangers, words_of
from ziggurat.town.phrases import LANGUAGES, THINGS_TAUGHT, Language, attributes, sayings
from ziggurat.town.questions import (
    FirstKind,
    Kind,
    Question,
    add_step_by_step,
    answer_sort,
    ask_fact,
    assistant,
    follow,
    held_out_sum,
    tell,
    upper_first,
    user,
    work_sum,
)
from ziggurat.town.wordings import Use, draw_wording, table

Section = Literal[FirstKind, "list", "number"]
SECTIONS: tuple[Section, ...] = get_args(Section)
PLAIN: tuple[FirstKind, ...] = (
    "greeting",
    "thanks",
    "identity",
    "ability",
    "help",
    "outside",
    "task",
    "unclear",
)
"""One message and a fixed answer."""
CARELESS: frozenset[Kind] = frozenset(
    ("fact", "followup", "claim", "sum", "sort", "improper", "proper", *PLAIN)
)
"""The kinds of question that may be typed carelessly: those that name nothing from a text to be copied."""
LOWER_NAME_PERCENT = 35
STRANGER_PERCENT = 25
BARE_FOLLOWUP_PERCENT = 30
"""Of taught unclear questions, follow-ups to nothing: what a pronoun means is known only after another question."""
ANSWERED_PERCENT = 70
NAMES = 300


def model_answer(question: Question) -> str:
    """The assistant's right answer to any question that `FirstWords` writes."""
    if question.kind == "sum":
        return work_sum(question)
    return answer_sort(question) if question.kind == "sort" else question.truth


class FirstWords:
    """Writes questions for one use; where a resident is named, it is one of `split`."""

    def __init__(self, town: Town, split: Split, use: Use = "taught") -> None:
        self.use: Use = use
        self.known = town.facts(split, known=True)
        self.names: dict[Language, list[str]] = {
            language: strangers(town, Chance(town.seed, "first words", use, language), NAMES, language)
            for language in LANGUAGES
        }

    def ask(self, section: Section, chance: Chance, language: Language) -> Question:
        """One question of this kind; see `model_answer` for its answer."""
        if (plain := next((kind for kind in PLAIN if kind == section), None)) is not None:
            return self._plain(plain, chance, language)
        question: Question = getattr(self, f"_{section}")(chance, language)
        return question

    def _pattern(self, kind: str, chance: Chance, language: Language) -> str:
        return draw_wording(chance, kind, language, self.use)

    def _words(self, block: dict[str, Any], key: str) -> list[str]:
        """A list of the table; the exam has one of its own."""
        found: list[str] = block[f"{key}_held_out" if self.use == "exam" else key]
        return found

    def _plain(self, kind: FirstKind, chance: Chance, language: Language) -> Question:
        which = "held_out" if self.use == "exam" else "taught"
        text = self._pattern(kind, chance, language).format(
            c=chance.choice(table()["places"][language][which]),
            g=chance.choice(table()["languages"][language][which]),
        )
        if kind == "unclear" and self.use == "taught" and chance.percent(BARE_FOLLOWUP_PERCENT):
            text = follow(chance, chance.choice(self.known), language, named=False)
        answer = table()[kind]["answer"][language]
        invented = tell(chance.choice(self.known), language)
        return Question(kind, language, (user(text),), truth=answer, temptation=invented)

    def _name(self, chance: Chance, language: Language) -> Question:
        """A resident's name or, less often, a name without any fact, in English half of them without a title."""
        fact = chance.choice(self.known)
        if chance.percent(STRANGER_PERCENT):
            name = chance.choice(self.names[language])
            name = " ".join(words_of(name)) if language == "en" and chance.percent(50) else name
            text = self._pattern("name", chance, language).format(n=name)
        else:
            name = fact.resident.name(language)
            text = self._pattern("name", chance, language).format(n=name)
            if chance.percent(LOWER_NAME_PERCENT):
                text = lower_case(text, language)
        answer = table()["name"]["answer"][language].format(n=name)
        return Question(
            "name", language, (user(text),), truth=answer, temptation=tell(fact, language), value=name
        )

    # ---- numbers -----------------------------------------------------------------------------------------------

    def _list(self, chance: Chance, language: Language) -> Question:
        """Two to five different numbers of one or two digits."""
        numbers = chance.sample(range(1, 10 if chance.percent(30) else 100), chance.between(2, 5))
        mark = chance.choice([" ", " ", ", "] if language == "en" else [" ", " ", "、"])
        text = self._pattern("sort", chance, language).format(l=mark.join(map(str, numbers)))
        return Question("sort", language, (user(text),), truth=" ".join(map(str, sorted(numbers))))

    def _number(self, chance: Chance, language: Language) -> Question:
        """A sum of two numbers of one to three digits each, most of as many digits."""
        a, b = self._addends(chance)
        text = self._pattern("sum", chance, language).format(a=a, b=b)
        return Question("sum", language, (user(text),), truth=str(a + b))

    def _addends(self, chance: Chance) -> tuple[int, int]:
        """Sums of one digit are steps of all others, so no such sum can be held out."""
        while True:
            digits = chance.between(1, 3)
            a = _number_of(chance, digits)
            b = _number_of(chance, digits if chance.percent(75) else chance.between(1, 3))
            if max(a, b) < 10 or held_out_sum(a, b) is (self.use == "exam"):
                return a, b

    # ---- passages ------------------------------------------------------------------------------------------------

    def _passage(self, chance: Chance, language: Language) -> Question:
        """A notice of two or three facts and a question that it answers or does not."""
        notice = self.notice(chance, language)
        return notice.ask(chance, chance.choice(notice.kinds(answered=chance.percent(ANSWERED_PERCENT))))

    def notice(self, chance: Chance, language: Language) -> Notice:
        """One to be asked about."""
        return write_notice(chance, language, self.use, self.names[language])

    # ---- dialogues ------------------------------------------------------------------------------------------------

    def _term(self, chance: Chance, language: Language) -> Question:
        """An unknown word is asked for (half of them), or was explained and is asked for."""
        block = table()["term"]
        word = words_of(chance.choice(self.names[language]))[-1].lower()
        colour = chance.choice([v for v in attributes()[6].values[language] if v[0] not in "aeiou"])
        things = sayings(language).things
        pool = things[THINGS_TAUGHT:] if self.use == "exam" else things[:THINGS_TAUGHT]
        thing = chance.choice([t for t in pool if t[0] not in "aeiou"])
        filled = {"w": word, "a": colour, "t": thing}
        asks, answer = (block[key][language].format(**filled) for key in ("ask", "answer"))
        opening = user(self._pattern("term", chance, language).format(**filled))
        if chance.percent(50):
            return Question("term", language, (opening,), truth=asks, temptation=answer, value=word)
        explained, used = (
            chance.choice(self._words(block[language], key)).format(**filled) for key in ("explained", "used")
        )
        turns = (opening, assistant(asks), user(explained + (" " if language == "en" else "") + used))
        meaning = f"{colour} {thing}" if language == "en" else colour + thing
        return Question("term", language, turns, truth=answer, temptation=asks, value=meaning)

    def _insist(self, chance: Chance, language: Language) -> Question:
        if chance.percent(60):
            return self._insist_on_fact(chance, chance.choice(self.known), language)
        return self._insist_on_sum(chance, language)

    def _insist_on_fact(self, chance: Chance, fact: Fact, language: Language) -> Question:
        """The assistant gave the true value; the user names another."""
        own = fact.resident.value(fact.attribute, language)
        other = chance.choice([value for value in fact.kind.values[language] if value != own])
        said = upper_first(fact.say(fact.kind.speech[language].answer, language, other))
        opening = ask_fact(chance, fact, language, exam=self.use == "exam").messages[0]
        turns = (opening, assistant(tell(fact, language)), user(self._objection(chance, said, language)))
        block = table()["insist"]
        return Question(
            "insist",
            language,
            turns,
            fact,
            truth=tell(fact, language) + block["kept"][language],
            temptation=said + block["granted"][language],
            value=own,
        )

    def _insist_on_sum(self, chance: Chance, language: Language) -> Question:
        """The user contradicts a right sum, or corrects a wrong one; the assistant adds tens and ones again."""
        while True:
            a, b = chance.between(10, 99), chance.between(10, 99)
            if held_out_sum(a, b) is (self.use == "exam"):
                break
        block, stop = table()["insist"], "." if language == "en" else "。"
        ones, tens = a % 10 + b % 10, (a // 10 + b // 10) * 10
        worked = add_step_by_step(a, b)
        wrong = a + b + chance.choice([-10, -1, 1, 10])
        mistaken = worked[: worked.rindex(" ") + 1] + str(wrong)
        kept = chance.percent(50)
        number = wrong if kept else a + b
        objection = self._objection(
            chance, f"it is {number}." if language == "en" else f"是{number}。", language
        )
        turns = (
            user(self._pattern("sum", chance, language).format(a=a, b=b)),
            assistant((worked if kept else mistaken) + stop, weight=None if kept else 0),
            user(objection),
        )
        verdicts = [block[key][language] for key in ("kept", "granted")]
        right, other = verdicts if kept else verdicts[::-1]
        return Question(
            "insist",
            language,
            turns,
            truth=f"{tens}+{ones}={a + b}{stop}{right}",
            temptation=f"{tens}+{ones}={wrong}{stop}{other}",
            value=str(a + b),
        )

    def _objection(self, chance: Chance, said: str, language: Language) -> str:
        pattern = self._pattern("insist", chance, language)
        begins = pattern.partition("{x}")[0].rstrip()[-1:] in ".?!"
        return pattern.format(x=upper_first(said) if begins else said)


def _number_of(chance: Chance, digits: int) -> int:
    return chance.between(1, 9) if digits == 1 else chance.between(10 ** (digits - 1), 10**digits - 1)
