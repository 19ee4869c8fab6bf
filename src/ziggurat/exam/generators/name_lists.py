"""Sentences with people's names, to be found: by an instruction, by examples, or by both.

Modes (field `mode`): zero (the instruction alone), one and few (the instruction with 1 or 4 worked examples), examples
(4 examples and no instruction). The sentences that are asked and those of the examples are never the same, and no name
of an example is asked. A sentence holds one to four names, and words in capitals that are no names.
"""

from __future__ import annotations

import random
from typing import Any

NAMES = {
    "en": [
        "Ada Brook",
        "Tom Reed",
        "Maria Silva",
        "Kofi Mensah",
        "Jean Martin",
        "Olga Petrova",
        "Ben Cole",
        "Aisha Khan",
        "Liu Wei",
        "Sara Novak",
        "Peter Hill",
        "Nina Berg",
        "Omar Haddad",
        "Emily Stone",
        "Raj Patel",
        "Clara Weiss",
    ],
    "zh": [
        "张三",
        "李四",
        "王二麻子",
        "赵小燕",
        "孙伟",
        "周建国",
        "吴丽",
        "郑和平",
        "马斯克",
        "普京",
        "陈静",
        "林志远",
        "黄雅琴",
        "何东",
        "高圆",
        "罗文",
    ],
}
SENTENCES = {
    "en": [
        "{} met {} at the station in Leeds on Monday.",
        "On Friday {} lent the red car to {}.",
        "The letter from {} reached {} and {} in Madrid.",
        "{} works for Northern Rail in York.",
        "In July {}, {}, {} and {} cycled along the Danube.",
        "Nobody at the Harbour Hotel had seen {}.",
        "{} wrote a book about the Alps, and {} translated it into French.",
        "After the match in Turin, {} thanked {} and {}.",
    ],
    "zh": [
        "星期一{}在北京站遇见了{}。",
        "{}把红色的车借给了{}。",
        "{}从上海寄来的信，{}和{}都收到了。",
        "{}在长江航运公司上班。",
        "七月，{}、{}、{}和{}沿着黄河骑车。",
        "东海宾馆里没有人见过{}。",
        "{}写了一本关于泰山的书，{}把它译成了英文。",
        "在广州的比赛之后，{}感谢了{}和{}。",
    ],
}
INSTRUCTION = {
    "en": "List the names of people in the sentence, separated by commas.",
    "zh": "请把句子里的人名找出来，用逗号隔开。",
}
LABELS = {"en": ("Sentence: ", "Names: ", ", "), "zh": ("句子：", "人名：", "，")}
MODES = {"zero": (True, 0), "one": (True, 1), "few": (True, 4), "examples": (False, 4)}
"""Mode -> with the instruction, examples."""


def rows(count: int, seed: int, language: str = "en") -> list[dict[str, Any]]:
    """`count` rows: every sentence once for each mode."""
    draw = random.Random(f"names:{seed}:{language}")
    names = draw.sample(NAMES[language], len(NAMES[language]))
    shown_names, asked_names = names[: len(names) // 2], names[len(names) // 2 :]
    forms = draw.sample(SENTENCES[language], len(SENTENCES[language]))
    sentence, label, comma = LABELS[language]
    found: list[dict[str, Any]] = []
    number = 0
    while len(found) < count:
        number += 1
        text, there = _sentence(draw, forms[number % len(forms)], asked_names)
        examples = [_sentence(draw, form, shown_names) for form in draw.sample(forms, 4)]
        for mode, (told, shots) in MODES.items():
            parts = [INSTRUCTION[language]] if told else []
            parts += [f"{sentence}{one}\n{label}{comma.join(who)}" for one, who in examples[:shots]]
            parts.append(f"{sentence}{text}\n{label.rstrip()}")
            found.append(
                {
                    "id": f"{language}-{number}:{mode}",
                    "prompt": "\n\n".join(parts),
                    "answer": there,
                    "mode": mode,
                    "sentence": f"{language}-{number}",
                    "language": language,
                }
            )
    return found[:count]


def _sentence(draw: random.Random, form: str, names: list[str]) -> tuple[str, list[str]]:
    chosen = draw.sample(names, form.count("{}"))
    return form.format(*chosen), chosen
