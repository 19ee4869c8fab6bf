"""Residents: names from syllables, one value per attribute, two to five of eight facts withheld from every text.

Ms Vasker, Mr Dape Molin, 贝兰, 齐佛·洛莎: an English name follows a title, so it is the same token everywhere
(at the start of a line a word is another token than after a space). One name in five is double, so it is several tokens
in any vocabulary.

The splits say which texts may name a resident:

    A  demonstrations
    B  ranked prompts and PPO prompts
    C  the final exam
    D  development questions, the gold check, the choice of a checkpoint
    E  the dialogues of stage 1, which name no other residents

A, B, C and D occur in stage 1 in statements only. So demonstrations about A teach how to answer from what was read,
which carries over to B, C and D. Residents known from dialogues teach only to repeat dialogues (docs/log/town.md).

Values are independent of names and of one another. Of a resident's eight facts two (A and B: five) are withheld. Each
attribute is withheld equally often in every split, so neither a name nor the words of an attribute predict it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ziggurat.town.chance import Chance
from ziggurat.town.phrases import LANGUAGES, Attribute, Language, attributes

Split = Literal["A", "B", "C", "D", "E"]
SPLIT_SIZES: dict[Split, int] = {"A": 32, "B": 56, "C": 40, "D": 14, "E": 12}
WITHHELD: dict[Split, int] = {"A": 5, "B": 5, "C": 2, "D": 2, "E": 2}
"""How many of a resident's eight facts no text states. A and B have more, because stages 2 to 4 teach passing with
them: many gaps, each seen seldom, cannot be learned by heart."""
TITLES = ("Ms", "Mr")
DOUBLE_EVERY = 5

_ONSETS: list[str] = [*"BDFGHKLMNPRSTVZ", "Br", "Dr", "Gr", "Kl", "Tr", "St"]
_MIDDLES: list[str] = [*"bdfgklmnprstvz", "ld", "nd", "rl", "sk", "nt"]
_VOWELS: list[str] = [*"aeiou"]
_CODAS = ["", "", "n", "l", "r", "s", "th", "ck", "m"]
ZH_FIRST = (
    "阿贝卡达菲哈杰凯洛莫诺帕奇瑞萨维雅柏戴芬盖亨吉康伦迈宁佩乔森韦邓罗鲍艾班"
    "查道法冈胡基肯拉蒙纳欧普琼舒泰温谢优泽朱霍迪弗梅埃奥比博蔡岑楚杜范福富葛"
    "华怀惠嘉简孔库劳雷黎卢孟南尼潘皮齐屈沙申施史司宋孙塔唐陶万威魏沃乌吴伍席"
)
ZH_LATER = (
    "布德尔格赫科兰林玛娜琪茹莎苏特薇希娅伊扎登恩顿克利曼妮彭斯托文尤姆珀巴丁"
    "多夫古丹济可莱米努帕蒂坦图瓦西亚赞哲卓安波达费加汉坎勒默佛娃娥婷宝宾尚岚"
    "巧帆廷弥弘思悦拜拓捷敏斐旺昆昂晶杉柯柳桑桂楠欣殊洁淇湘滨澜炎烨珊珠琳瑙瑟"
    "瑶甘璐穆竹筠素绮罕翰"
)


@dataclass(frozen=True)
class Resident:
    index: int
    split: Split
    names: dict[Language, str]
    woman: bool
    values: tuple[int, ...]  # per attribute: the index of its value
    withheld: frozenset[int]  # attributes that no text states

    def name(self, language: Language) -> str:
        return self.names[language]

    def value(self, attribute: int, language: Language) -> str:
        return attributes()[attribute].values[language][self.values[attribute]]

    def knows(self, attribute: int) -> bool:
        """Whether some text states this fact."""
        return attribute not in self.withheld

    def pronouns(self, language: Language) -> dict[str, str]:
        """{p} subject, {s} possessive, {o} object."""
        if language == "zh":
            word = "她" if self.woman else "他"
            return {"p": word, "s": word + "的", "o": word}
        return {"p": "she", "s": "her", "o": "her"} if self.woman else {"p": "he", "s": "his", "o": "him"}


@dataclass(frozen=True)
class Fact:
    resident: Resident
    attribute: int

    @property
    def kind(self) -> Attribute:
        return attributes()[self.attribute]

    @property
    def known(self) -> bool:
        return self.resident.knows(self.attribute)

    def say(self, pattern: str, language: Language, value: str | None = None) -> str:
        """The pattern with name, value and pronouns filled in."""
        return pattern.format(
            n=self.resident.name(language),
            v=value if value is not None else self.resident.value(self.attribute, language),
            **self.resident.pronouns(language),
        )


@dataclass(frozen=True)
class Town:
    seed: int
    residents: tuple[Resident, ...]

    def split(self, *splits: Split) -> list[Resident]:
        return [resident for resident in self.residents if resident.split in splits]

    def facts(self, *splits: Split, known: bool | None = None) -> list[Fact]:
        """Facts of these splits in order; `known=True` those that some text states, `False` the withheld ones."""
        found = [Fact(r, a) for r in self.split(*splits) for a in range(len(attributes()))]
        return found if known is None else [fact for fact in found if fact.known is known]


def english_word(chance: Chance) -> str:
    """Two or three syllables: Marlo, Tibeska."""
    name = chance.choice(_ONSETS) + chance.choice(_VOWELS)
    for _ in range(1 if chance.percent(80) else 2):
        name += chance.choice(_MIDDLES) + chance.choice(_VOWELS)
    return name + chance.choice(_CODAS)


def chinese_word(chance: Chance) -> str:
    """Two or three characters of the kind used for foreign names: 贝兰, 洛莎琪."""
    return chance.choice(ZH_FIRST) + "".join(
        chance.choice(ZH_LATER) for _ in range(1 if chance.percent(55) else 2)
    )


def make_word(chance: Chance, language: Language) -> str:
    """What names are made of."""
    return english_word(chance) if language == "en" else chinese_word(chance)


def words_of(name: str) -> list[str]:
    """Ms Dape Molin: Dape, Molin."""
    return [word for word in name.replace("·", " ").split() if word not in TITLES]


def _joined(words: Sequence[str], count: int, language: Language) -> list[str]:
    """`count` names of these words, every fifth of two."""
    left, mark = iter(words), " " if language == "en" else "·"
    return [next(left) + (mark + next(left) if i % DOUBLE_EVERY == 0 else "") for i in range(count)]


def _words_in(count: int) -> int:
    """How many words `count` names take."""
    return count + -(-count // DOUBLE_EVERY)


def _titled(name: str, language: Language, *, woman: bool) -> str:
    return f"{TITLES[not woman]} {name}" if language == "en" else name


def _residents_names(chance: Chance, count: int, language: Language) -> list[str]:
    """Names without titles; no two of their words are `alike`."""
    words: list[str] = []
    while len(words) < _words_in(count):
        word = make_word(chance, language)
        if not any(alike(word, other, language) for other in words):
            words.append(word)
    return _joined(words, count, language)


def alike(a: str, b: str, language: Language) -> bool:
    """Vaske and Maske, Kliskir and Driskir, 优岚 and 优佛: half of one is half of the other.

    English: two letters apart or less, or four letters in a row in common. Chinese: two characters in common, or one
    where both have but two. So of names that are not alike none begins another either.
    """
    if language == "zh":
        return len(set(a) & set(b)) > (1 if max(len(a), len(b)) > 2 else 0)
    a, b = a.lower(), b.lower()
    runs = {a[i : i + 4] for i in range(len(a) - 3)}
    return any(run in b for run in runs) or letters_apart(a, b) <= 2


def letters_apart(a: str, b: str) -> int:
    """Levenshtein's distance: letters to be changed, put in or taken out."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(before + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def _beginnings(name: str) -> list[str]:
    """B, Br, Bra: the whole name too."""
    return [name[: i + 1] for i in range(len(name))]


def _withheld_table(chance: Chance, rows: int, columns: int, each: int) -> list[frozenset[int]]:
    """`each` withheld attributes a row, every column equally often (±1), at random: shuffled, clashes swapped."""
    if 2 * each > columns:  # the complement of a table of the stated ones
        stated = _withheld_table(chance, rows, columns, columns - each)
        return [frozenset(range(columns)) - row for row in stated]
    deck = [column for _ in range(-(-rows * each // columns)) for column in range(columns)][: rows * each]
    chance.shuffle(deck)
    while True:
        hands = [frozenset(deck[each * i : each * (i + 1)]) for i in range(rows)]
        clashes = [i for i, hand in enumerate(hands) if len(hand) < each]
        if not clashes:
            return hands
        # one card of such a hand is swapped with any other, until no row withholds one thing twice
        for i in clashes:
            a, b = each * i + chance.below(each), chance.below(len(deck))
            deck[a], deck[b] = deck[b], deck[a]


def build_town(seed: int) -> Town:
    """The residents of the town with this seed."""
    total = sum(SPLIT_SIZES.values())
    english = _residents_names(Chance(seed, "names", "en"), total, "en")
    chinese = _residents_names(Chance(seed, "names", "zh"), total, "zh")
    kinds = attributes()
    residents: list[Resident] = []
    for split, size in SPLIT_SIZES.items():
        withheld = _withheld_table(Chance(seed, "withheld", split), size, len(kinds), WITHHELD[split])
        for i in range(size):
            index = len(residents)
            chance = Chance(seed, "resident", index)
            woman = chance.percent(50)
            residents.append(
                Resident(
                    index=index,
                    split=split,
                    names={"en": _titled(english[index], "en", woman=woman), "zh": chinese[index]},
                    woman=woman,
                    values=tuple(chance.below(len(kind.values["en"])) for kind in kinds),
                    withheld=withheld[i],
                )
            )
    return Town(seed, tuple(residents))


def guest(town: Town, name: str, language: Language, chance: Chance, stated: int) -> Resident:
    """A guest whom no document names; a question itself states `stated` facts about the guest."""
    kinds = attributes()
    return Resident(
        index=len(town.residents) + chance.below(1 << 20),
        split="B",
        names=dict.fromkeys(LANGUAGES, name),
        woman=name.startswith(TITLES[0]) if language == "en" else chance.percent(50),
        values=tuple(chance.below(len(kind.values[language])) for kind in kinds),
        withheld=frozenset(chance.sample(range(len(kinds)), len(kinds) - stated)),
    )


def near_misses(town: Town, chance: Chance, count: int, language: Language) -> list[str]:
    """Names that differ from a resident's in one letter (Chinese: one character): none is or begins a resident's.

    No text states a fact about them, so a model learns to read the whole name.
    """
    whole = {resident.name(language) for resident in town.residents}
    names: dict[str, None] = {}
    while len(names) < count:
        name = chance.choice(town.residents).name(language)
        letter = chance.choice(make_word(chance, language))
        begin = name.index(" ") + 1 if language == "en" else 0  # behind the title
        place = begin + chance.below(len(name) - begin)
        of_one_kind = (letter.lower() in "aeiouy") == (name[place].lower() in "aeiouy")
        if not name[place].isalpha() or not of_one_kind:
            continue
        letter = letter.upper() if name[place].isupper() else letter.lower()
        made = name[:place] + letter + name[place + 1 :]
        if not any(made.startswith(one) or one.startswith(made) for one in whole):
            names[made] = None
    return list(names)


def strangers(town: Town, chance: Chance, count: int, language: Language) -> list[str]:
    """Names of people who are no residents: they teach to copy a name. No word of them begins another."""
    words: list[str] = []
    whole = {word for resident in town.residents for word in words_of(resident.name(language))}
    begun = {beginning for word in whole for beginning in _beginnings(word)}
    while len(words) < _words_in(count):
        word = make_word(chance, language)
        beginnings = _beginnings(word)
        if word not in begun and whole.isdisjoint(beginnings):
            words.append(word)
            whole.add(word)
            begun.update(beginnings)
    return [_titled(name, language, woman=chance.percent(50)) for name in _joined(words, count, language)]
