"""What a person reads in place of an answer, in their language, and not twice in the same words (A081)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

LOCALES = ("en", "zh-CN")

REFUSALS: Mapping[str, Sequence[str]] = {
    "en": (
        "I won't help with that. If there is something near it that I can do, tell me what you are after.",
        "That is something I don't do here. I'm glad to help with another question.",
        "I have to leave this one out. Is there another way I can be of use?",
        "No, I can't take part in that. Ask me about something else and I'll do my best.",
    ),
    "zh-CN": (
        "这件事我不能帮忙。如果你真正想解决的是别的问题，可以说说看。",
        "这个请求我不会处理。换一个问题，我很乐意帮忙。",
        "抱歉，这方面我没法参与。还有什么别的需要吗？",
        "这类内容我不提供。我们可以聊点别的。",
    ),
}
HELD: Mapping[str, Sequence[str]] = {
    "en": (
        "A person will look at this answer before it is shown.",
        "This answer waits for a person's review.",
    ),
    "zh-CN": (
        "这个回答会先由工作人员查看，然后再显示。",
        "这个回答正在等待人工审核。",
    ),
}


def locale_of(text: str) -> str:
    """`zh-CN` where a fifth of the letters or more are Chinese characters, else `en`."""
    letters = [c for c in text[:2_000] if c.isalpha()]
    chinese = sum("\u3400" <= c <= "\u9fff" for c in letters)
    return "zh-CN" if letters and chinese >= 0.2 * len(letters) else "en"


def known_locale(locale: str, among: Mapping[str, object]) -> str:
    """`locale`, or the one of its language, or English, or the first there is."""
    if locale in among:
        return locale
    language = locale.partition("-")[0]
    same = [known for known in among if known.partition("-")[0] == language]
    return next(iter([*same, *(known for known in among if known == "en"), *among]))


def pick(wordings: Mapping[str, Sequence[str]], locale: str, history: Sequence[str], text: str) -> str:
    """A wording in this language that the conversation has not had; the text decides which, so it can be repeated.

    `history`: the answers of the conversation so far, oldest first.
    """
    several = wordings[known_locale(locale, wordings)]
    start = zlib.crc32(text.encode(errors="replace")) % len(several)
    in_turn = [several[(start + i) % len(several)] for i in range(len(several))]
    last_said = {
        one: max((i for i, said in enumerate(history) if one in said), default=-1) for one in in_turn
    }
    return min(in_turn, key=lambda one: last_said[one])
