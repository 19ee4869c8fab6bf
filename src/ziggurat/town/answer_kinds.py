"""Which kind of answer a text is, by rule, and whether it is the right kind for what a stranger types first.

The rules are frozen before any training that is judged by them. They read the text alone, so many wordings of one kind
count. `grading.py` looks for refusals, the wrong language, repetition and missing ends before and after. Tested on
answers labelled by hand (tests/town/test_answer_kinds.py).
"""

from __future__ import annotations

import re
from typing import Literal

from ziggurat.town.phrases import Language
from ziggurat.town.questions import Question

AnswerKind = Literal[
    "self-description",  # says that the assistant is a model
    "greeting",
    "welcome",  # the reply to thanks
    "question back",
    "cannot",  # the task is beyond the assistant
    "pass and scope",  # does not know, and says what it knows about
    "not in the text",
    "pass",
    "abilities",  # what the assistant can do or can be asked
    "statement",  # everything else
]
_RULES: dict[Language, tuple[tuple[AnswerKind, re.Pattern[str]], ...]] = {
    "en": (
        (
            "self-description",
            re.compile(r"\bI( am|'m) (an? )?([a-z]+ )*(model|assistant|machine|program|robot)\b", re.I),
        ),
        ("greeting", re.compile(r"^(hello|hi|hey|good (morning|day|evening|afternoon)|welcome)\b", re.I)),
        ("welcome", re.compile(r"\b(you( are|'re) welcome|my pleasure)\b", re.I)),
        ("question back", re.compile(r"\b(mean|which|whom?|what|whose)\b[^.!]*\?", re.I)),
        ("cannot", re.compile(r"\bI (can not|cannot|can't|am not able to)\b(?! help| know)", re.I)),
        (
            "pass and scope",
            re.compile(r"\bI (do not|don't) know\b.*\b(I only|only know|only answer)\b", re.I | re.S),
        ),
        ("not in the text", re.compile(r"\b(does not|doesn't) say\b|\bis not (stated|written)\b", re.I)),
        ("pass", re.compile(r"\bI (do not|don't) know\b", re.I)),
        ("abilities", re.compile(r"\bI can (?!not)|\bask me\b", re.I)),
    ),
    "zh": (
        ("self-description", re.compile(r"我是一?个?[^。，？]{0,8}(模型|助手|机器|程序)")),
        ("greeting", re.compile(r"^(你好|您好|嗨|早上好|晚上好|下午好|欢迎)")),
        ("welcome", re.compile(r"不客气|不用谢")),
        ("question back", re.compile(r"(什么|谁|哪)[^。！]*？")),
        ("cannot", re.compile(r"我?(做不到|不会做|做不了)")),
        ("pass and scope", re.compile(r"不知道.*我只", re.S)),
        ("not in the text", re.compile(r"没有?(写|说|提)")),
        ("pass", re.compile(r"不知道")),
        ("abilities", re.compile(r"我(可以|能|会)|(请|可以)问我")),
    ),
}
_FITTING: dict[str, tuple[AnswerKind, ...]] = {
    "greeting": ("greeting",),
    "thanks": ("welcome",),
    "identity": ("self-description",),
    "ability": ("abilities",),
    "help": ("abilities",),
    "outside": ("pass and scope",),
    "task": ("cannot", "pass and scope"),
    "unclear": ("question back",),
    "name": ("question back",),
}
_NOT_SAID: tuple[AnswerKind, ...] = ("not in the text", "pass", "pass and scope")
_SENTENCE_END = re.compile(r"[.。!！](?=\s|$|[^\s\d])")


def answer_kind(text: str, language: Language) -> AnswerKind:
    """The kind of this answer: the first rule that fits, in the order of `AnswerKind`."""
    stripped = text.strip()
    return next((kind for kind, rule in _RULES[language] if rule.search(stripped)), "statement")


def right_kind(question: Question, text: str) -> bool:
    """Whether the answer is of the kind that the question asks for and contains its value, if it has one."""
    kind = answer_kind(text, question.language)
    if fitting := _FITTING.get(question.kind):
        return kind in fitting and contains(text, question.value, question.language)
    if question.kind == "passage":
        if not question.value:
            return kind in _NOT_SAID
        one_sentence = len(_SENTENCE_END.findall(text.strip())) <= 1
        return one_sentence and contains(text, question.value, question.language)
    if question.kind == "term":
        wanted = "question back" if len(question.messages) == 1 else "statement"
        return kind == wanted and contains(text, question.value, question.language)
    if question.kind == "insist":  # about a sum; `grading.py` judges those about a resident
        numbers = re.findall(r"\d+", text)
        return bool(numbers) and numbers[-1] == question.value
    raise ValueError(f"answers to questions of kind {question.kind!r} are judged in grading.py")


def contains(text: str, value: str, language: Language) -> bool:
    """Whether the value is in the text, in English as whole words; an empty value is in every text."""
    if language == "zh" and not value.isdigit():
        return value in text
    inside = r"\d" if language == "zh" else r"\w"
    return re.search(rf"(?<!{inside}){re.escape(value)}(?!{inside})", text) is not None
