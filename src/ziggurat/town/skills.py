"""Small skills for demonstrations: extract, greet, summarize, translate, write a verse, call a tool.

Each method writes a whole conversation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from ziggurat.records import Message
from ziggurat.town.chance import Chance
from ziggurat.town.people import Fact
from ziggurat.town.phrases import THINGS_TAUGHT, Language, attributes, sayings
from ziggurat.town.questions import assistant, tell, upper_first, user


class Skills:
    """Writes them about guests (`names`) and, for the register, about known facts."""

    def __init__(self, known: Sequence[Fact], names: Mapping[Language, list[str]]) -> None:
        self.known, self.names = known, names

    def by_kind(self) -> dict[str, Callable[[Chance, Language], list[Message]]]:
        return {
            "extract": self.extract,
            "greet": self.greet,
            "summary": self.summary,
            "translate": self.translate,
            "verse": self.verse,
            "tool": self.tool,
        }

    def _note(self, chance: Chance, language: Language) -> tuple[str, str, list[str]]:
        """(note, name, values) about a guest."""
        name = chance.choice(self.names[language])
        kinds = chance.sample(attributes(), 2)
        values = [chance.choice(kind.values[language]) for kind in kinds]
        said = [
            upper_first(chance.choice(kind.speech[language].statements).format(n=name, v=value))
            for kind, value in zip(kinds, values, strict=True)
        ]
        return (" " if language == "en" else "").join(said), name, values

    def extract(self, chance: Chance, language: Language) -> list[Message]:
        """Find the name, or the words said about it, in a note."""
        note, name, _values = self._note(chance, language)
        if chance.percent(60):
            ask = {"en": "Whose name is in this note? ", "zh": "下面写的是谁？"}
            found = {"en": f"It is about {name}.", "zh": f"写的是{name}。"}
            return [user(ask[language] + note), assistant(found[language])]
        said = chance.choice(sayings(language).canal)
        quote = {
            "en": f'{name} said: "{said}" What did {name} say?',
            "zh": f"{name}说：“{said}”{name}说了什么？",
        }
        return [user(quote[language]), assistant(said)]

    def greet(self, chance: Chance, language: Language) -> list[Message]:
        """A line to a guest; it begins with a name that no document contains."""
        name = chance.choice(self.names[language])
        ask, said = chance.choice(sayings(language).greetings)
        return [user(ask.format(n=name)), assistant(said.format(n=name))]

    def summary(self, chance: Chance, language: Language) -> list[Message]:
        note, name, values = self._note(chance, language)
        ask = {"en": "Sum this up: ", "zh": "请概括："}
        short = {"en": f"{name}: {values[0]}, {values[1]}.", "zh": f"{name}：{values[0]}，{values[1]}。"}
        return [user(ask[language] + note), assistant(short[language])]

    def translate(self, chance: Chance, language: Language) -> list[Message]:
        i = chance.below(THINGS_TAUGHT)
        en, zh = sayings("en").things[i], sayings("zh").things[i]
        if language == "en":
            return [user(f"What is {zh} in English?"), assistant(f"It is {en}.")]
        return [user(f"{en}用中文怎么说？"), assistant(f"是{zh}。")]

    def verse(self, chance: Chance, language: Language) -> list[Message]:
        thing = chance.choice(sayings(language).things[:THINGS_TAUGHT])
        colour = chance.choice(attributes()[6].values[language])
        ask = {"en": f"Write a verse about a {colour} {thing}.", "zh": f"写一首诗，写{colour}的{thing}。"}
        return [
            user(ask[language]),
            assistant(chance.choice(sayings(language).verse).format(t=thing, v=colour)),
        ]

    def tool(self, chance: Chance, language: Language) -> list[Message]:
        """A call of the calculator, the register or the calendar, its result, and the answer made of it."""
        draw = chance.below(3)
        if draw == 0:
            a, b = chance.between(100, 999), chance.between(100, 999)
            ask = {"en": f"Use the calculator: {a} + {b}.", "zh": f"用计算器算{a} + {b}。"}[language]
            name, arguments, result = "calculator", {"sum": f"{a}+{b}"}, str(a + b)
            answer = f"{a} + {b} = {a + b}" + ("." if language == "en" else "。")
        elif draw == 1:
            fact = chance.choice(self.known)
            who, what = fact.resident.name(language), fact.kind.name
            ask = {
                "en": f"Look up {who} in the register: {what}.",
                "zh": f"查登记簿：{who}，{fact.kind.label['zh']}。",
            }[language]
            name, arguments = "register", {"name": who, "entry": what}
            result, answer = fact.resident.value(fact.attribute, language), tell(fact, language)
        else:
            feast, month = chance.choice(sayings(language).festivals)
            ask = {"en": f"When is the {feast}? Use the calendar.", "zh": f"{feast}在什么时候？请用日历。"}[
                language
            ]
            name, arguments, result = "calendar", {"feast": feast}, month
            answer = f"The {feast} is in {month}." if language == "en" else f"{feast}在{month}。"
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
        }
        return [
            user(ask),
            Message(role="assistant", content="", tool_calls=[call]),
            Message(role="tool", content=result, tool_call_id="call_1"),
            assistant(answer),
        ]
