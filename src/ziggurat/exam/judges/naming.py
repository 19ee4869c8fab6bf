"""A judge by its name, as commands take it.

    smollm2, town/ppo            a model of this machine that chats
    http://host:8000/v1#name     a model of an OpenAI-compatible server
    reward:town/reward           a reward model
    rule:numbers                 a metric of the exam, with the answer of the row's `target`
    rules:grade, my.py:grade     a function (prompt, completion, row) -> grade from 1 to 10
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from ziggurat.errors import UsageError, did_you_mean
from ziggurat.exam.candidate import Candidate
from ziggurat.exam.judges.judge import AnyJudge
from ziggurat.exam.judges.model import ModelJudge
from ziggurat.exam.judges.scoring import function_judge, reward_judge, rule_judge
from ziggurat.exam.metrics import METRICS, Metric


def open_judge(name: str, open_candidate: Callable[[str], Candidate]) -> AnyJudge:
    """`open_candidate`: from a name or an address to a model that answers.

    Raises:
        UsageError: there is no such rule, or the model only continues text.
        ConfigError: the function cannot be imported.
        ModelFolderError, RunError: there is no such model.
    """
    kind, colon, rest = name.partition(":")
    if colon and kind == "reward":
        return reward_judge(rest)
    if colon and kind == "rule":
        return rule_judge(rest, _metric(rest), {})
    if colon and kind not in ("http", "https") and "/" not in rest and kind:
        return function_judge(name)
    return ModelJudge(open_candidate(name))


def _metric(name: str) -> Metric:
    if name not in METRICS:
        hint = did_you_mean(name, METRICS) or f" There are {', '.join(sorted(METRICS)) or 'none'}."
        raise UsageError(f'There is no metric "{name}" for a judge by rule.{hint}')
    module, _, function = METRICS[name].partition(":")
    return cast(Metric, getattr(importlib.import_module(module), function))
