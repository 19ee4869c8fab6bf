"""Whether an answer of a blind battle says which model wrote it.

A distinctive name of one of the two models (`gpt-4o`, `town/ppo-2`) is a leak wherever it stands, unless the question
has it too. A plain word (`claude`, `town`) and a well-known maker are leaks only where the answer speaks of itself:
"I am Claude", "trained by OpenAI", "我是通义千问".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAKERS = (
    *(
        "openai",
        "chatgpt",
        "gpt",
        "anthropic",
        "claude",
        "google",
        "gemini",
        "gemma",
        "bard",
        "meta ai",
        "llama",
    ),
    *(
        "mistral",
        "mixtral",
        "cohere",
        "deepseek",
        "qwen",
        "alibaba",
        "moonshot",
        "kimi",
        "zhipu",
        "chatglm",
        "glm",
    ),
    *("baidu", "ernie", "microsoft", "phi", "grok", "xai", "smollm", "hugging face", "ziggurat"),
    *("通义千问", "文心一言", "智谱", "深度求索", "百川", "豆包"),
)
SELF = re.compile(
    r"(\bi am\b|\bi['’]m\b|\bmy name is\b|\bcall(?:ed)? me\b|\bas an? [\w ]{0,30}(?:model|assistant)\b"
    r"|\b(?:made|created|developed|trained|built) by\b|我是|我叫|作为|由)",
    re.IGNORECASE,
)
REACH = 60
"""Characters after such a phrase in which the name is looked for, within its sentence."""
SENTENCE = re.compile(r"[.!?。！？\n]")
WORD = re.compile(r"[^\W\d_]{4,}")
GENERIC = frozenset(
    {
        "model",
        "models",
        "assistant",
        "base",
        "chat",
        "instruct",
        "latest",
        "sft",
        "ppo",
        "dpo",
        "reward",
        "own",
        "my",
        "ft",
    }
)


def leaks(
    answers: Iterable[str], models: Iterable[str], question: str = "", channels: Iterable[str] = ()
) -> bool:
    """Whether one of the answers names one of the models, or a maker as its own. `channels`: names that releases share
    (`helper` of `helper-4`), which tell none from another."""
    distinctive, plain = set[str](), {maker.casefold() for maker in MAKERS}
    generic = GENERIC.union(*({name.casefold(), *WORD.findall(name.casefold())} for name in channels))
    for model in models:
        for part in {model, *re.split(r"[/:@\s]+", model)}:
            name = part.casefold()
            if len(name) < 3 or name in generic:
                continue
            if re.search(r"\d", name) or ("/" in name):
                distinctive.add(name)
            else:
                plain.add(name)
            plain |= {word for word in WORD.findall(name) if word not in generic}
    asked = question.casefold()
    distinctive = {name for name in distinctive if not _has(asked, name)}
    return any(_names(answer.casefold(), distinctive, plain | distinctive) for answer in answers)


def _names(answer: str, distinctive: set[str], plain: set[str]) -> bool:
    if any(_has(answer, name) for name in distinctive):
        return True
    for found in SELF.finditer(answer):
        said = SENTENCE.split(answer[found.start() : found.end() + REACH])[0]
        if any(_has(said, name) for name in plain):
            return True
    return False


def _has(text: str, name: str) -> bool:
    """Whether the name stands in the text as a word of its own."""
    at = text.find(name)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(name) : at + len(name) + 1]
        if not (_letter(name[0], before) or _letter(name[-1], after)):
            return True
        at = text.find(name, at + 1)
    return False


def _letter(own: str, beside: str) -> bool:
    """Whether a neighbour makes a longer word of the name; Chinese has no spaces between words."""
    return beside.isascii() and beside.isalnum() and own.isascii()
