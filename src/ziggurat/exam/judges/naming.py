"""A judge by its name, as commands take it.

smollm2, town/ppo            a model of this machine that chats
name@http://host:8000/v1     a model of an OpenAI-compatible server
reward:town/reward           a reward model
rule:numbers                 a metric of the exam, with the answer of the row's `target`
rules:grade, my.py:grade     a function (prompt, completion, row) -> grade from 1 to 10
"""

from __future__ import annotations

from collections.abc import Callable

from ziggurat.exam.candidate import Candidate
from ziggurat.exam.candidates import address_of, open_candidate
from ziggurat.exam.judges.judge import AnyJudge
from ziggurat.exam.judges.model import ModelJudge
from ziggurat.exam.judges.scoring import function_judge, reward_judge, rule_judge
from ziggurat.exam.metrics import metric


def open_judge(name: str, opened: Callable[[str], Candidate] = open_candidate) -> AnyJudge:
    """`opened`: from a name or an address to a model that answers.

    Raises:
        UsageError: there is no such rule, or the model only continues text.
        ConfigError: the function cannot be imported.
        ModelFolderError, RunError: there is no such model.
    """
    if elsewhere(name):
        return ModelJudge(opened(name))
    kind, colon, rest = name.partition(":")
    if kind == "reward" and colon:
        return reward_judge(rest)
    if kind == "rule" and colon:
        return rule_judge(rest, metric(rest), {})
    return function_judge(name) if colon else ModelJudge(opened(name))


def elsewhere(name: str) -> bool:
    """Whether texts leave this machine when this judge reads them."""
    return address_of(name, {}) is not None
