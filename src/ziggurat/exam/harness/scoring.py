"""Filters, metrics and averages of lm-evaluation-harness 0.4.13: `filters/`, `api/metrics.py`, `Task.process_results`.

A filter takes the answers of one document and gives others; `take_first` ends with one. Left out: metrics that need
packages of their own (bleu, rouge, code_eval), f1 and mcc, and filters that read other documents.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ziggurat.errors import UsageError
from ziggurat.exam.candidate import Likelihood

Answers = Any
"""A list of texts, or one text behind `take_first`."""
INVALID = "[invalid]"


# --- filters ------------------------------------------------------------------------------------------------------


def _regex(
    answers: Answers,
    regex_pattern: str = r"#### (\-?[0-9\.\,]+)",
    group_select: int = 0,
    fallback: str = INVALID,
) -> Answers:
    def read(answer: str) -> str:
        matches = re.findall(regex_pattern, answer)
        if not matches:
            return fallback
        match = matches[group_select]
        if isinstance(match, tuple):
            match = next((part for part in match if part), fallback)
        return str(match).strip()

    return [read(answer) for answer in answers]


def _take_first_k(answers: Answers, k: int) -> Answers:
    if len(answers) < k:
        raise UsageError(
            f"take_first_k needs {k} answers a document and there are {len(answers)}; raise repeats."
        )
    return answers[:k]


def _map(
    answers: Answers, mapping_dict: Mapping[str, Any] | None = None, default_value: Any = None
) -> Answers:
    return [(mapping_dict or {}).get(answer, default_value) for answer in answers]


FILTERS: dict[str, Callable[..., Answers]] = {
    "lowercase": lambda answers: [answer.lower() for answer in answers],
    "majority_vote": lambda answers: [Counter(answers).most_common(1)[0][0]],
    "map": _map,
    "regex": _regex,
    "remove_whitespace": lambda answers: [answer.strip() for answer in answers],
    "take_first": lambda answers: answers[0],
    "take_first_k": _take_first_k,
    "uppercase": lambda answers: [answer.upper() for answer in answers],
}


def filtered(answers: Sequence[str], steps: Sequence[Mapping[str, Any]]) -> Answers:
    """The answers of one document after every step."""
    found: Answers = list(answers)
    for step in steps:
        rest = {key: value for key, value in step.items() if key != "function"}
        found = FILTERS[step["function"]](found, **rest)
    return found


# --- metrics of one document -----------------------------------------------------------------------------------------


def exact_match(
    predicted: str,
    right: str,
    *,
    regexes_to_ignore: Sequence[str] = (),
    ignore_case: bool = False,
    ignore_punctuation: bool = False,
    ignore_numbers: bool = False,
) -> float:
    """1 where both texts are equal, without what is ignored. Source: exact_match of Hugging Face's `evaluate`."""

    def bare(text: str) -> str:
        for pattern in regexes_to_ignore or ():
            text = re.sub(pattern, "", text)
        text = text.lower() if ignore_case else text
        gone = (string.punctuation if ignore_punctuation else "") + (string.digits if ignore_numbers else "")
        return text.translate(str.maketrans("", "", gone))

    return float(bare(predicted) == bare(right))


def choice_scores(
    choices: Sequence[str], given: Sequence[Likelihood], alone: Sequence[Likelihood] | None, gold: Any
) -> dict[str, float]:
    """Every metric of a multiple choice. `alone`: the choices after nothing; `gold`: an index, a choice, or several."""
    nats = np.array([one.nats for one in given])
    picks = {
        "acc": int(np.argmax(nats)),
        "acc_norm": int(np.argmax(nats / np.array([float(len(choice)) for choice in choices]))),
        "acc_bytes": int(np.argmax(nats / np.array([float(len(choice.encode())) for choice in choices]))),
    }
    if alone is not None:
        picks["acc_mutual_info"] = int(np.argmax(nats - np.array([one.nats for one in alone])))
    right = [_index(one, choices) for one in (gold if isinstance(gold, list) else [gold])]
    scores = {name: float(pick in right) for name, pick in picks.items()}
    scores["exact_match"] = float(any(given[i].greedy for i in right if i >= 0))
    return scores


def _index(gold: Any, choices: Sequence[str]) -> int:
    """-100 where it is none, as in the harness."""
    if isinstance(gold, str):
        return list(choices).index(gold) if gold in choices else -100
    return int(gold) if gold is not None and gold < len(choices) else -100


CHOICE_METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")
METRICS = {
    "multiple_choice": CHOICE_METRICS,
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "generate_until": ("exact_match",),
}
DEFAULT_METRICS = {**METRICS, "multiple_choice": ("acc", "acc_norm")}


# --- from documents to a figure ------------------------------------------------------------------------------------


def mean(values: Sequence[Any]) -> float:
    return sum(values) / len(values)


def _weighted(values: Sequence[Any]) -> float:
    return sum(value for value, _ in values) / sum(weight for _, weight in values)


AVERAGES: dict[str, Callable[[Sequence[Any]], float]] = {
    "mean": mean,
    "perplexity": lambda values: math.exp(-mean(values)),
    "weighted_perplexity": lambda values: math.exp(-_weighted(values)),
    "bits_per_byte": lambda values: -_weighted(values) / math.log(2),
}
AVERAGE_OF = {
    "perplexity": "perplexity",
    "word_perplexity": "weighted_perplexity",
    "byte_perplexity": "weighted_perplexity",
    "bits_per_byte": "bits_per_byte",
}
"""By metric; of every other the mean."""
