"""Conversations of two or three turns with a known truth: follow-up questions, and words defined on the way.

`followups`: the second question is only understood with the first turn (a pronoun, "and his sister?"). `new_words`: the
first turn uses a made-up word, which the model should ask about; the second defines it; the third needs the meaning.
A turn with `metric` is judged by it (exam/forms/dialogue.py).
"""

from __future__ import annotations

import random
from typing import Any

PEOPLE = {
    "en": ["Ada", "Ben", "Carla", "Dan", "Ella", "Finn", "Grace", "Hugo"],
    "zh": ["小红", "小刚", "李华", "王芳", "小军", "阿明", "丽丽", "小雨"],
}
JOBS = {
    "en": ["baker", "nurse", "pilot", "painter", "judge", "farmer"],
    "zh": ["面包师", "护士", "飞行员", "画家", "法官", "农民"],
}
TOWNS = {
    "en": ["Leeds", "Bergen", "Turin", "Cork", "Graz", "Porto"],
    "zh": ["青岛", "厦门", "大连", "珠海", "宁波", "苏州"],
}
PETS = {"en": ["dog", "cat", "parrot", "rabbit", "horse"], "zh": ["狗", "猫", "鹦鹉", "兔子", "马"]}
MADE_UP = ["glimping", "a dorfel", "a tavrin", "to smoom", "a quenty", "blorvish"]
WORDS = {
    "en": [
        (
            "florp",
            "A florp is any animal with exactly four legs.",
            [("a horse", "yes"), ("a spider", "no"), ("a dog", "yes"), ("a chicken", "no")],
            "Is {} a florp? Answer yes or no.",
        ),
        (
            "dorfel",
            "A dorfel is any fruit that is red.",
            [("a ripe strawberry", "yes"), ("a banana", "no"), ("a cherry", "yes"), ("a lime", "no")],
            "Is {} a dorfel? Answer yes or no.",
        ),
        (
            "tavrin",
            "A tavrin is any vehicle without wheels.",
            [("a rowing boat", "yes"), ("a bicycle", "no"), ("a sledge", "yes"), ("a bus", "no")],
            "Is {} a tavrin? Answer yes or no.",
        ),
        (
            "quenty",
            "A number is quenty if it is even and greater than ten.",
            [("12", "yes"), ("7", "no"), ("30", "yes"), ("4", "no")],
            "Is {} quenty? Answer yes or no.",
        ),
        (
            "smoom",
            "A smoom is any job that is mostly done at night.",
            [("night watchman", "yes"), ("school teacher", "no")],
            "Is a {} a smoom? Answer yes or no.",
        ),
        (
            "blorvish",
            "A word is blorvish if it begins and ends with the same letter.",
            [("level", "yes"), ("table", "no"), ("radar", "yes"), ("house", "no")],
            'Is the word "{}" blorvish? Answer yes or no.',
        ),
    ],
    "zh": [
        (
            "咕洛",
            "咕洛是指正好有四条腿的动物。",
            [("马", "是"), ("蜘蛛", "不是"), ("狗", "是"), ("鸡", "不是")],
            "{}是咕洛吗？只回答是或不是。",
        ),
        (
            "嘟菲",
            "嘟菲是指红色的水果。",
            [("熟草莓", "是"), ("香蕉", "不是"), ("樱桃", "是"), ("青柠", "不是")],
            "{}是嘟菲吗？只回答是或不是。",
        ),
        (
            "塔林车",
            "塔林车是指没有轮子的交通工具。",
            [("划艇", "是"), ("自行车", "不是"), ("雪橇", "是"), ("公共汽车", "不是")],
            "{}是塔林车吗？只回答是或不是。",
        ),
        (
            "昆数",
            "昆数是指大于十的偶数。",
            [("12", "是"), ("7", "不是"), ("30", "是"), ("4", "不是")],
            "{}是昆数吗？只回答是或不是。",
        ),
    ],
}


def followups(count: int, seed: int, language: str = "en") -> list[dict[str, Any]]:
    """Two people with two facts each; the first question is about one of them, the second leaves the name out."""
    draw = random.Random(f"followups:{seed}:{language}")
    found = []
    for number in range(count):
        (one, other), (job, job2) = draw.sample(PEOPLE[language], 2), draw.sample(JOBS[language], 2)
        (town, town2), (pet, pet2) = draw.sample(TOWNS[language], 2), draw.sample(PETS[language], 2)
        kind = ("pronoun", "ellipsis", "correction")[number % 3]
        if language == "en":
            told = (
                f"{one} is a {job}, lives in {town} and has a {pet}. {other} is a {job2}, "
                f"lives in {town2} and has a {pet2}."
            )
            first = f"{told} Where does {one} live?"
            second, answer, wrong = {
                "pronoun": ("And which animal does this person have?", pet, pet2),
                "ellipsis": (f"And {other}?", town2, town),
                "correction": ("Sorry, I meant the job. What is it?", job, job2),
            }[kind]
        else:
            told = f"{one}是{job}，住在{town}，养了一只{pet}。{other}是{job2}，住在{town2}，养了一只{pet2}。"
            first = f"{told}{one}住在哪里？"
            second, answer, wrong = {
                "pronoun": ("这个人养了什么动物？", pet, pet2),
                "ellipsis": (f"那{other}呢？", town2, town),
                "correction": ("不好意思，我想问的是职业。是什么？", job, job2),
            }[kind]
        rules: list[dict[str, Any]] = [{"kind": "keeps", "right": [answer], "wrong": [wrong]}]
        turns = [
            {"user": first, "metric": _rules([{"kind": "contains", "any": [town]}])},
            {"user": second, "metric": _rules(rules)},
        ]
        found.append({"id": f"{language}-{number + 1}", "turns": turns, "kind": kind, "language": language})
    return found


def new_words(count: int, seed: int, language: str = "en") -> list[dict[str, Any]]:
    """Every word with every case, drawn in another order; turn 1: asks back; turn 3: yes or no by the definition."""
    draw = random.Random(f"new_words:{seed}:{language}")
    cases = [
        (word, definition, ask.format(thing), truth)
        for word, definition, things, ask in WORDS[language]
        for thing, truth in things
    ]
    found = []
    for number, (word, definition, question, truth) in enumerate(draw.sample(cases, len(cases))[:count]):
        if language == "en":
            first = f"I would like to talk about the word {word}. Can you use it in a sentence?"
            second = f"{definition} Do you understand?"
            opposite = "no" if truth == "yes" else "yes"
            said: list[dict[str, Any]] = [
                {"kind": "matches", "pattern": rf"^[\s*]*{truth}\b"},
                {"kind": "matches", "pattern": rf"^[\s*]*{opposite}\b", "not": True},
            ]
        else:
            first = f"我想聊聊“{word}”。你能用它造一个句子吗？"
            second = f"{definition}明白了吗？"
            pattern = r"^[\s*“]*(?:是|对|属于)" if truth == "是" else r"^[\s*“]*(?:不|否)"
            said = [{"kind": "matches", "pattern": pattern}]
        turns = [
            {"user": first, "metric": _rules([{"kind": "asks_back"}])},
            {"user": second},
            {"user": question, "metric": _rules(said)},
        ]
        found.append({"id": f"{language}-{number + 1}", "turns": turns, "word": word, "language": language})
    return found


def _rules(rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": "rules", "settings": {"rules": rules}}
