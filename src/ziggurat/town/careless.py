"""Carelessly typed questions: lower case, no punctuation, one small typo. The meaning stays.

Each function changes the spelling of a clean question and nothing else, so a clean and a careless item can be compared
in pairs. A typo never touches a resident's name or a number.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ziggurat.town.chance import Chance
from ziggurat.town.phrases import Language
from ziggurat.town.questions import Question, user

_MARKS = re.compile(r"[.?!,:;。？！，：；、]+$")
_WORD = re.compile(r"\b[a-z]{4,}\b")
#: Chinese words and a homophone that is typed in their place
_HOMOPHONES = (
    ("什么", "什吗"),
    ("哪里", "那里"),
    ("告诉", "告速"),
    ("生日", "生曰"),
    ("请问", "清问"),
    ("工作", "公作"),
    ("住在", "主在"),
    ("知道", "之道"),
    ("颜色", "言色"),
    ("喜欢", "喜换"),
    ("怎样", "怎羊"),
    ("怎么", "怎麽"),
    ("多少", "多小"),
    ("排序", "排续"),
    ("帮我", "邦我"),
    ("你好", "尼好"),
    ("谢谢", "写写"),
    ("的", "得"),
    ("哪", "那"),
    ("吗", "嘛"),
    ("做", "作"),
    ("几", "机"),
    ("请", "清"),
)


def lower_case(text: str, language: Language) -> str:
    """'Where does Ms Mira live?' -> 'where does ms mira live'; Chinese has no case and loses its last mark only."""
    bare = _MARKS.sub("", text.strip())
    return bare.lower() if language == "en" else bare


def misspell(chance: Chance, text: str, language: Language) -> str:
    """One small typo: a letter left out, doubled or swapped with the next; in Chinese a homophone.

    Only words in small letters of at least four letters are changed, so names stay. A text without such a word comes
    back in lower case or, in Chinese, without its last mark.
    """
    if language == "zh":
        fitting = [pair for pair in _HOMOPHONES if pair[0] in text]
        if not fitting:
            return lower_case(text, language)
        return text.replace(*chance.choice(fitting[:3]), 1)
    words = list(_WORD.finditer(text))
    if not words:
        return lower_case(text, language)
    found = chance.choice(words)
    return text[: found.start()] + _typo(chance, found.group()) + text[found.end() :]


def _typo(chance: Chance, word: str) -> str:
    """The first letter stays, as it does in most typos."""
    at = chance.between(1, len(word) - 2)
    draw = chance.below(3)
    if draw == 0:
        return word[:at] + word[at + 1 :]
    if draw == 1 or word[at] == word[at + 1]:
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def carelessly(chance: Chance, text: str, language: Language) -> str:
    """The text in lower case, without its last mark, misspelt, or misspelt in lower case."""
    draw = chance.below(10)
    if draw < 4:
        return lower_case(text, language)
    if draw < 5:
        return _MARKS.sub("", text)
    typo = misspell(chance, text, language)
    return typo if draw < 8 else lower_case(typo, language)


def retyped(question: Question, text: str) -> Question:
    """The question with this text in place of its last message."""
    return replace(question, messages=(*question.messages[:-1], user(text)))


def carelessly_asked(chance: Chance, question: Question) -> Question:
    """The question with its last message typed carelessly."""
    return retyped(question, carelessly(chance, question.messages[-1].content, question.language))
