"""A time budget becomes step counts, by the town's planner with a poem's lengths in place of an answer's.

The budget is for everything: what reading the file, the exam and the report take is set aside first.
"""

from __future__ import annotations

from dataclasses import replace

from ziggurat.ladder.plan import COMPLETION_TOKENS, CONVERSATION_TOKENS, Speeds, Work, costs, fit

RESERVED_S = 90.0
"""Reading and splitting the file, the tokenizer, the exam of three models and the report, together."""

POEM_CONVERSATION_TOKENS, POEM_TOKENS = 52, 33
"""Mean tokens of a task with its poem, and of the poem alone, over the prompts' mixture."""


def for_poems(speeds: Speeds) -> Speeds:
    """Measured speeds, as the planner must see them so that its unit, an answer, is a poem."""
    conversation = POEM_CONVERSATION_TOKENS / CONVERSATION_TOKENS
    return replace(
        speeds,
        train_token_s=speeds.train_token_s * conversation,
        forward_token_s=speeds.forward_token_s * conversation,
        completion_s=speeds.completion_s * POEM_TOKENS / COMPLETION_TOKENS,
    )


def plan(reference: Work, speeds: Speeds, budget_s: float) -> Work:
    """The reference scaled so that the whole climb takes the budget."""
    return fit(reference, for_poems(speeds), max(1.0, budget_s - RESERVED_S))


def stage_costs(work: Work, speeds: Speeds) -> dict[str, float]:
    """Seconds of each stage, all rounds together."""
    return costs(work, for_poems(speeds))
