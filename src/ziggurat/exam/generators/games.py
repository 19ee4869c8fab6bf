"""Tasks that no text holds, their rules in the prompt: unseen tasks, and the game of 24.

`unseen`: each row explains a made-up operation, code or order and asks one case of it. `twenty_four`: four numbers from
which 24 can be made; that it can is known by trying all ways.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

WORDS = [
    "stone",
    "river",
    "lamp",
    "cloud",
    "bread",
    "horse",
    "tiger",
    "plant",
    "chair",
    "music",
    "ocean",
    "paper",
    "green",
    "night",
    "sugar",
]
SHAPES = {"en": ["circle", "square", "star", "moon"], "zh": ["圆", "方", "星", "月"]}
Case = tuple[dict[str, str], str, list[str]]
"""Question by language, right answer (English|Chinese where they differ), and what is wrong if it is named too."""


def _value_of_word(d: random.Random) -> Case:
    word, v, c = d.choice(WORDS), d.randint(2, 5), d.randint(1, 3)
    points = sum(v if letter in "aeiou" else c for letter in word)
    return (
        {
            "en": f"In a game, every vowel (a, e, i, o, u) is worth {v} points and every other letter "
            f'{c}. How many points is the word "{word}" worth?',
            "zh": f"在一个游戏里，元音字母（a、e、i、o、u）每个{v}分，其他字母每个{c}分。单词“{word}”值多少分？",
        },
        str(points),
        [],
    )


def _operation(d: random.Random) -> Case:
    a, b, k = d.randint(2, 9), d.randint(2, 9), d.randint(2, 4)
    return (
        {
            "en": f"The sign @ means: multiply the first number by {k} and add the second. So 1 @ 1 "
            f"is {k + 1}. What is {a} @ {b}?",
            "zh": f"符号@的意思是：第一个数乘以{k}，再加上第二个数。所以1 @ 1 等于{k + 1}。{a} @ {b} 等于多少？",
        },
        str(a * k + b),
        [],
    )


def _reverse_code(d: random.Random) -> Case:
    word = d.choice(WORDS)
    extra = d.choice("xzq")
    return (
        {
            "en": f'To write a word in Zeeb, put the letter {extra} before it and after it. So "cat" '
            f'is "{extra}cat{extra}". How is "{word}" written in Zeeb?',
            "zh": f"用“泽布文”写一个单词，就在它前面和后面各加字母{extra}。"
            f"所以“cat”写作“{extra}cat{extra}”。“{word}”怎么写？",
        },
        f"{extra}{word}{extra}",
        [],
    )


def _first_letters(d: random.Random) -> Case:
    words = d.sample(WORDS, 4)
    made = "".join(word[0] for word in words)
    return (
        {
            "en": f"A telegram word is made of the first letters of a list of words, in their order. "
            f"What is the telegram word of: {', '.join(words)}?",
            "zh": f"“电报词”由一串单词的首字母按顺序组成。这些单词的电报词是什么：{'、'.join(words)}？",
        },
        made,
        [],
    )


def _beats(d: random.Random) -> Case:
    """A circle of four: each beats the next."""
    at = d.sample(range(4), 4)
    en, zh = [SHAPES["en"][i] for i in at], [SHAPES["zh"][i] for i in at]
    i = d.randrange(4)
    pair = [i, (i + 1) % 4]
    d.shuffle(pair)
    said_en = ", ".join(f"{en[j]} beats {en[(j + 1) % 4]}" for j in range(4))
    said_zh = "，".join(f"{zh[j]}胜{zh[(j + 1) % 4]}" for j in range(4))
    return (
        {
            "en": f"In a game {said_en}. {en[pair[0]].capitalize()} plays against {en[pair[1]]}. Which one wins?",
            "zh": f"在一个游戏里，{said_zh}。{zh[pair[0]]}对{zh[pair[1]]}，哪一个赢？",
        },
        f"{en[i]}|{zh[i]}",
        [en[(i + 1) % 4], zh[(i + 1) % 4]],
    )


def _calendar(d: random.Random) -> Case:
    days = d.choice([4, 5, 6])
    names = ["Alba", "Brin", "Corm", "Dell", "Enn", "Fosk"][:days]
    start, after = d.randrange(days), d.randint(2, 9)
    right = names[(start + after) % days]
    return (
        {
            "en": f"On an island a week has {days} days, in this order: {', '.join(names)}. Today is "
            f"{names[start]}. Which day is it {after} days later?",
            "zh": f"某岛上一周有{days}天，依次是：{'、'.join(names)}。今天是{names[start]}。{after}天以后是哪一天？",
        },
        right,
        [one for one in names if one != right],
    )


def _sort_rule(d: random.Random) -> Case:
    words = d.sample(WORDS, 3)
    last = min(words, key=lambda word: (word[-1], word))
    return (
        {
            "en": f"A list is in Tor order when the words are sorted by their last letter. Which of "
            f"these words comes first in Tor order: {', '.join(words)}? (The first in the "
            f"alphabet comes first where last letters are equal.)",
            "zh": f"“托尔顺序”按单词的最后一个字母排序，最后一个字母相同时按字母表排序。"
            f"这些单词里哪一个排在最前：{'、'.join(words)}？",
        },
        last,
        [word for word in words if word != last],
    )


def _counting(d: random.Random) -> Case:
    base = d.choice([3, 4])
    marks = {"en": ["ka", "lo"], "zh": ["ka", "lo"]}
    ones, bigs = d.randint(1, base - 1), d.randint(1, 3)
    said = " ".join([marks["en"][1]] * bigs + [marks["en"][0]] * ones)
    return (
        {
            "en": f'A people counts with two words: "ka" is one and "lo" is {base}. They are added '
            f'up, so "lo ka" is {base + 1}. Which number is "{said}"?',
            "zh": f"某个部落用两个词数数：“ka”是一，“lo”是{base}，把它们加起来，所以“lo ka”是{base + 1}。"
            f"“{said}”是几？",
        },
        str(bigs * base + ones),
        [],
    )


KINDS: list[Callable[[random.Random], Case]] = [
    _value_of_word,
    _operation,
    _reverse_code,
    _first_letters,
    _beats,
    _calendar,
    _sort_rule,
    _counting,
]


def unseen(count: int, seed: int, language: str = "en") -> list[dict[str, Any]]:
    """Cases of made-up tasks, the kinds in turn. `answer`: one text, or several that count."""
    draw = random.Random(f"unseen:{seed}")
    found = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        said, answer, wrong = kind(draw)
        right = answer.split("|")
        found.append(
            {
                "id": f"{language}-{number + 1}",
                "question": said[language],
                "answer": right[language == "zh"] if len(right) > 1 else right[0],
                "wrong": wrong,
                "kind": kind.__name__.strip("_"),
                "language": language,
            }
        )
    return found


def twenty_four(count: int, seed: int) -> list[dict[str, Any]]:
    """Four numbers from 1 to 10 each, from which 24 can be made; `solution` is one way."""
    draw = random.Random(f"24:{seed}")
    found: list[dict[str, Any]] = []
    seen: set[tuple[int, ...]] = set()
    while len(found) < count:
        numbers = tuple(sorted(draw.randint(1, 10) for _ in range(4)))
        if numbers in seen or (way := solve(numbers)) is None:
            continue
        seen.add(numbers)
        found.append({"id": str(len(found) + 1), "numbers": list(numbers), "solution": way, "language": "zh"})
    return found


def solve(numbers: tuple[int, ...], goal: int = 24) -> str | None:
    """An expression that uses each number once and gives the goal; None where there is none. All ways are tried."""
    return _search([(Fraction(one), str(one)) for one in numbers], Fraction(goal))


def _search(have: list[tuple[Fraction, str]], goal: Fraction) -> str | None:
    if len(have) == 1:
        return have[0][1] if have[0][0] == goal else None
    for i, j in itertools.permutations(range(len(have)), 2):
        rest = [one for k, one in enumerate(have) if k not in (i, j)]
        (a, left), (b, right) = have[i], have[j]
        ways = [(a + b, "+"), (a - b, "-"), (a * b, "*")] + ([(a / b, "/")] if b else [])
        for value, sign in ways:
            if sign in "+*" and i > j:
                continue  # the same the other way round
            if (found := _search([*rest, (value, f"({left} {sign} {right})")], goal)) is not None:
                return found
    return None
