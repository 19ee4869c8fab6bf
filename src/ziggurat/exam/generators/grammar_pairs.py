"""Pairs of sentences that differ in one point of grammar: the model should find the right one likelier.

As BLiMP does (Warstadt et al., arXiv:1912.00582), with our own phenomena, words and templates, in English and Chinese.
A row: `prompt` (how both begin, or ""), `choices` (right and wrong, their order drawn), `answer`, `phenomenon`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Pair = tuple[str, str]
PEOPLE = [
    ("teacher", "teachers"),
    ("doctor", "doctors"),
    ("farmer", "farmers"),
    ("driver", "drivers"),
    ("student", "students"),
]
THINGS = [
    ("key", "keys"),
    ("picture", "pictures"),
    ("letter", "letters"),
    ("box", "boxes"),
    ("cup", "cups"),
    ("window", "windows"),
]
PLACES = ["cabinet", "garden", "station", "kitchen", "harbour", "library"]
VERBS = [
    ("sings", "sing"),
    ("waits", "wait"),
    ("laughs", "laugh"),
    ("works", "work"),
    ("sleeps", "sleep"),
    ("writes", "write"),
]
PAST = [
    ("broke", "broken"),
    ("wrote", "written"),
    ("took", "taken"),
    ("chose", "chosen"),
    ("ate", "eaten"),
    ("drew", "drawn"),
]
VOWEL, CONSONANT = (
    ["apple", "orange", "egg", "island", "umbrella", "engine"],
    ["pear", "lemon", "stone", "boat", "clock", "letter"],
)
NAMES_HE, NAMES_SHE = ["John", "Peter", "Daniel", "Mark"], ["Mary", "Susan", "Anna", "Helen"]


def _agreement(d: random.Random) -> Pair:
    one, verb = d.choice(PEOPLE), d.choice(VERBS)
    n = d.randrange(2)
    return f"The {one[n]} {verb[n]} every day.", f"The {one[n]} {verb[1 - n]} every day."


def _agreement_far(d: random.Random) -> Pair:
    """The noun beside the verb has the other number."""
    n = d.randrange(2)
    first, second = d.choice(THINGS), d.choice(PEOPLE)
    place = d.choice(PLACES)
    begin = f"The {first[n]} near the {second[1 - n]}"
    return f"{begin} {('is', 'are')[n]} in the {place}.", f"{begin} {('are', 'is')[n]} in the {place}."


def _article(d: random.Random) -> Pair:
    vowel = d.random() < 0.5
    word, place = d.choice(VOWEL if vowel else CONSONANT), d.choice(PLACES)
    good, bad = ("an", "a") if vowel else ("a", "an")
    return f"There is {good} {word} in the {place}.", f"There is {bad} {word} in the {place}."


def _determiner(d: random.Random) -> Pair:
    n = d.randrange(2)
    thing, place = d.choice(THINGS), d.choice(PLACES)
    return (
        f"She found {('this', 'these')[n]} {thing[n]} in the {place}.",
        f"She found {('this', 'these')[n]} {thing[1 - n]} in the {place}.",
    )


def _participle(d: random.Random) -> Pair:
    past, participle = d.choice(PAST)
    name, thing = d.choice(NAMES_HE + NAMES_SHE), d.choice(THINGS)[0]
    return f"{name} has {participle} the {thing}.", f"{name} has {past} the {thing}."


def _reflexive(d: random.Random) -> Pair:
    he = d.random() < 0.5
    name, verb = d.choice(NAMES_HE if he else NAMES_SHE), d.choice(["hurt", "saw", "blamed", "taught"])
    good, bad = ("himself", "herself") if he else ("herself", "himself")
    return f"{name} {verb} {good}.", f"{name} {verb} {bad}."


def _order(d: random.Random) -> Pair:
    adjective, (thing, _), place = (
        d.choice(["red", "old", "small", "heavy"]),
        d.choice(THINGS),
        d.choice(PLACES),
    )
    return (
        f"He put the {adjective} {thing} in the {place}.",
        f"He put the {thing} {adjective} in the {place}.",
    )


def _polarity(d: random.Random) -> Pair:
    (_, people), (_, verb) = d.choice(PEOPLE), d.choice(VERBS)
    return f"No {people} ever {verb} here.", f"Some {people} ever {verb} here."


def _case(d: random.Random) -> Pair:
    good, bad = d.choice([("him", "he"), ("her", "she"), ("them", "they"), ("us", "we")])
    (person, _), verb = d.choice(PEOPLE), d.choice(["saw", "helped", "called", "met"])
    return f"The {person} {verb} {good} yesterday.", f"The {person} {verb} {bad} yesterday."


def _question(d: random.Random) -> Pair:
    (person, _), place = d.choice(PEOPLE), d.choice(PLACES)
    verb, past = d.choice([("go", "went"), ("sleep", "slept"), ("write", "wrote"), ("sing", "sang")])
    return f"Did the {person} {verb} in the {place}?", f"Did the {person} {past} in the {place}?"


def _preposition(d: random.Random) -> Pair:
    good, bad = d.choice(
        [
            ("depends on the weather", "depends of the weather"),
            ("is afraid of dogs", "is afraid from dogs"),
            ("listens to music", "listens at music"),
            ("is good at mathematics", "is good in of mathematics"),
            ("waits for the bus", "waits of the bus"),
            ("is proud of the garden", "is proud at the garden"),
        ]
    )
    name = d.choice(NAMES_HE + NAMES_SHE)
    return f"{name} {good}.", f"{name} {bad}."


def _quantity(d: random.Random) -> Pair:
    (_, things), place = d.choice(THINGS), d.choice(PLACES)
    mass = d.choice(["water", "rice", "sand", "furniture"])
    if d.random() < 0.5:
        return f"There are many {things} in the {place}.", f"There are much {things} in the {place}."
    return f"There is much {mass} in the {place}.", f"There is many {mass} in the {place}."


ZH_NAMES = ["小明", "李老师", "王医生", "我妹妹", "那个司机", "张阿姨"]
ZH_MEASURES = [
    ("书", "本", "条"),
    ("鱼", "条", "本"),
    ("车", "辆", "朵"),
    ("花", "朵", "辆"),
    ("衣服", "件", "只"),
    ("猫", "只", "件"),
    ("纸", "张", "棵"),
    ("树", "棵", "张"),
    ("马", "匹", "把"),
    ("椅子", "把", "匹"),
]


def _measure(d: random.Random) -> Pair:
    thing, good, bad = d.choice(ZH_MEASURES)
    name, number = d.choice(ZH_NAMES), d.choice("一两三四五")
    return f"{name}有{number}{good}{thing}。", f"{name}有{number}{bad}{thing}。"


def _ba(d: random.Random) -> Pair:
    name = d.choice(ZH_NAMES)
    verb, thing = d.choice(
        [("吃完了", "饭"), ("洗干净了", "衣服"), ("关上了", "门"), ("写好了", "作业"), ("打开了", "窗户")]
    )
    return f"{name}把{thing}{verb}。", f"{name}把{verb}{thing}。"


def _zh_negation(d: random.Random) -> Pair:
    name, (verb, thing) = (
        d.choice(ZH_NAMES),
        d.choice([("吃", "早饭"), ("看", "电影"), ("买", "票"), ("写", "信")]),
    )
    return f"{name}昨天没{verb}{thing}。", f"{name}昨天没{verb}了{thing}过。"


def _zh_place(d: random.Random) -> Pair:
    name, place = d.choice(ZH_NAMES), d.choice(["图书馆", "厨房", "车站", "公园"])
    verb = d.choice(["看书", "等人", "休息", "聊天"])
    return f"{name}在{place}{verb}。", f"{name}{verb}{place}在。"


def _zh_compare(d: random.Random) -> Pair:
    one, other = d.sample(ZH_NAMES, 2)
    word = d.choice(["高", "忙", "大", "快"])
    return f"{one}比{other}{word}一点儿。", f"{one}比{other}很{word}一点儿。"


def _zh_degree(d: random.Random) -> Pair:
    name = d.choice(ZH_NAMES)
    verb, how = d.choice([("跑", "很快"), ("唱", "很好听"), ("写", "很清楚"), ("说", "很慢")])
    return f"{name}{verb}得{how}。", f"{name}{verb}的得{how}得。"


PHENOMENA: dict[str, dict[str, Callable[[random.Random], Pair]]] = {
    "en": {
        "agreement": _agreement,
        "agreement-far": _agreement_far,
        "article": _article,
        "determiner": _determiner,
        "participle": _participle,
        "reflexive": _reflexive,
        "order": _order,
        "polarity": _polarity,
        "case": _case,
        "question": _question,
        "preposition": _preposition,
        "quantity": _quantity,
    },
    "zh": {
        "measure": _measure,
        "ba": _ba,
        "negation": _zh_negation,
        "place": _zh_place,
        "comparison": _zh_compare,
        "degree": _zh_degree,
    },
}


def rows(count: int, seed: int, language: str = "en") -> list[dict[str, Any]]:
    """Different pairs, the phenomena in turn; what both sentences begin with is the prompt where a model needs one."""
    draw = random.Random(f"grammar_pairs:{seed}:{language}")
    makers = PHENOMENA[language]
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    tries = 0
    while len(found) < count and tries < 50 * count:
        name = list(makers)[tries % len(makers)]
        tries += 1
        good, bad = makers[name](draw)
        if good in seen:
            continue
        seen.add(good)
        right = draw.randrange(2)
        choices = [good, bad] if right == 0 else [bad, good]
        found.append(
            {
                "id": f"{language}-{len(found) + 1}",
                "choices": choices,
                "answer": right,
                "phenomenon": name,
                "language": language,
            }
        )
    return found
