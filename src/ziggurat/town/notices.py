"""Short passages to answer from: a notice of two or three facts, and questions that it answers or does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ziggurat.town.chance import Chance
from ziggurat.town.phrases import Language
from ziggurat.town.questions import Question, upper_first, user
from ziggurat.town.wordings import Use, table


@dataclass(frozen=True)
class Notice:
    """`values` has a value for every kind of fact; the text states those in `given`."""

    language: Language
    use: Use
    subject: str
    values: Mapping[str, str]
    given: tuple[str, ...]
    text: str

    def question(self, chance: Chance, asked: str) -> str:
        """The question for one kind of fact."""
        wordings = _facts(self.language)[asked]["held_out" if self.use == "exam" else "ask"]
        return str(chance.choice(wordings)).format(s=self.subject)

    def says(self, kind: str) -> str:
        """The answer that a notice with this fact gives."""
        return upper_first(_facts(self.language)[kind]["answer"].format(v=self.values[kind]))

    def answer(self, asked: str) -> str:
        """The right answer: the value that the text states, or that it does not."""
        return self.says(asked) if asked in self.given else str(table()["passage"]["silent"][self.language])

    def kinds(self, *, answered: bool) -> list[str]:
        """The kinds of fact that the text states, or those that it does not."""
        return [kind for kind in self.values if (kind in self.given) is answered]

    def ask(self, chance: Chance, asked: str) -> Question:
        """Notice and question in one message."""
        between = chance.choice([" " if self.language == "en" else "", "\n"])
        other = self.says(chance.choice([kind for kind in self.given if kind != asked]))
        hasty = self.answer("") if asked in self.given else self.says(asked)
        return Question(
            "passage",
            self.language,
            (user(self.text + between + self.question(chance, asked)),),
            truth=self.answer(asked),
            temptation=chance.choice([other, hasty]),
            value=self.values[asked] if asked in self.given else "",
        )


def write_notice(chance: Chance, language: Language, use: Use, names: Sequence[str]) -> Notice:
    """A notice about one subject; `names` are those of people who may be named in it."""
    block = table()["passage"][language]
    subjects, intros = (_list(block, key, use) for key in ("subjects", "intros"))
    subject, facts = chance.choice(subjects), _facts(language)
    given = chance.sample(list(facts), chance.between(2, 3))
    values = {kind: _value(kind, chance, language, names) for kind in facts}
    given.sort(key=lambda kind: kind != "time")  # only its sentence names the subject
    said = [chance.choice(facts[kind]["say"]).format(s=subject, v=values[kind]) for kind in given]
    if "time" not in given:
        said.insert(0, f"There is a {subject}." if language == "en" else f"有{subject}。")
    text = chance.choice(intros) + (" " if language == "en" else "").join(map(upper_first, said))
    return Notice(language, use, subject, values, tuple(given), text)


def _facts(language: Language) -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = table()["passage"][language]["facts"]
    return facts


def _list(block: Mapping[str, Any], key: str, use: Use) -> list[str]:
    """A list of the table; the exam has one of its own."""
    found: list[str] = block[f"{key}_held_out" if use == "exam" else key]
    return found


def _value(kind: str, chance: Chance, language: Language, names: Sequence[str]) -> str:
    block = table()["passage"][language]
    if kind == "time":
        when: str = block["time"]
        return when.format(d=chance.choice(block["days"]), h=chance.choice(block["hours"]))
    if kind == "place":
        return str(chance.choice(block["places"]))
    return str(chance.between(2, 99)) if kind == "price" else str(chance.choice(names))
