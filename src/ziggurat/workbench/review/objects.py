"""What the rules of the review return: frozen, JSON by `model_dump()`. docs/review.md describes them.

`Status` and `ForCaller` are all that a customer ever gets; neither has a field for a draft, a note or a person's name.
"""

from __future__ import annotations

from typing import Any, Literal

from ziggurat.product.objects import Thing

State = Literal[
    "drafting",
    "queued",
    "claimed",
    "approved",
    "edited",
    "rejected",
    "answered_by_human",
    "escalated",
    "delivered",
    "withheld",
    "expired",
    "cancelled",
    "superseded",
]
OPEN: tuple[str, ...] = (
    *("drafting", "queued", "claimed", "approved", "edited", "rejected", "answered_by_human", "escalated"),
)
"""States in which somebody waits for a decision."""


def late(item: Any) -> bool:
    """Whether the deadline of now has passed and was raised; one before a complaint stays noted in `breached_at`."""
    return item.breached_at is not None and item.breached_at >= item.due_at


def unclaimed(item: Any) -> bool:
    """Whether it waits, and the time to claim it has passed and was raised."""
    raised = item.breached_at is not None and item.breached_at >= item.claim_due_at
    return raised and not late(item) and item.state in ("queued", "escalated")


class Who(Thing):
    id: str
    name: str


class Row(Thing):
    """A line of the inbox."""

    id: str
    state: State
    version: int
    channel: Literal["chat", "api"]
    topic: str
    risk: int
    priority: int
    four_eyes: bool
    reopened: bool
    routed: list[str]
    question: str
    model: str | None
    lang: str | None
    customer: str | None
    """A stable short name of who waits, never their own."""
    due_at: str
    claim_due_at: str
    late: bool
    warned: bool
    unclaimed: bool
    """Nobody has claimed it in the time to claim."""
    holder: Who | None
    holder_until: str | None
    created_at: str


class Version(Thing):
    id: str
    n: int
    author_kind: Literal["model", "person", "template"]
    author: Who | None
    text: str
    instruction: str | None
    created_at: str


class Decided(Thing):
    id: str
    decision: str
    by: Who | None
    """None: a policy, or an account that is gone."""
    decided_by: Literal["person", "policy"]
    reasons: list[str]
    note: str | None
    severe: bool
    seconds: float | None
    distance: float | None
    created_at: str


class Note(Thing):
    id: str
    by: Who | None
    text: str
    mentions: list[Who]
    created_at: str


class Earlier(Thing):
    """A similar question that was decided before."""

    item_id: str
    question: str
    answer: str | None
    decision: str
    reasons: list[str]
    similarity: float
    decided_at: str


class Card(Thing):
    """Everything that an expert needs to decide on one item."""

    item: Row
    prompt: list[dict[str, Any]]
    versions: list[Version]
    decisions: list[Decided]
    notes: list[Note]
    complaints: list[dict[str, str]]
    corrections: list[dict[str, Any]]
    facts: list[dict[str, Any]]
    """Places of the newest text that state what the request does not."""
    signals: dict[str, Any]
    origin: dict[str, Any] | None
    earlier: list[Earlier]
    here: list[Who]
    """Others who have it open now."""
    reasons: list[dict[str, Any]]
    declines: list[dict[str, Any]]
    guideline: dict[str, str] | None
    mine: bool
    may_claim: bool
    why_not: str | None
    delivered_version_id: str | None


class Status(Thing):
    """What a customer sees in place of an answer, or beside one."""

    message_id: str | None
    state: Literal["waiting", "checking", "delivered", "withheld", "cancelled"]
    expected_at: str | None
    notice: str | None
    by_person: bool
    corrected: dict[str, str] | None
    complained: bool
    reopened: bool
    delivered_at: str | None


class ForCaller(Thing):
    """The same for a program."""

    id: str
    object: Literal["review"] = "review"
    status: str
    created_at: str
    expected_at: str | None
    notice: str | None
    by_person: bool
    corrected: dict[str, str] | None
    response: dict[str, Any] | None
