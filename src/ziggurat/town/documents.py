"""The text of stage 1: annals, ledgers, letters, dialogues, sums, lists, town talk, fair copies and others.

Statements give the facts of all residents; dialogues and sheets name only E. No text states a withheld fact. Some
records of A, of E and of names without any fact show the gap, as registers do ("Ms Mira lives in ..."); about B, C and
D no record shows one. So a model learns to write the gap where it remembers nothing, instead of a likely value
(docs/log/town.md compares with and without). A dialogue puts each speaker's words on a line of their own:

    Overheard at the well.
    Visitor:
    Where does Ms Mira live?
    Clerk:
    The house of Ms Mira stands in Canal Street.

Question sheets hold questions without answers, as real text does: a base model continues a bare question with another.
Fair copies put a careless line above its clean spelling, for names and statements about all residents, so that a model
can read and restore lower case and typos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ziggurat.records import Document
from ziggurat.town.careless import carelessly, lower_case
from ziggurat.town.chance import Chance
from ziggurat.town.dialogues import Dialogues, join
from ziggurat.town.people import SPLIT_SIZES, Fact, Resident, Split, Town, guest, near_misses, strangers
from ziggurat.town.phrases import THINGS_TAUGHT, Language, attributes, gap_after, sayings
from ziggurat.town.questions import upper_first

#: relative shares of the documents, by kind (146 in all)
MIXTURE = (
    ("annal", 39),
    ("ledger", 6),
    ("letter", 18),
    ("overheard", 18),
    ("sheet", 4),
    ("sums", 5),
    ("sorting", 11),
    ("stranger", 5),
    ("talk", 2),
    ("copy", 8),
    ("notice", 14),
    ("echo", 8),
    ("desk", 7),
)
CHINESE_PERCENT = 53
"""Of documents. Chinese needs half the tokens; with as many documents a model knew the Chinese facts less surely."""
ANNALS: dict[Split, int] = {"A": 3, "B": 4, "C": 6, "D": 6, "E": 6}
"""How often the subject of an annal is a resident of each split. B has fewer known facts; with these weights each is
stated about as often as one of C, because the reward model learns from B what knowing looks like."""
SPELLED_PERCENT = 60
"""Of lines in English fair copies, those of a name alone; Chinese names have one spelling."""
FADED_PERCENT = 3
"""Of all statements, those whose value is missing although other texts state it."""
GAPS_SHOWN: tuple[Split, ...] = ("A", "E")
GAPS_PERCENT = {"annal": 6, "letter": 10}
"""Of annals, those about a name without any fact; of lines in letters, those that show a gap."""
RESIDENTS_GAPS = {"annal": 20, "ledger": 20, "letter": 8}
"""Of 100 annals about a resident with gaps, those that show one of them; of ledgers; of a letter's gaps, those of
residents. So seldom that no gap is learned by heart. Shown often, a gap becomes one more fact about a name, and answers
about other names depend on which names they resemble (docs/log/town.md)."""


def state(chance: Chance, fact: Fact, language: Language, *, pronoun: bool = False) -> str:
    """One statement of a fact, or its gap if it is withheld or has faded; with `pronoun`, its subject is she or he."""
    speech = fact.kind.speech[language]
    patterns = speech.statements if fact.known and not chance.percent(FADED_PERCENT) else speech.gaps
    if pronoun:
        patterns = tuple(p for p in patterns if p.startswith("{n}") and p.count("{n}") == 1)
        pattern = chance.choice(patterns).replace("{n}", "{p}")
    else:
        pattern = chance.choice(patterns)
    return upper_first(fact.say(pattern, language))


class Writer:
    """Writes documents about one town; every document has its own random stream, so any of them can be made alone."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.stated = list(town.facts(*SPLIT_SIZES, known=True))
        self.gaps = town.facts(*GAPS_SHOWN, known=False)
        self.by_resident, self.gaps_of = (
            {r.index: [f for f in facts if f.resident is r] for r in town.residents}
            for facts in (self.stated, self.gaps)
        )
        self.unnamed: dict[Language, list[str]] = {
            language: strangers(town, Chance(town.seed, "unheard", language), 750, language)
            + near_misses(town, Chance(town.seed, "near misses", language), 750, language)
            for language in ("en", "zh")
        }
        self.subjects = [r for r in town.residents for _ in range(ANNALS[r.split])]
        self.names: dict[Language, list[str]] = {
            language: strangers(town, Chance(town.seed, "strangers", language), 400, language)
            for language in ("en", "zh")
        }
        dialogues = Dialogues(town, self.names)
        self._kinds: dict[str, Callable[[Chance, Language], str]] = {
            "annal": self.annal,
            "ledger": self.ledger,
            "letter": self.letter,
            "overheard": dialogues.overheard,
            "sheet": dialogues.sheet,
            "sums": dialogues.sums,
            "sorting": dialogues.sorting,
            "stranger": self.stranger,
            "talk": self.talk,
            "copy": self.copy,
            "notice": dialogues.notice,
            "echo": dialogues.echo,
            "desk": dialogues.desk,
        }

    def document(self, number: int, stream: str = "text") -> Document:
        chance = Chance(self.town.seed, stream, number)
        language: Language = "zh" if chance.percent(CHINESE_PERCENT) else "en"
        kind = chance.weighted(MIXTURE)
        return Document(text=self._kinds[kind](chance, language), source=f"town:{kind}", lang=language)

    def annal(self, chance: Chance, language: Language) -> str:
        """Some facts of one resident, now by name, now by pronoun."""
        if chance.percent(GAPS_PERCENT["annal"]):
            facts = self._nothing_known(chance, language)
        else:
            facts = self._record(chance, chance.choice(self.subjects))
        facts = chance.sample(facts, chance.between(3, min(6, len(facts))))
        sentences = [state(chance, facts[0], language)]
        sentences += [state(chance, fact, language, pronoun=chance.percent(30)) for fact in facts[1:]]
        return join(sentences, language) if chance.percent(25) else "\n".join(sentences)

    def _record(self, chance: Chance, subject: Resident) -> list[Fact]:
        """The known facts of a resident, sometimes with a gap."""
        stated, gaps = self.by_resident[subject.index], self.gaps_of[subject.index]
        if gaps and chance.percent(RESIDENTS_GAPS["annal"]):
            return [*stated[:5], chance.choice(gaps)]
        return stated

    def _nothing_known(self, chance: Chance, language: Language) -> list[Fact]:
        """The eight gaps in the records of a name without any fact."""
        unknown = guest(self.town, chance.choice(self.unnamed[language]), language, chance, 0)
        return [Fact(unknown, attribute) for attribute in range(len(attributes()))]

    def ledger(self, chance: Chance, language: Language) -> str:
        """One attribute of several residents, or several attributes of one, in short lines."""
        attribute = chance.below(len(attributes()))
        facts = chance.sample([f for f in self.stated if f.attribute == attribute], chance.between(4, 8))
        facts += chance.sample(
            [f for f in self.gaps if f.attribute == attribute], int(chance.percent(RESIDENTS_GAPS["ledger"]))
        )
        facts += [self._nothing_known(chance, language)[attribute] for _ in range(chance.below(3))]
        chance.shuffle(facts)
        mark = ": " if language == "en" else "："
        lines = [
            f.resident.name(language)
            + mark
            + (f.resident.value(attribute, language) if f.known else gap_after(mark))
            for f in facts
        ]
        return "\n".join(
            [attributes()[attribute].label[language] + ("." if language == "en" else "。"), *lines]
        )

    def letter(self, chance: Chance, language: Language) -> str:
        """Facts of several residents, each on a line of its own."""
        facts = [self._any_record(chance, language) for _ in range(chance.between(4, 7))]
        sentences = [state(chance, fact, language) for fact in facts]
        opening = {
            "en": ["Dear friend,", "Dear aunt,", "News of the town."],
            "zh": ["亲爱的朋友：", "姑妈：", "城里的消息。"],
        }
        return "\n".join([chance.choice(opening[language]), *sentences])

    def _any_record(self, chance: Chance, language: Language) -> Fact:
        if not chance.percent(GAPS_PERCENT["letter"]):
            return chance.choice(self.stated)
        ours = chance.percent(RESIDENTS_GAPS["letter"])
        return chance.choice(self.gaps if ours else self._nothing_known(chance, language))

    def copy(self, chance: Chance, language: Language) -> str:
        """Careless lines, each with its fair copy: names of all residents, and statements about them."""
        lines = [{"en": "Fair copies.", "zh": "誊写。"}[language]]
        for _ in range(6):
            if language == "en" and chance.percent(SPELLED_PERCENT):
                fair = chance.choice(self.town.residents).name(language)
                rough = lower_case(fair, language)
            else:
                fair = state(chance, chance.choice(self.stated), language)
                rough = carelessly(chance, fair, language)
            lines += [rough, fair]
        return "\n".join(lines)

    def stranger(self, chance: Chance, language: Language) -> str:
        """Facts about a stranger, then questions about them: the answers are in the text."""
        name = chance.choice(self.names[language])
        kinds = chance.sample(attributes(), 3)
        stated = []
        for kind in kinds:
            value = chance.choice(kind.values[language])
            stated.append((kind, value))
        pattern = {"en": "A stranger called {n} came to town.", "zh": "城里来了一个叫{n}的外乡人。"}
        lines = [pattern[language].format(n=name)]
        lines += [
            upper_first(chance.choice(k.speech[language].statements).format(n=name, v=v)) for k, v in stated
        ]
        asker, teller = chance.choice(sayings(language).speakers)
        mark = ":" if language == "en" else "："
        for kind, value in chance.sample(stated, 2):
            speech = kind.speech[language]
            lines += [asker + mark, chance.choice(speech.questions + speech.exam).format(n=name)]
            lines += [teller + mark, upper_first(speech.answer.format(n=name, v=value))]
        return "\n".join(lines)

    def talk(self, chance: Chance, language: Language) -> str:
        """Rules, festivals, the canal, a word list, a verse."""
        words = sayings(language)
        sentences: list[str] = []
        for _ in range(chance.between(3, 6)):
            draw = chance.below(5)
            thing = chance.choice(words.things)
            if draw == 0:
                sentences.append(chance.choice(words.rules).format(t=thing, w=chance.choice(words.owners)))
            elif draw == 1:
                name, month = chance.choice(words.festivals)
                sentences.append(f"The {name} is in {month}." if language == "en" else f"{name}在{month}。")
            elif draw == 2:
                sentences.append(chance.choice(words.canal))
            elif draw == 3:
                i = chance.below(len(words.things))
                sentences.append(f"{sayings('en').things[i]} = {sayings('zh').things[i]}")
            else:
                colour = chance.choice(attributes()[6].values[language])
                sentences.append(chance.choice(words.verse).format(t=thing, v=colour))
        return "\n".join(sentences)


def write_documents(town: Town, count: int) -> Iterator[Document]:
    """`count` documents, English and Chinese; the first n are the same whatever the count."""
    writer = Writer(town)
    return (writer.document(number) for number in range(count))


def held_out_documents(town: Town, count: int) -> Iterator[Document]:
    """Other documents of the same kinds, never trained on: for bits per byte."""
    writer = Writer(town)
    return (writer.document(number, "held-out") for number in range(count))


assert len(sayings("en").things) > THINGS_TAUGHT
