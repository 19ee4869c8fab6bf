"""The states of a conversation tree and of its messages, and what moves them (Open-Assistant, arXiv:2304.07327).

    initial_prompt_review   people review the first prompt               -> growing, or aborted_low_grade
    growing                 replies are written and reviewed              -> ranking, when the tree has its size
    ranking                 people rank the answers to the same message   -> ready_for_scoring
    ready_for_scoring       all rankings are there; ranks are computed    -> ready_for_export
    ready_for_export        the end
    aborted_low_grade       the first prompt was not accepted; the end
    halted_by_moderator     a lead stopped it; a lead can start it again where it was
    backlog                 a lead put it aside; a lead can start it again where it was

A message is accepted where 1 - (spam + wrong language) reaches `acceptance`, both as shares of its reviews.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

TreeState = Literal[
    "initial_prompt_review",
    "growing",
    "ranking",
    "ready_for_scoring",
    "ready_for_export",
    "aborted_low_grade",
    "halted_by_moderator",
    "backlog",
]
STATES: tuple[TreeState, ...] = get_args(TreeState)
ENDS = ("ready_for_export", "aborted_low_grade")
STOPPED = ("halted_by_moderator", "backlog")
NodeState = Literal["review", "accepted", "rejected"]

LABELS = (
    {"key": "spam", "title": {"en": "Spam", "zh": "垃圾内容"}, "scale": "binary", "required": True},
    {
        "key": "lang_mismatch",
        "title": {"en": "Wrong language", "zh": "语言不符"},
        "scale": "binary",
        "required": True,
    },
    {"key": "quality", "title": {"en": "Quality", "zh": "质量"}, "scale": "likert", "points": 5},
)
"""Of the project that reviews messages."""


class TreeSettings(BaseModel):
    """Open-Assistant's parameters and their values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: int = Field(default=3, ge=1, le=20)
    """Most replies below the first prompt."""
    children: int = Field(default=3, ge=1, le=9)
    """Replies to one message."""
    goal: int = Field(default=12, ge=1, le=500)
    """Accepted messages of a tree, the first prompt among them."""
    prompt_reviews: int = Field(default=3, ge=1, le=50)
    reply_reviews: int = Field(default=3, ge=1, le=50)
    rankings: int = Field(default=3, ge=1, le=50)
    acceptance: float = Field(default=0.6, ge=0, le=1)


def accepted(spam: float, lang_mismatch: float, acceptance: float) -> bool:
    """Both are shares of the reviews.

    >>> accepted(1 / 3, 0, 0.6), accepted(1 / 3, 1 / 3, 0.6)
    (True, False)
    """
    return 1 - (spam + lang_mismatch) >= acceptance - 1e-9
