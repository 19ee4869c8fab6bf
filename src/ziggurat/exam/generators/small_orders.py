"""Short instructions whose right answer a rule computes: repeat, sort, count, opposite, pick, rewrite.

They need neither knowledge nor sums, so that they measure whether an instruction is followed. `rules`: what the answer
must keep (exam/rules).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

WORDS = {
    "en": [
        "stone",
        "river",
        "lamp",
        "cloud",
        "bread",
        "horse",
        "plant",
        "chair",
        "music",
        "paper",
        "night",
        "sugar",
    ],
    "zh": ["石头", "河流", "台灯", "白云", "面包", "骏马", "植物", "椅子", "音乐", "纸张", "夜晚", "白糖"],
}
OPPOSITES = {
    "en": [
        ("hot", "cold"),
        ("big", "small"),
        ("up", "down"),
        ("early", "late"),
        ("old", "young new"),
        ("open", "closed close shut"),
        ("full", "empty"),
        ("happy", "sad unhappy"),
    ],
    "zh": [
        ("热", "冷"),
        ("大", "小"),
        ("上", "下"),
        ("早", "晚"),
        ("快", "慢"),
        ("开", "关"),
        ("多", "少"),
        ("高", "低 矮"),
    ],
}
Made = tuple[str, list[dict[str, Any]]]


def _repeat(d: random.Random, lang: str) -> Made:
    word, n = d.choice(WORDS[lang]), d.choice([2, 3, 4])
    said = {
        "en": f'Write the word "{word}" {n} times and nothing else.',
        "zh": f"把“{word}”写{n}遍，不写别的。",
    }
    return said[lang], [
        {"kind": "word_times", "word": word, "exactly": n},
        {"kind": "words", "at_most": n * len(word) if lang == "zh" else n},
    ]


def _copy(d: random.Random, lang: str) -> Made:
    words = d.sample(WORDS[lang], 3)
    text = {
        "en": f"The {words[0]} and the {words[1]} are near the {words[2]}.",
        "zh": f"{words[0]}和{words[1]}在{words[2]}旁边。",
    }[lang]
    said = {"en": f"Copy this sentence exactly: {text}", "zh": f"原样抄写这句话：{text}"}
    return said[lang], [{"kind": "verbatim", "phrase": text}]


def _sort(d: random.Random, lang: str) -> Made:
    if lang == "zh":
        numbers = d.sample(range(10, 99), 4)
        order = [str(one) for one in sorted(numbers)]
        return f"把这些数从小到大排列：{'、'.join(map(str, numbers))}", [{"kind": "in_order", "words": order}]
    words = d.sample(WORDS["en"], 3)
    return f"Sort these words alphabetically: {', '.join(words)}. Give only the sorted list.", [
        {"kind": "in_order", "words": sorted(words)}
    ]


def _opposite(d: random.Random, lang: str) -> Made:
    word, right = d.choice(OPPOSITES[lang])
    said = {
        "en": f'What is the opposite of "{word}"? Answer with one word.',
        "zh": f"“{word}”的反义词是什么？只回答一个词。",
    }
    return said[lang], [
        {"kind": "contains", "any": right.split()},
        {"kind": "words", "at_most": 1 if lang == "en" else 2},
    ]


def _pick(d: random.Random, lang: str) -> Made:
    words = d.sample(WORDS[lang], 4)
    place = d.choice([0, 1, 2])
    which = {"en": ("first", "second", "third"), "zh": ("第一", "第二", "第三")}[lang][place]
    said = {
        "en": f"Which is the {which} word of this list: {', '.join(words)}? Answer with that word only.",
        "zh": f"{'、'.join(words)}：{which}个词是什么？只回答那个词。",
    }
    return said[lang], [{"kind": "equals", "any": [words[place]]}]


def _yes_no(d: random.Random, lang: str) -> Made:
    words = d.sample(WORDS[lang], 4)
    there = d.random() < 0.5
    asked = words[0] if there else next(w for w in WORDS[lang] if w not in words)
    listed = d.sample(words, 4)
    if lang == "zh":
        right = ["在", "是", "有"] if there else ["不在", "不是", "没有", "否"]
        return f"“{asked}”在这个列表里吗：{'、'.join(listed)}？只回答“在”或“不在”。", [
            {"kind": "equals", "any": right}
        ]
    return f'Is the word "{asked}" in this list: {", ".join(listed)}? Answer yes or no.', [
        {"kind": "equals", "any": ["yes" if there else "no"]}
    ]


def _wrap(d: random.Random, lang: str) -> Made:
    word = d.choice(WORDS[lang])
    said = {
        "en": f'Write the word "{word}" between square brackets, with nothing before or after.',
        "zh": f"把“{word}”写在方括号[]里，前后不写别的。",
    }
    return said[lang], [{"kind": "verbatim", "phrase": f"[{word}]"}]


def _upper(d: random.Random, lang: str) -> Made:
    word = d.choice(WORDS["en"])
    said = {"en": f'Write the word "{word}" in capital letters.', "zh": f"把单词“{word}”用大写字母写出来。"}
    return said[lang], [{"kind": "matches", "pattern": f"(?-i:{word.upper()})"}]


def _finish(d: random.Random, lang: str) -> Made:
    phrase = {
        "en": d.choice(["That is my answer.", "Good night.", "End of text."]),
        "zh": d.choice(["回答完毕。", "晚安。", "全文完。"]),
    }[lang]
    word = d.choice(WORDS[lang])
    said = {
        "en": f'Write one sentence about a {word} and end with: "{phrase}"',
        "zh": f"写一句关于{word}的话，最后写“{phrase}”",
    }
    return said[lang], [{"kind": "contains", "any": [word]}, {"kind": "ends", "phrase": phrase}]


KINDS: list[Callable[[random.Random, str], Made]] = [
    _repeat,
    _copy,
    _sort,
    _opposite,
    _pick,
    _yes_no,
    _wrap,
    _upper,
    _finish,
]


def rows(count: int, seed: int, language: str = "en") -> list[dict[str, Any]]:
    """Different instructions, the kinds in turn."""
    draw = random.Random(f"orders:{seed}:{language}")
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    tries = 0
    while len(found) < count and tries < 50 * count:
        kind = KINDS[tries % len(KINDS)]
        tries += 1
        said, rules = kind(draw, language)
        if said not in seen:
            seen.add(said)
            found.append(
                {
                    "id": f"{language}-{len(found) + 1}",
                    "prompt": said,
                    "rules": rules,
                    "kind": kind.__name__.strip("_"),
                    "language": language,
                }
            )
    return found
