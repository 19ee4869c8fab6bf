"""What a gate asks of a candidate: bars, tolerances, the judge, and who signs.

policy.yaml of `ziggurat flywheel gate --policy FILE`; every field has a default and can be set by --set NAME=VALUE.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CRITERIA = ("win_rate", "collapse", "canaries", "safety", "text_loss", "exam", "metrics")


class GatePolicy(BaseModel):
    """A gate's bars. The gate keeps the policy that it was begun with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    win_rate: float = Field(default=0.5, ge=0.5, lt=1)
    """The lower bound of the win rate against the serving release must exceed it."""
    least: int = Field(default=30, ge=5)
    """Judged prompts (comparisons with a clear pair, battles, or judged answers) below which nothing is decided."""
    prompts: int = Field(default=200, ge=10)
    """Held-out prompts that both models answer, at most."""
    max_tokens: int = Field(default=128, ge=4)
    temperature: float = Field(default=0.7, ge=0, le=2)
    """Of those answers. Their seed is fixed, so that a gate gives the same figures again."""
    judge: str | None = None
    """A reward model (a run or a folder), or module:function of (messages, answer) -> number. Only asked where people's
    judgements are too few."""
    judge_agreement: float = Field(default=0.6, ge=0.5, le=1)
    """The share of people's held-out pairs that the judge must order as they do."""
    judge_only: bool = False
    """Do not use people's comparisons for the win rate, only for the judge's agreement."""
    text: tuple[str, ...] = ()
    """Files of held-out text; default: the town's held-out documents for a model of the town."""
    text_tolerance: float = Field(default=0.03, ge=0)
    """Bits per byte may rise by this share."""
    exam: Literal["auto", "none"] = "auto"
    exam_tasks: tuple[str, ...] = ()
    """Tasks or suites of the exam room (`ziggurat exam --list`) that both models sit instead of the town's exam."""
    exam_items: int = Field(default=300, ge=20)
    exam_tolerance: float = Field(default=0.02, ge=0)
    """Right answers may fall by this share of all items; of several tasks each counts the same."""
    safety_tolerance: float = Field(default=0.02, ge=0)
    distinct: float = Field(default=0.6, ge=0, le=1)
    """Distinct pairs of words, as a share of the serving release's."""
    ended: float = Field(default=0.1, ge=0, le=1)
    """The share of answers that end by themselves may fall by so much."""
    commonest: float = Field(default=0.2, ge=0, le=1)
    """The share of the commonest answer may rise by so much."""
    longer: float = Field(default=3.0, gt=1)
    """The mean length may change by this factor, up or down."""
    canary_alternatives: int = Field(default=255, ge=31)
    """Random answers that each canary is ranked among: a model that never saw it ranks it first once in so many + 1."""
    metrics: dict[str, float] = {}
    """Metrics of programs that the candidate must reach, by name (only where it has served as a canary)."""
    required: tuple[str, ...] = ("win_rate", "collapse")
    """Criteria without a verdict that leave the gate undecided; others that could not be measured are shown as such."""
    sign: Literal["person", "policy"] = "person"
    """policy: a gate that is passed makes the release by itself."""
