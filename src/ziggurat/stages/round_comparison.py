"""Whether a round beats the one before: greedy answers of both policies to the same prompts, judged pair by pair.

Who judges: the labeller of the rounds where it is a callable (the town's labellers, a rule, a model with principles);
else the reward model of the round, which flatters a policy that was trained against it. Equal answers are half a win.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.evaluation.statistics import cluster_bootstrap
from ziggurat.records import Comparison, Message, Prompt
from ziggurat.stages.comparison_batches import conversation
from ziggurat.stages.judge import Judge

Rank = Callable[[Sequence[Message], list[str]], Comparison | None]
"""(prompt, distinct completions) -> how they rank, or None if they cannot be ranked."""


def compare_rounds(
    before: Path,
    after: Path,
    prompts: Sequence[Prompt],
    config: Any,
    *,
    rank: Rank | None,
    reward_model: Path | None,
) -> dict[str, Any] | None:
    """The win rate of `after` against `before` with its interval over prompts, and who judged; None without a judge.

    `config`: has `compare_prompts` and `max_new_tokens`.
    """
    if not config.compare_prompts or (rank is None and reward_model is None):
        return None
    chosen = list(prompts[:: max(1, len(prompts) // config.compare_prompts)])[: config.compare_prompts]
    greedy = SamplingParams(temperature=0.0, max_tokens=config.max_new_tokens)
    old, new = (
        [
            text.strip()
            for text in Chat.load(folder, as_trained=True).complete_many(
                [one.prompt for one in chosen], greedy, tools=[one.tools for one in chosen]
            )
        ]
        for folder in (before, after)
    )
    wins = (
        [_ranked(rank, one.prompt, a, b) for one, a, b in zip(chosen, old, new, strict=True)]
        if rank is not None
        else _scored(str(reward_model), chosen, old, new)
    )
    judged = [(win, repr(one.prompt)) for win, one in zip(wins, chosen, strict=True) if win is not None]
    found = cluster_bootstrap([win for win, _ in judged], [prompt for _, prompt in judged])
    return {
        **found.to_dict(),
        "judge": "the labeller" if rank is not None else "the reward model of this round",
        "same_answer": sum(a == b for a, b in zip(old, new, strict=True)) / len(chosen),
        "beats": bool(judged) and found.low > 0.5,
    }


def _ranked(rank: Rank, prompt: Sequence[Message], old: str, new: str) -> float | None:
    """1 where the new answer ranks above the old one, 0 below, 0.5 beside; None where they cannot be ranked."""
    if old == new:
        return 0.5
    found = rank(prompt, [old, new])
    if found is None:
        return None
    a, b = found.ranks
    return 1.0 if b < a else 0.0 if a < b else 0.5


def _scored(
    reward_model: str, prompts: Sequence[Prompt], old: Sequence[str], new: Sequence[str]
) -> list[Any]:
    """The same by a reward model; None where an answer is too long for it."""
    judge = Judge.load(reward_model)
    rows = [
        one.ids
        for one in judge.template.render_many(
            [conversation(p.prompt, t) for p, a, b in zip(prompts, old, new, strict=True) for t in (a, b)]
        )
    ]
    fits = [len(row) <= judge.context for row in rows]
    scores = iter(judge.score([row for row, fit in zip(rows, fits, strict=True) if fit]))
    read = [next(scores) if fit else None for fit in fits]
    wins: list[float | None] = []
    for i, (a, b) in enumerate(zip(old, new, strict=True)):
        x, y = read[2 * i], read[2 * i + 1]
        if x is None or y is None:
            wins.append(None)
        else:
            wins.append(0.5 if a == b or x == y else float(y > x))
    return wins


def sentence(number: int, found: dict[str, Any] | None) -> str:
    """The comparison in words."""
    before = "its start" if number == 1 else f"round {number - 1}"
    if found is None:
        return f"round {number} was not compared with {before}: there is no judge."
    if found["value"] is None:
        return f"round {number} was not compared with {before}: {found['judge']} could judge no pair."
    says = "beats" if found["beats"] else "does not surely beat"
    return (
        f"round {number} {says} {before}: it wins {found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}] of "
        f"{found['n']} pairs, judged by {found['judge']}."
    )
