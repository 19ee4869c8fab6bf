"""Sums and word problems with several steps, their steps written out, in English and Chinese: the truth is computed.

`sums`: expressions of two to four numbers. `problems`: stories of two to four steps from templates, with our own names
and things. `steps` is the chain of thought, one step a sentence; `answer` the number; `depth` how many steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

NAMES = {
    "en": ["Ada", "Ben", "Carla", "Dan", "Ella", "Finn", "Grace", "Hugo"],
    "zh": ["小红", "小刚", "李华", "王芳", "小军", "阿明", "丽丽", "小雨"],
}
THINGS = {
    "en": ["apples", "books", "stamps", "pencils", "eggs", "marbles", "cards", "shells"],
    "zh": ["苹果", "本子", "邮票", "铅笔", "鸡蛋", "弹珠", "卡片", "贝壳"],
}
UNITS = {
    "苹果": "个",
    "本子": "个",
    "邮票": "张",
    "铅笔": "支",
    "鸡蛋": "个",
    "弹珠": "颗",
    "卡片": "张",
    "贝壳": "个",
}
Told = tuple[str, list[str], int]


def sums(count: int, seed: int, language: str = "en") -> list[dict[str, Any]]:
    """Expressions; a quarter each of one, two, three steps and one step with larger numbers."""
    draw = random.Random(f"sums:{seed}")
    found = []
    for number in range(count):
        depth = number % 4
        found.append(_sum(draw, depth, language) | {"id": str(number + 1), "language": language})
    return found


def _sum(draw: random.Random, kind: int, language: str) -> dict[str, Any]:
    if kind == 0:
        a, b = draw.randint(2, 20), draw.randint(2, 20)
        sign = draw.choice("+-")
        a, b = (max(a, b), min(a, b)) if sign == "-" else (a, b)
        return _row(
            f"{a} {sign} {b}", [f"{a} {sign} {b} = {_do(a, sign, b)}."], _do(a, sign, b), "1 small", language
        )
    if kind == 1:
        sign = draw.choice("+-*")
        a, b = (
            (draw.randint(11, 30), draw.randint(3, 9))
            if sign == "*"
            else (draw.randint(100, 999), draw.randint(100, 999))
        )
        a, b = (max(a, b), min(a, b)) if sign == "-" else (a, b)
        return _row(
            f"{a} {sign} {b}", [f"{a} {sign} {b} = {_do(a, sign, b)}."], _do(a, sign, b), "1 large", language
        )
    a, b, c, d = (draw.randint(2, 12) for _ in range(4))
    first = a * b
    if kind == 2:
        return _row(
            f"{a} * {b} + {c}",
            [f"{a} * {b} = {first}.", f"{first} + {c} = {first + c}."],
            first + c,
            "2",
            language,
        )
    second = c * d
    high, low = max(first, second), min(first, second)
    pairs = (a, b, c, d) if first >= second else (c, d, a, b)
    steps = [
        f"{pairs[0]} * {pairs[1]} = {high}.",
        f"{pairs[2]} * {pairs[3]} = {low}.",
        f"{high} - {low} = {high - low}.",
    ]
    return _row(f"{pairs[0]} * {pairs[1]} - {pairs[2]} * {pairs[3]}", steps, high - low, "3", language)


def _do(a: int, sign: str, b: int) -> int:
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def _row(expression: str, steps: list[str], answer: int, depth: str, language: str) -> dict[str, Any]:
    said = f"What is {expression}?" if language == "en" else f"{expression}等于多少？"
    return {"question": said, "steps": " ".join(steps), "answer": answer, "depth": depth}


# --- stories ------------------------------------------------------------------------------------------------------


def _give_and_buy(d: random.Random, lang: str) -> Told:
    (who, friend), thing = d.sample(NAMES[lang], 2), d.choice(THINGS[lang])
    a, b, c = d.randint(12, 40), d.randint(2, 9), d.randint(2, 20)
    u = UNITS.get(thing, "")
    told = {
        "en": f"{who} has {a} {thing}. {who} gives {b} of them to {friend} and then buys {c} "
        f"more. How many {thing} does {who} have now?",
        "zh": f"{who}有{a}{u}{thing}，给了{friend}{b}{u}，后来又买了{c}{u}。{who}现在有多少{u}{thing}？",
    }
    steps = {
        "en": [
            f"After giving away {b}, {who} has {a} - {b} = {a - b}.",
            f"After buying {c}, {who} has {a - b} + {c} = {a - b + c}.",
        ],
        "zh": [f"给出{b}{u}后，剩下{a} - {b} = {a - b}。", f"又买{c}{u}，共{a - b} + {c} = {a - b + c}。"],
    }
    return told[lang], steps[lang], a - b + c


def _boxes(d: random.Random, lang: str) -> Told:
    who, thing = d.choice(NAMES[lang]), d.choice(THINGS[lang])
    boxes, each, broken = d.randint(3, 9), d.randint(4, 12), d.randint(2, 9)
    u = UNITS.get(thing, "")
    told = {
        "en": f"{who} has {boxes} boxes with {each} {thing} in each. {broken} of the {thing} are "
        f"broken. How many are not broken?",
        "zh": f"{who}有{boxes}个盒子，每个盒子里有{each}{u}{thing}，其中一共有{broken}{u}坏了。没有坏的有多少{u}？",
    }
    steps = {
        "en": [
            f"In all there are {boxes} * {each} = {boxes * each}.",
            f"Not broken are {boxes * each} - {broken} = {boxes * each - broken}.",
        ],
        "zh": [
            f"一共有{boxes} * {each} = {boxes * each}。",
            f"没有坏的有{boxes * each} - {broken} = {boxes * each - broken}。",
        ],
    }
    return told[lang], steps[lang], boxes * each - broken


def _share(d: random.Random, lang: str) -> Told:
    (who, friend), thing = d.sample(NAMES[lang], 2), d.choice(THINGS[lang])
    people, each = d.randint(3, 8), d.randint(3, 9)
    a = d.randint(5, people * each - 1)
    b, u = people * each - a, UNITS.get(thing, "")
    total = people * each
    told = {
        "en": f"{who} has {a} {thing} and {friend} has {b}. They put them together and share them "
        f"equally among {people} children. How many does each child get?",
        "zh": f"{who}有{a}{u}{thing}，{friend}有{b}{u}。他们放在一起，平均分给{people}个孩子。每个孩子得到多少{u}？",
    }
    steps = {
        "en": [f"Together they have {a} + {b} = {total}.", f"Each child gets {total} / {people} = {each}."],
        "zh": [f"一共有{a} + {b} = {total}。", f"每个孩子得到{total} / {people} = {each}。"],
    }
    return told[lang], steps[lang], each


def _shop(d: random.Random, lang: str) -> Told:
    who = d.choice(NAMES[lang])
    n, price, m, other = d.randint(2, 6), d.randint(2, 9), d.randint(2, 5), d.randint(2, 9)
    cost = n * price + m * other
    paid = (cost // 10 + d.randint(1, 3)) * 10
    told = {
        "en": f"{who} buys {n} pens at {price} coins each and {m} notebooks at {other} coins "
        f"each, and pays with {paid} coins. How many coins does {who} get back?",
        "zh": f"{who}买了{n}支每支{price}元的笔和{m}个每个{other}元的本子，付了{paid}元。应找回多少元？",
    }
    steps = {
        "en": [
            f"The pens cost {n} * {price} = {n * price}.",
            f"The notebooks cost {m} * {other} = {m * other}.",
            f"Together that is {n * price} + {m * other} = {cost}.",
            f"Back come {paid} - {cost} = {paid - cost}.",
        ],
        "zh": [
            f"笔要{n} * {price} = {n * price}。",
            f"本子要{m} * {other} = {m * other}。",
            f"一共{n * price} + {m * other} = {cost}。",
            f"找回{paid} - {cost} = {paid - cost}。",
        ],
    }
    return told[lang], steps[lang], paid - cost


def _age(d: random.Random, lang: str) -> Told:
    who, other, third = d.sample(NAMES[lang], 3)
    a, more, times = d.randint(4, 12), d.randint(2, 9), d.randint(2, 4)
    b = a + more
    told = {
        "en": f"{who} is {a} years old. {other} is {more} years older than {who}. {third} is "
        f"{times} times as old as {other}. How old is {third}?",
        "zh": f"{who}{a}岁，{other}比{who}大{more}岁，{third}的年龄是{other}的{times}倍。{third}多少岁？",
    }
    steps = {
        "en": [f"{other} is {a} + {more} = {b}.", f"{third} is {b} * {times} = {b * times}."],
        "zh": [f"{other}是{a} + {more} = {b}岁。", f"{third}是{b} * {times} = {b * times}岁。"],
    }
    return told[lang], steps[lang], b * times


def _way(d: random.Random, lang: str) -> Told:
    who = d.choice(NAMES[lang])
    speed, hours, further, back = d.randint(3, 12), d.randint(2, 5), d.randint(2, 15), d.randint(1, 5)
    first = speed * hours
    told = {
        "en": f"{who} cycles for {hours} hours at {speed} kilometres an hour, then walks "
        f"{further} kilometres further and {back} kilometres back. How many kilometres did "
        f"{who} travel in all?",
        "zh": f"{who}以每小时{speed}千米的速度骑了{hours}小时，又往前走了{further}千米，"
        f"再往回走了{back}千米。{who}一共走了多少千米？",
    }
    total = first + further + back
    steps = {
        "en": [
            f"By bicycle it is {speed} * {hours} = {first}.",
            f"With the walk it is {first} + {further} = {first + further}.",
            f"With the way back it is {first + further} + {back} = {total}.",
        ],
        "zh": [
            f"骑车{speed} * {hours} = {first}千米。",
            f"加上步行{first} + {further} = {first + further}千米。",
            f"加上往回走的{first + further} + {back} = {total}千米。",
        ],
    }
    return told[lang], steps[lang], total


STORIES: list[Callable[[random.Random, str], Told]] = [_give_and_buy, _boxes, _share, _shop, _age, _way]


def problems(count: int, seed: int, language: str = "en") -> list[dict[str, Any]]:
    """Stories, the templates in turn; `kind` names the template, so that intervals can resample it."""
    draw = random.Random(f"problems:{seed}:{language}")
    found = []
    for number in range(count):
        story = STORIES[number % len(STORIES)]
        question, steps, answer = story(draw, language)
        found.append(
            {
                "id": f"{language}-{number + 1}",
                "question": question,
                "steps": (" " if language == "en" else "").join(steps),
                "answer": answer,
                "depth": str(len(steps)),
                "kind": story.__name__.strip("_"),
                "language": language,
            }
        )
    return found
