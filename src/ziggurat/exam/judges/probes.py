"""Pairs with a known truth, made by rule, so that a judge's bias shows without anybody's data.

Every question has one short right answer. Four kinds of pairs, in equal parts:

    equal      both right; one says the same at more length              length alone tells them apart
    same       both right, of about the same length                      only the place can decide
    long_wrong the long answer is wrong, the short one right             length speaks against quality
    short_wrong the short answer is wrong, the long one right            length speaks for quality

Over the set quality and length are therefore independent: a judge of quality has no slope on length. Which of the two
is `a` is drawn evenly. English and Chinese take turns. Pairs of the same question are one cluster.
"""

from __future__ import annotations

import random
from typing import Literal

from ziggurat.exam.judges.judge import Pair
from ziggurat.records import Message

Kind = Literal["equal", "same", "long_wrong", "short_wrong"]
KINDS: tuple[Kind, ...] = ("equal", "same", "long_wrong", "short_wrong")
PADDING = {
    "en": (
        "Thank you for this question, which many people ask.",
        "Let me go through it with care, one part after the other, before I come to the result.",
        "I have looked at what is asked from several sides, and each of them leads to the same place.",
        "In summary, and to say it once more so that it is clear: {result}",
    ),
    "zh": (
        "感谢您提出这个很多人都会问的问题。",
        "在给出结果之前，请允许我把这个问题一步一步地仔细说一遍。",
        "我从几个方面考虑了所问的内容，每个方面得到的都是同样的结论。",
        "总之，为了清楚起见，再重复一遍：{result}",
    ),
}
WORDS = {
    "en": ("lamp", "river", "window", "garden", "bridge", "copper", "market", "winter"),
    "zh": ("桥", "河流", "窗户", "花园", "铜器", "市场", "冬天", "灯笼"),
}


def pairs(count: int = 80, seed: int = 0) -> list[Pair]:
    """`count` pairs, the same for the same seed on every machine."""
    draw = random.Random(seed)
    return [_pair(number, draw) for number in range(count)]


def _pair(number: int, draw: random.Random) -> Pair:
    kind, lang = KINDS[number % 4], ("en", "zh")[(number // 4) % 2]
    question, right, wrong, other = _question(lang, draw)
    short, long, quality = {
        "equal": (right, _padded(lang, right), 0.0),
        "same": (right, other, 0.0),
        "long_wrong": (right, _padded(lang, wrong), 1.0),
        "short_wrong": (wrong, _padded(lang, right), -1.0),
    }[kind]
    pair = Pair(
        id=f"{kind}-{number}",
        messages=(Message(role="user", content=question),),
        a=short,
        b=long,
        quality=quality,
        cluster=question,
        row={"kind": kind, "lang": lang},
    )
    return pair.swapped() if draw.random() < 0.5 else pair


def _padded(lang: str, result: str) -> str:
    first, *more, last = PADDING[lang]
    joint = " " if lang == "en" else ""
    return joint.join([first, *more, result, last.format(result=result)])


def _question(lang: str, draw: random.Random) -> tuple[str, str, str, str]:
    """(question, a right answer, a wrong one, another right one of the same length)."""
    if draw.random() < 0.5:
        return _sum(lang, draw)
    word = draw.choice(WORDS[lang])
    size = len(word)
    wrong = size + draw.choice((1, 2))
    if lang == "en":
        return (
            f'How many letters does the word "{word}" have?',
            f"It has {size} letters.",
            f"It has {wrong} letters.",
            f"{size} is the number.",
        )
    return (
        f"“{word}”这个词有几个汉字？",
        f"这个词有{size}个汉字。",
        f"这个词有{wrong}个汉字。",
        f"一共是{size}个汉字。",
    )


def _sum(lang: str, draw: random.Random) -> tuple[str, str, str, str]:
    x, y = draw.randint(11, 89), draw.randint(11, 89)
    off = x + y + draw.choice((-10, -1, 1, 10))
    if lang == "en":
        return (
            f"What is {x} + {y}?",
            f"The sum is {x + y}.",
            f"The sum is {off}.",
            f"It makes {x + y}.",
        )
    return f"{x}加{y}等于多少？", f"它们的和是{x + y}。", f"它们的和是{off}。", f"结果一共是{x + y}。"
