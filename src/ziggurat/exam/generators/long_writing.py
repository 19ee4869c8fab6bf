"""Prompts for answers of 500 tokens and more, with given facts, points and names that a rule can look for."""

from __future__ import annotations

import random
from typing import Any

from ziggurat.errors import UsageError

PLACES: dict[str, tuple[tuple[str, tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]], ...]] = {
    "en": (
        (
            "mill",
            ("mill", "wheel", "grain"),
            (("the river", ("river", "stream")), ("the flour", ("flour", "bread"))),
        ),
        (
            "bridge",
            ("bridge", "arch"),
            (("its stones", ("stone", "stones")), ("the floods", ("flood", "floods"))),
        ),
        (
            "school",
            ("school", "pupils"),
            (("the teachers", ("teacher", "teachers")), ("the bell", ("bell",))),
        ),
        (
            "harbour",
            ("harbour", "harbor", "boats"),
            (("the fishers", ("fish", "fishers")), ("storms", ("storm", "storms"))),
        ),
        ("library", ("library", "books"), (("the readers", ("reader", "readers")), ("the roof", ("roof",)))),
        ("market", ("market", "stalls"), (("the sellers", ("seller", "sellers")), ("the music", ("music",)))),
        (
            "orchard",
            ("orchard", "trees"),
            (("the apples", ("apple", "apples")), ("the bees", ("bee", "bees"))),
        ),
        (
            "theatre",
            ("theatre", "theater", "stage"),
            (("the actors", ("actor", "actors")), ("the curtain", ("curtain",))),
        ),
    ),
    "zh": (
        ("磨坊", ("磨坊", "水车", "粮食"), (("河流", ("河",)), ("面粉", ("面粉", "面包")))),
        ("石桥", ("桥",), (("石头", ("石",)), ("洪水", ("洪水", "大水")))),
        ("学校", ("学校", "学生"), (("老师", ("老师", "教师")), ("钟声", ("钟",)))),
        ("港口", ("港口", "船"), (("渔民", ("渔民", "鱼")), ("风暴", ("风暴", "暴风")))),
        ("图书馆", ("图书馆", "书"), (("读者", ("读者",)), ("屋顶", ("屋顶",)))),
        ("集市", ("集市", "摊"), (("小贩", ("小贩", "摊贩")), ("音乐", ("音乐",)))),
        ("果园", ("果园", "果树"), (("苹果", ("苹果",)), ("蜜蜂", ("蜜蜂",)))),
        ("剧院", ("剧院", "舞台"), (("演员", ("演员",)), ("幕布", ("幕",)))),
    ),
}
"""(place, words of its topic, (point, words that touch it))."""
PEOPLE = {"en": ("Ida", "Bruno", "Mira", "Oskar", "Celia"), "zh": ("李梅", "王强", "陈雪", "周涛", "孙丽")}
KINDS = {
    "en": ("a story", "a chronicle", "a report for a newspaper", "a speech", "a letter to a friend"),
    "zh": ("一个故事", "一篇编年史", "一篇报道", "一篇演讲稿", "一封给朋友的信"),
}
SAID = {
    "en": "Write {kind} of at least 400 words about a {place}. The {place} was built in {year}, "
    "and its keeper is {name}. Write about {points}, and about what changed over the years. "
    "Do not change the given facts.",
    "zh": "请写{kind}，至少600字，内容是一座{place}。这座{place}建于{year}年，看管它的人是{name}。"
    "请写到{points}，以及这些年里的变化。不要改变给定的事实。",
}


def rows(count: int, seed: int, *, language: str = "en") -> list[dict[str, Any]]:
    """`count` rows for the metric `long_answer`. UsageError for an unknown language."""
    if language not in SAID:
        raise UsageError(f"long_writing: language is {language!r}; give en or zh.")
    draw = random.Random(f"long_writing:{seed}")
    found = []
    for number in range(count):
        place, topic, points = PLACES[language][number % len(PLACES[language])]
        kind = KINDS[language][number % len(KINDS[language])]
        name = draw.choice(PEOPLE[language])
        year = str(draw.randrange(1650, 1930))
        others = [one for one in PEOPLE[language] if one != name]
        join = "和" if language == "zh" else " and "
        keeper = "看管" if language == "zh" else "keeper"
        built = "建于" if language == "zh" else "built"
        found.append(
            {
                "id": str(number),
                "prompt": SAID[language].format(
                    kind=kind, place=place, year=year, name=name, points=join.join(p for p, _ in points)
                ),
                "topic": list(topic),
                "points": [list(words) for _, words in points] + [[name], [year]],
                "facts": [
                    {"about": built, "value": year, "kind": "year"},
                    {"about": keeper, "value": name, "others": others},
                ],
                "names": [name],
                "language": language,
                "kind": kind,
            }
        )
    return found
