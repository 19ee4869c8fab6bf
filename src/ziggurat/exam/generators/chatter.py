"""Small talk by rule, to stand between two turns that matter: questions with given answers, none of them twice."""

from __future__ import annotations

import random

TALK: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (
        ("Which season comes after winter?", "Spring comes after winter."),
        ("What do bees make?", "Bees make honey."),
        ("How many legs does a spider have?", "A spider has eight legs."),
        ("What is ice made of?", "Ice is frozen water."),
        ("Which is heavier, a feather or a brick?", "A brick is heavier."),
        ("What do you call a baby dog?", "A baby dog is called a puppy."),
        ("In which direction does the sun rise?", "The sun rises in the east."),
        ("What is the opposite of hot?", "The opposite of hot is cold."),
        ("How many days does a week have?", "A week has seven days."),
        ("What do we use an umbrella for?", "An umbrella keeps the rain off."),
        ("Which animal says meow?", "A cat says meow."),
        ("What is bread made from?", "Bread is mostly made from flour and water."),
        ("How many wheels does a bicycle have?", "A bicycle has two wheels."),
        ("What do plants need to grow?", "Plants need light, water and air."),
        ("Which month comes after May?", "June comes after May."),
        ("What is a library for?", "A library lends books."),
        ("Where do fish live?", "Fish live in water."),
        ("What do you wear on your feet?", "Shoes and socks go on the feet."),
        ("Which meal is eaten in the morning?", "Breakfast is eaten in the morning."),
        ("What falls from clouds?", "Rain falls from clouds."),
        ("What do we breathe?", "We breathe air."),
        ("How many minutes does an hour have?", "An hour has sixty minutes."),
    ),
    "zh": (
        ("冬天之后是什么季节？", "冬天之后是春天。"),
        ("蜜蜂酿什么？", "蜜蜂酿蜂蜜。"),
        ("蜘蛛有几条腿？", "蜘蛛有八条腿。"),
        ("冰是什么变成的？", "冰是水冻成的。"),
        ("羽毛和砖头哪个重？", "砖头更重。"),
        ("太阳从哪边升起？", "太阳从东边升起。"),
        ("“热”的反义词是什么？", "“热”的反义词是“冷”。"),
        ("一个星期有几天？", "一个星期有七天。"),
        ("雨伞有什么用？", "雨伞可以挡雨。"),
        ("什么动物会“喵喵”叫？", "猫会“喵喵”叫。"),
        ("面包用什么做？", "面包主要用面粉和水做。"),
        ("自行车有几个轮子？", "自行车有两个轮子。"),
        ("植物生长需要什么？", "植物生长需要阳光、水和空气。"),
        ("五月之后是几月？", "五月之后是六月。"),
        ("图书馆是做什么的？", "图书馆可以借书。"),
        ("鱼生活在哪里？", "鱼生活在水里。"),
        ("脚上穿什么？", "脚上穿鞋和袜子。"),
        ("早上吃的那顿饭叫什么？", "早上吃的是早饭。"),
        ("云里会落下什么？", "云里会落下雨。"),
        ("我们呼吸什么？", "我们呼吸空气。"),
        ("一小时有多少分钟？", "一小时有六十分钟。"),
        ("什么东西用来写字？", "笔用来写字。"),
    ),
}


def talk(draw: random.Random, language: str, count: int) -> list[dict[str, str]]:
    """`count` different turns with given answers; at most as many as there are."""
    return [{"user": q, "assistant": a} for q, a in draw.sample(TALK[language], count)]
