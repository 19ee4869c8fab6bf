"""The words of a report card in English and Chinese: a sentence for each task, for people who read no statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.evaluation.statistics import Interval

LANGUAGES = ("en", "zh")
ABILITIES: dict[str, dict[str, str]] = {
    "continuation": {"en": "Continuing text", "zh": "续写文字"},
    "in-context": {"en": "Learning from examples in the prompt", "zh": "从提示中的例子学习"},
    "knowledge": {"en": "Knowledge of the world", "zh": "世界知识"},
    "instructions": {"en": "Following instructions", "zh": "遵循指令"},
    "unseen-tasks": {"en": "Tasks of a new kind", "zh": "没见过的任务"},
    "code": {"en": "Writing programs", "zh": "写程序"},
    "reasoning": {"en": "Reasoning in steps", "zh": "分步推理"},
    "refusal": {"en": "Refusing what is improper", "zh": "拒绝不当要求"},
    "knows-limits": {"en": "Saying what it does not know", "zh": "知道自己不知道"},
    "dialogue": {"en": "Conversation", "zh": "多轮对话"},
    "robustness": {"en": "The same answer to other words", "zh": "换个问法也一样"},
    "honesty": {"en": "Honesty", "zh": "诚实"},
    "format": {"en": "Form and structure", "zh": "格式与结构"},
    "language": {"en": "Languages", "zh": "语言"},
    "persona": {"en": "Keeping a role", "zh": "保持角色"},
    "fairness": {"en": "Fairness", "zh": "公平"},
    "causal": {"en": "Causes and effects", "zh": "因果"},
    "long-context": {"en": "Long texts", "zh": "长文本"},
    "diversity": {"en": "Variety of answers", "zh": "回答的多样"},
    "novelty": {"en": "Own words", "zh": "自己的话"},
    "writing": {"en": "Writing", "zh": "写作"},
}
WORDS: dict[str, dict[str, str]] = {
    "title": {"en": "Exam", "zh": "考试"},
    "abilities": {"en": "What it can do", "zh": "会什么"},
    "all": {"en": "All figures", "zh": "全部数字"},
    "task": {"en": "task", "zh": "题目"},
    "ability": {"en": "ability", "zh": "能力"},
    "items": {"en": "items", "zh": "题数"},
    "chance": {"en": "guessing", "zh": "瞎猜"},
    "majority": {"en": "always the commonest answer", "zh": "总答最常见的答案"},
    "mde": {"en": "smallest difference found", "zh": "能发现的最小差别"},
    "curves": {"en": "Curves", "zh": "曲线"},
    "strata": {"en": "By part", "zh": "分项"},
    "part": {"en": "part", "zh": "分项"},
    "more": {"en": "Other figures", "zh": "其他数字"},
    "figure": {"en": "figure", "zh": "数字"},
    "samples": {"en": "Answers", "zh": "回答示例"},
    "expected": {"en": "right", "zh": "正确答案"},
    "contamination": {"en": "Did the model learn the questions?", "zh": "模型学过这些题吗？"},
    "missing": {"en": "What was not measured", "zh": "没有测量的"},
    "model": {"en": "model", "zh": "模型"},
    "why": {"en": "why", "zh": "原因"},
    "how": {"en": "How it was measured", "zh": "怎样测量的"},
    "against": {"en": "against", "zh": "对比"},
    "right": {"en": "right", "zh": "对"},
    "wrong": {"en": "wrong", "zh": "错"},
    "everything": {"en": "everything that was asked", "zh": "没有遗漏"},
}
INTRO = {
    "en": "Each figure has an interval. Of 100 such intervals, about 95 hold the score over all questions of this "
    "kind. A model can do something only where its whole interval lies above guessing.",
    "zh": "每个数字都有区间：一百个这样的区间里，约有九十五个包含全部同类题目的得分。"
    "只有整个区间都高于瞎猜，才能说模型会做。",
}


NUMBERS = frozenset(
    {
        "bits_per_byte", "brier", "byte_perplexity", "claims", "copies", "errors", "errors_per_1000", "leaks",
        "longest", "nats", "perplexity", "target_nats", "token_perplexity", "word_perplexity", "words",
    }
)  # fmt: skip
NUMBERS_BEGIN = ("choice_nats", "percentile")
"""Figures that are no shares, by name or by how the name begins."""


def word(key: str, language: str) -> str:
    return WORDS[key][language]


def ability(name: str, language: str) -> str:
    return ABILITIES.get(name, {}).get(language, name)


def value(figure: Mapping[str, Any]) -> str:
    """A task's figure with its interval: `94 % [88, 98]`, or bits."""
    if figure.get("score") is None:
        return "–"
    low, high = figure.get("low"), figure.get("high")
    if figure.get("unit") == "bits per byte":
        bounds = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
        return f"{figure['score']:.3f} bits/byte{bounds}"
    return share(figure["score"], low, high)


def metric(name: str, score: float, low: float | None = None, high: float | None = None) -> str:
    """One of the other figures by its name: a share as percent, a number of something as it is."""
    bare = name.partition(",")[0].rpartition(": ")[2]
    if bare not in NUMBERS and not bare.startswith(NUMBERS_BEGIN):
        return share(score, low, high)
    bounds = "" if low is None or high is None else f" [{low:.3g}, {high:.3g}]"
    return f"{score:.3g}{bounds}"


def share(score: float, low: float | None = None, high: float | None = None) -> str:
    """A share as percent; a value outside of 0 to 1 as it is."""
    if not -1 <= score <= 1:
        bounds = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
        return f"{score:.4g}{bounds}"
    bounds = "" if low is None or high is None else f" [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{100 * score:.0f} %{bounds}"


def standing(figure: Mapping[str, Any]) -> bool | None:
    """True: surely above guessing (where it is not known, above the commonest answer); False: surely not; None: neither
    can be said, or there is nothing to compare with."""
    bars = [one for one in (figure.get("chance"), figure.get("majority")) if one is not None]
    low, high = figure.get("low"), figure.get("high")
    if not bars or low is None or high is None or figure.get("better") == "lower":
        return None
    return True if low > max(bars) else False if high < max(bars) else None


def sentence(
    title: str, figure: Mapping[str, Any], difference: Interval | None, baseline: str | None, language: str
) -> str:
    """What a figure says, in one sentence."""
    zh = language == "zh"
    said = f"{title}：{value(figure)}" if zh else f"{title}: {value(figure)}"
    if figure.get("score") is None:
        return f"{said}。" if zh else f"{said}."
    bars = {key: figure[key] for key in ("chance", "majority") if figure.get(key) is not None}
    if bars and figure.get("better") != "lower":
        name = max(bars, key=lambda key: bars[key])
        bar = share(bars[name])
        verdict = standing(figure)
        if zh:
            what = "瞎猜" if name == "chance" else "总答最常见的答案"
            said += {
                True: f"，高于{what}（{bar}）",
                False: f"，低于{what}（{bar}）",
                None: f"，与{what}（{bar}）分不开",
            }[verdict]
        else:
            what = "guessing" if name == "chance" else "always the commonest answer"
            said += {
                True: f", better than {what} ({bar})",
                False: f", worse than {what} ({bar})",
                None: f", no difference to {what} ({bar}) was found",
            }[verdict]
    if difference is not None and baseline:
        said += ("；" if zh else "; ") + change(difference, figure, baseline, language)
    return said + ("。" if zh else ".")


def change(difference: Interval, figure: Mapping[str, Any], baseline: str, language: str) -> str:
    """How a score differs from the baseline's."""
    lower = figure.get("better") == "lower"
    bits = figure.get("unit") == "bits per byte"
    sure = difference.low > 0 or difference.high < 0
    good = (difference.value < 0) == lower and difference.value != 0
    points = f"{difference.value:+.3f} bits" if bits else f"{100 * difference.value:+.0f} points"
    if language == "zh":
        points = f"{difference.value:+.3f} 比特" if bits else f"{100 * difference.value:+.0f} 个百分点"
        return (
            f"{'好于' if good else '差于'} {baseline}（{points}）"
            if sure
            else f"与 {baseline} 没有发现差别（{points}）"
        )
    if not sure:
        return f"no difference to {baseline} was found ({points})"
    return f"{'better' if good else 'worse'} than {baseline} ({points})"
