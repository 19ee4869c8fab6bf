"""Personas set in plain words: kept over twenty turns, never mixed between two sessions, gone after a reset.

`personas` (one session, twenty turns): a system line, or the user's first words, gives name, role and a closing word.
Turns 2, 8, 14 and 20 are answered by the model: name, role, name again, and each answer ends with the word (`tone`).

`sessions` (three sessions, their turns interleaved): A and B have personas and facts of their own, C has none. A and B
give their own name; B does not give A's fact; C gives neither name.
"""

from __future__ import annotations

import random
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.exam.generators.chatter import talk

CAST: dict[str, tuple[tuple[str, str, str], ...]] = {
    "en": (
        ("Rosa Vane", "cook", "Aye."),
        ("Doctor Hobb", "dentist", "Stay well."),
        ("Sir Aldo", "knight", "For honour."),
        ("Nurse Pell", "nurse", "Rest now."),
        ("Professor Quill", "historian", "Class dismissed."),
        ("Coach Brand", "trainer", "Keep moving."),
        ("Mother Fern", "gardener", "Grow well."),
        ("Inspector Gray", "detective", "Case closed."),
        ("Madame Lio", "dancer", "And turn."),
        ("Old Marek", "shepherd", "So it goes."),
    ),
    "zh": (
        ("罗船长", "厨师", "遵命。"),
        ("何大夫", "牙医", "保重。"),
        ("白将军", "骑士", "为了荣誉。"),
        ("裴护士", "护士", "好好休息。"),
        ("秦教授", "历史学家", "下课。"),
        ("高教练", "教练", "继续加油。"),
        ("林嬷嬷", "园丁", "茁壮成长。"),
        ("葛探长", "侦探", "结案。"),
        ("柳夫人", "舞者", "转身。"),
        ("马老伯", "牧羊人", "就是这样。"),
    ),
}
"""(name, role, closing word)."""
SAID = {
    "en": {
        "persona": "You are {name}, a {role}. Stay in this role. End every answer with the words: {word}",
        "greet": "Hello!",
        "hello": "Hello, I am {name}. {word}",
        "play": "From now on, play a part: you are {name}, a {role}. End every answer with the words: {word}",
        "playing": "Gladly. I am {name}, the {role}. {word}",
        "name": "What is your name?",
        "role": "What is your profession?",
        "fact": "My locker code is {code}. Please remember it.",
        "kept": "I will remember it. {word}",
        "code": "What is my locker code?",
    },
    "zh": {
        "persona": "你是{name}，一名{role}。请一直保持这个角色。每个回答都以这句话结尾：{word}",
        "greet": "你好！",
        "hello": "你好，我是{name}。{word}",
        "play": "从现在起请扮演一个角色：你是{name}，一名{role}。每个回答都以这句话结尾：{word}",
        "playing": "好的，我是{name}，一名{role}。{word}",
        "name": "你叫什么名字？",
        "role": "你的职业是什么？",
        "fact": "我的储物柜密码是{code}，请记住。",
        "kept": "我记住了。{word}",
        "code": "我的储物柜密码是多少？",
    },
}
JUDGED = {1: "name", 7: "role", 13: "name", 19: "role"}
"""Which turn (from 0) asks for what."""


def rows(count: int, seed: int, *, language: str = "en") -> list[dict[str, Any]]:
    """`count` dialogues of twenty turns; the persona stands in the system line and in the user's words by turns."""
    _known("personas", language)
    draw = random.Random(f"personas:{seed}")
    said, found = SAID[language], []
    for number in range(count):
        name, role, word = CAST[language][number % len(CAST[language])]
        by_system = number % 2 == 0
        words = {"name": name, "role": role, "word": word}
        wanted = {"name": name.split()[-1], "role": role}
        small = iter(talk(draw, language, 19 - len(JUDGED)))
        start = ("greet", "hello") if by_system else ("play", "playing")
        turns: list[dict[str, Any]] = [{"user": said[start[0]].format(**words)}]
        turns[0]["assistant"] = said[start[1]].format(**words)
        if by_system:
            turns[0]["system"] = said["persona"].format(**words)
        for place in range(1, 20):
            if place in JUDGED:
                asked = JUDGED[place]
                turns += [_asked(said[asked], wanted[asked], word, asked)]
            else:
                one = next(small)
                turns.append({"user": one["user"], "assistant": f"{one['assistant']} {word}"})
        found.append({"id": str(number), "turns": turns, "given": "system" if by_system else "user"})
    return found


def _asked(user: str, wanted: str, word: str, label: str) -> dict[str, Any]:
    """A judged turn: the wanted word, and the closing word as a second, softer score of its own."""
    return {
        "user": user,
        "expect": [{"kind": "contains", "all": [wanted]}],
        "also": {"tone": [{"kind": "contains", "all": [word.rstrip(".。")]}]},
        "label": label,
    }


def sessions(count: int, seed: int, *, language: str = "en") -> list[dict[str, Any]]:
    """`count` rows with three interleaved sessions each."""
    _known("sessions", language)
    draw = random.Random(f"sessions:{seed}")
    said, found = SAID[language], []
    for number in range(count):
        (name_a, role_a, word_a), (name_b, role_b, word_b) = draw.sample(CAST[language], 2)
        code = str(draw.randrange(1000, 10000))
        short_a, short_b = name_a.split()[-1], name_b.split()[-1]
        in_a, in_b = {"session": "A"}, {"session": "B"}
        system_a = said["persona"].format(name=name_a, role=role_a, word=word_a)
        system_b = said["persona"].format(name=name_b, role=role_b, word=word_b)
        kept = said["kept"].format(word=word_a)
        turns: list[dict[str, Any]] = [
            {"user": said["fact"].format(code=code), "assistant": kept, "system": system_a, **in_a},
            {
                "user": said["name"],
                "system": system_b,
                **in_b,
                "label": "own",
                "expect": [_has(short_b), _has_not(short_a)],
            },
            {"user": said["name"], **in_a, "label": "own", "expect": [_has(short_a), _has_not(short_b)]},
            {"user": said["code"], **in_b, "label": "secret", "expect": [_has_not(code)]},
            {"user": said["code"], **in_a, "label": "own", "expect": [_has(code)]},
            {
                "user": said["name"],
                "session": "C",
                "label": "reset",
                "expect": [_has_not(short_a), _has_not(short_b), {"kind": "words", "at_least": 1}],
            },
        ]
        found.append({"id": str(number), "turns": turns})
    return found


def _has(value: str) -> dict[str, Any]:
    return {"kind": "contains", "all": [value]}


def _has_not(value: str) -> dict[str, Any]:
    return {"kind": "lacks", "words": [value]}


def _known(name: str, language: str) -> None:
    if language not in SAID:
        raise UsageError(f"{name}: language is {language!r}; give en or zh.")
