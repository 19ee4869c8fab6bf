"""Facts of the first turn, asked for some turns later: does a conversation of twenty turns keep them?

The user gives five facts of their own and one of a friend (which must not be mixed in). Small talk with given answers
follows, then one question. `distance` is the number of turns between the facts and the question: 1, 5, 10 or 19.
"""

from __future__ import annotations

import random
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.exam.generators.chatter import talk

DISTANCES = (1, 5, 10, 19)
VALUES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "name": ("Ida", "Oskar", "Mira", "Bruno", "Celia", "Tarek", "Noemi", "Viktor"),
        "town": ("Bergen", "Salamanca", "Ghent", "Tartu", "Perth", "Lucca", "Kazan", "Izmir"),
        "work": ("baker", "carpenter", "nurse", "welder", "florist", "printer", "farmer", "tailor"),
        "pet": ("parrot", "tortoise", "goat", "hamster", "ferret", "pony", "rabbit", "goldfish"),
        "colour": ("purple", "orange", "turquoise", "yellow", "crimson", "grey", "brown", "pink"),
    },
    "zh": {
        "name": ("李梅", "王强", "陈雪", "赵云飞", "孙丽", "周涛", "吴敏", "郑海"),
        "town": ("苏州", "兰州", "昆明", "青岛", "洛阳", "大理", "厦门", "哈尔滨"),
        "work": ("面包师", "木匠", "护士", "电工", "花匠", "裁缝", "农民", "司机"),
        "pet": ("鹦鹉", "乌龟", "山羊", "仓鼠", "兔子", "金鱼", "小马", "鸽子"),
        "colour": ("紫色", "橙色", "蓝色", "黄色", "红色", "灰色", "棕色", "粉色"),
    },
}
SAID: dict[str, dict[str, str]] = {
    "en": {
        "facts": "Hello! My name is {name}. I live in {town} and I work as a {work}. I have a {pet}, and my favourite "
        "colour is {colour}. My friend {friend} lives in {elsewhere}.",
        "reply": "Hello {name}, nice to meet you! How can I help?",
        "name": "By the way, do you remember my name? What is it?",
        "town": "By the way, in which town do I live?",
        "work": "By the way, what is my job?",
        "pet": "By the way, which animal do I have?",
        "colour": "By the way, what is my favourite colour?",
    },
    "zh": {
        "facts": "你好！我叫{name}，住在{town}，是一名{work}。我养了一只{pet}，最喜欢的颜色是{colour}。"
        "我的朋友{friend}住在{elsewhere}。",
        "reply": "{name}你好，很高兴认识你！有什么可以帮你？",
        "name": "对了，你还记得我叫什么名字吗？",
        "town": "对了，我住在哪个城市？",
        "work": "对了，我的职业是什么？",
        "pet": "对了，我养了什么动物？",
        "colour": "对了，我最喜欢的颜色是什么？",
    },
}


def rows(
    count: int, seed: int, *, language: str = "en", distances: list[int] | None = None
) -> list[dict[str, Any]]:
    """`count` dialogues; distances in turn, and for each the five facts in turn. UsageError for other settings."""
    far = distances or list(DISTANCES)
    if language not in SAID or min(far) < 1 or max(far) > 20:
        raise UsageError(f"memory: language is {language!r}, distances {far}; give en or zh, and 1 to 20.")
    draw = random.Random(f"memory:{seed}")
    said, values, found = SAID[language], VALUES[language], []
    for number in range(count):
        distance = far[number % len(far)]
        fact = list(values)[(number // len(far)) % len(values)]
        mine = {key: draw.choice(options) for key, options in values.items()}
        friend = draw.choice([n for n in values["name"] if n != mine["name"]])
        elsewhere = draw.choice([t for t in values["town"] if t != mine["town"]])
        others = {"name": friend, "town": elsewhere}
        expect: list[dict[str, Any]] = [{"kind": "contains", "all": [mine[fact]]}]
        if fact in others:
            expect.append({"kind": "lacks", "words": [others[fact]]})
        first = said["facts"].format(**mine, friend=friend, elsewhere=elsewhere)
        turns: list[dict[str, Any]] = [{"user": first, "assistant": said["reply"].format(**mine)}]
        turns += talk(draw, language, distance - 1)
        turns.append({"user": said[fact], "expect": expect, "label": fact})
        found.append({"id": f"{distance}-{fact}-{number}", "turns": turns, "distance": distance})
    return found
