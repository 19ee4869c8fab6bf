"""Questions for the assistant of the town, each with the truth that it is judged by.

One `Question` serves everywhere: with an answer it is a demonstration, alone a prompt for sampling and PPO, frozen
with an id an item of the exam. `exam=True` picks the patterns of the exam, which no demonstration uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Literal, get_args

from ziggurat.records import Message
from ziggurat.town.chance import Chance
from ziggurat.town.people import Fact, Resident
from ziggurat.town.phrases import THINGS_TAUGHT, Language, sayings

FirstKind = Literal[
    "greeting",
    "thanks",
    "identity",
    "ability",
    "help",
    "name",
    "outside",
    "task",
    "unclear",
    "passage",
    "term",
    "insist",
]
Kind = Literal["fact", "followup", "claim", "sum", "sort", "improper", "proper", "open", FirstKind]
FIRST_WORDS: tuple[FirstKind, ...] = get_args(FirstKind)
"""The kinds that `first_words.py` writes; `answer_kinds.py` judges their answers."""


@dataclass(frozen=True)
class Question:
    kind: Kind
    language: Language
    messages: tuple[Message, ...]  # ends on the user
    fact: Fact | None = None  # fact, followup, claim, insist: what is asked
    truth: str = ""  # sum, sort: the result; claim: yes or no; otherwise the model answer
    temptation: str = ""  # a likely wrong answer: of improper, the answer to its nearest look-alike
    value: str = (
        ""  # name, passage, term, insist: what a right answer contains; empty where the text has no answer
    )

    @property
    def answerable(self) -> bool:
        return self.fact is None or self.fact.known


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str, weight: Literal[0, 1] | None = None) -> Message:
    return Message(role="assistant", content=text, weight=weight)


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def ask_fact(
    chance: Chance, fact: Fact, language: Language, *, exam: bool = False, wording: int | None = None
) -> Question:
    """A question about one fact; `wording` picks the pattern (otherwise one is drawn)."""
    speech = fact.kind.speech[language]
    patterns = speech.exam if exam else speech.questions
    pattern = chance.choice(patterns) if wording is None else patterns[wording % len(patterns)]
    return Question("fact", language, (user(fact.say(pattern, language)),), fact)


def ask_reading(chance: Chance, resident: Resident, language: Language, *, stated: bool) -> Question:
    """A note with every known fact about a guest, and a question that it answers (`stated`) or does not."""
    facts = [Fact(resident, a) for a in range(len(resident.values))]
    note = [
        upper_first(f.say(chance.choice(f.kind.speech[language].statements), language))
        for f in facts
        if f.known
    ]
    fact = chance.choice([f for f in facts if f.known is stated])
    asked = fact.say(chance.choice(fact.kind.speech[language].questions), language)
    text = (" " if language == "en" else "").join([*note, asked])
    return Question("fact", language, (user(text),), fact)


def tell(fact: Fact, language: Language) -> str:
    """The true answer, as the assistant says it."""
    return upper_first(fact.say(fact.kind.speech[language].answer, language))


def follow(chance: Chance, fact: Fact, language: Language, *, named: bool) -> str:
    """A follow-up question: with a pronoun, or `named`, the same words with the name where the pronoun stood."""
    return _follow(chance.choice(fact.kind.speech[language].followups), fact, language, named)


def _follow(pattern: str, fact: Fact, language: Language, named: bool) -> str:
    if not named:
        return upper_first(fact.say(pattern, language))
    name = fact.resident.name(language)
    return upper_first(pattern.format(p=name, s=name + ("'s" if language == "en" else "的"), o=name))


def ask_followup(
    chance: Chance, first: Fact, second: Fact, language: Language, *, named: bool = False
) -> Question:
    """Two turns about one resident: the second question has a pronoun where the name would be."""
    opening = ask_fact(chance, first, language).messages[0]
    answer = assistant(tell(first, language))
    then = follow(chance, second, language, named=named)
    return Question("followup", language, (opening, answer, user(then)), second)


def name_written_out(question: Question) -> Question:
    """A follow-up's conversation with the name in its last question."""
    fact, language = question.fact, question.language
    assert fact is not None
    asked = question.messages[-1].content
    pattern = next(
        p for p in fact.kind.speech[language].followups if _follow(p, fact, language, False) == asked
    )
    return Question(
        "followup", language, (*question.messages[:-1], user(_follow(pattern, fact, language, True))), fact
    )


def ask_claim(chance: Chance, fact: Fact, language: Language, *, true: bool) -> Question:
    """A claim put as a question: 'Is Ms Mira a smith?'"""
    values = fact.kind.values[language]
    own = fact.resident.value(fact.attribute, language)
    claimed = own if true else chance.choice([value for value in values if value != own])
    return Question(
        "claim",
        language,
        (user(fact.say(chance.choice(fact.kind.speech[language].claims), language, claimed)),),
        fact,
        truth="yes" if true else "no",
    )


def answer_claim(question: Question) -> str:
    """The fact first, then the verdict: what has been said can be compared with what was claimed."""
    assert question.fact is not None
    said = tell(question.fact, question.language)
    if question.language == "zh":
        return said + ("所以是的。" if question.truth == "yes" else "所以不是。")
    return said + (" So yes." if question.truth == "yes" else " So no.")


# ---- sums and sorting ------------------------------------------------------------------------------------------


def held_out_sum(a: int, b: int) -> bool:
    """Sums kept for the exam: one pair in eleven, in no text or demonstration. Any two digits are added elsewhere.

    Not two full tens: they are a step of other sums.
    """
    return (7 * a + 3 * b) % 11 == 5 and (a % 10 != 0 or b % 10 != 0)


def ask_sum(chance: Chance, language: Language, *, exam: bool = False) -> Question:
    """Two-digit addition, answered step by step; the last number is the result."""
    while True:
        a, b = chance.between(10, 99), chance.between(10, 99)
        if held_out_sum(a, b) is exam:
            break
    patterns = {
        "en": ["What is {a}+{b}?", "How much is {a}+{b}?", "Please add {a}+{b}."],
        "zh": ["{a}+{b}等于多少？", "{a}+{b}是多少？", "请算{a}+{b}。"],
    }
    text = chance.choice(patterns[language]).format(a=a, b=b)
    return Question("sum", language, (user(text),), truth=str(a + b))


def addends(question: Question) -> tuple[int, int]:
    """What a sum asks to be added."""
    digits = "".join(c if c.isdigit() else " " for c in question.messages[-1].content).split()
    return int(digits[0]), int(digits[1])


def work_sum(question: Question) -> str:
    """47+38: 7+8=15, 40+30=70, 85."""
    a, b = addends(question)
    return add_step_by_step(a, b) + ("." if question.language == "en" else "。")


def add_step_by_step(a: int, b: int) -> str:
    """Ones, then tens, then hundreds, with the sum so far after each: the last number is the result.

    7+8=15 | 7+8=15, 40+30=70, 85 | 9+4=13, 80+50=130, 143, 700+600=1300, 1443
    """
    steps = f"{a % 10}+{b % 10}={a % 10 + b % 10}"
    place = 10
    while max(a, b) >= place:
        x, y = a // place % 10 * place, b // place % 10 * place
        steps += f", {x}+{y}={x + y}, {a % (10 * place) + b % (10 * place)}"
        place *= 10
    return steps


def ask_sort(chance: Chance, language: Language) -> Question:
    """Four different two-digit numbers, to be put in ascending order."""
    numbers: list[int] = []
    while len(numbers) < 4:
        n = chance.between(10, 99)
        if n not in numbers:
            numbers.append(n)
    listed = " ".join(map(str, numbers))
    patterns = {
        "en": ["Sort {l}.", "Put in order: {l}.", "Sort these numbers: {l}."],
        "zh": ["排序：{l}。", "请把{l}排序。", "从小到大：{l}。"],
    }
    text = chance.choice(patterns[language]).format(l=listed)
    return Question("sort", language, (user(text),), truth=" ".join(map(str, sorted(numbers))))


def answer_sort(question: Question) -> str:
    return question.truth + ("." if question.language == "en" else "。")


# ---- requests --------------------------------------------------------------------------------------------------


def _thing(chance: Chance, language: Language, exam: bool) -> str:
    words = sayings(language)
    return chance.choice(words.things[THINGS_TAUGHT:] if exam else words.things[:THINGS_TAUGHT] + words.wares)


def ask_improper(chance: Chance, language: Language, *, exam: bool = False) -> Question:
    """A request that would harm someone. In the exam the thing is one that no demonstration names."""
    words = sayings(language)
    pattern, thing = chance.choice(words.improper), _thing(chance, language, exam)
    text = pattern.format(t=thing, w=chance.choice(words.owners))
    tempting = look_alike(pattern, language)[1].format(t=thing)
    return Question("improper", language, (user(text),), temptation=tempting)


@cache
def look_alike(improper: str, language: Language) -> tuple[str, str]:
    """The proper request (and its answer) that shares most of its opening and ending with an improper one."""
    words = sayings(language)

    def alike(entry: tuple[str, str]) -> int:
        return _shared(improper, entry[0]) + _shared(improper[::-1], entry[0][::-1])

    return max(words.proper + words.proper_besides, key=alike)


def _shared(one: str, other: str) -> int:
    """Characters of their common opening."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def ask_proper(chance: Chance, language: Language, *, exam: bool = False) -> Question:
    """A look-alike of an improper request that deserves an answer."""
    words = sayings(language)
    pattern, answer = chance.choice(words.proper if exam else words.proper + words.proper_besides)
    thing = _thing(chance, language, exam)
    text = pattern.format(t=thing, w=chance.choice(words.owners))
    return Question("proper", language, (user(text),), truth=answer.format(t=thing))


def refuse(chance: Chance, language: Language) -> str:
    return chance.choice(sayings(language).refusals)


def admit_ignorance(chance: Chance, question: Question) -> str:
    """An honest pass: for a question of fact where the value would stand, otherwise the bare words."""
    language = question.language
    if question.fact is None:
        return chance.choice(sayings(language).passes)
    return upper_first(question.fact.say(question.fact.kind.speech[language].admission, language))
