"""Expert review before delivery: policies, items, versions, claims, decisions, deliveries.

What must never happen is refused by the database, not only by the rules (triggers, `review_guards.py`):

- A delivery names a decision, and the decision approved exactly the delivered text (composite foreign keys).
- A person decides only with the open claim of the item and a reviewer's role; a policy only while it is switched on.
- An item has one open claim. Versions, decisions and deliveries never change. States change only as the table allows.
- The message of an item is empty, or the delivered text.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy import text as sql

from ziggurat.store.tables.base import (
    ID,
    at,
    flag,
    json,
    key,
    metadata,
    number,
    person,
    small,
    text,
    workspace,
)

STATES = (
    "drafting",  # the model writes another draft
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
)


def item(*, unique: bool = False) -> Column[str]:
    fk = ForeignKey("review_item.id", ondelete="CASCADE")
    return Column("item_id", ID, fk, nullable=False, index=not unique, unique=unique)


policies = Table(
    "review_policy",
    metadata,
    key(),
    workspace(),
    Column("topic", String(64), nullable=False),  # general: whatever no other topic takes
    text("name"),
    json("words"),  # an item with one of these words has the topic
    Column("mode", String(16), nullable=False),  # all sampled auto
    Column(
        "sample_pct", Float, nullable=False
    ),  # of what sampled and auto let through, reviewed all the same
    Column("double_pct", Float, nullable=False),  # decided blind by a second expert
    small("risk"),  # 0 low, 1 normal, 2 high, 3 critical
    flag("four_eyes"),
    number("claim_s"),
    number("decide_s"),
    json("calendar"),  # {zone, hours, holidays}; {}: at all hours
    json("routes"),  # what raises the risk, or asks for review in a sampled topic
    json("texts"),  # {holding, declines, reasons, guideline}, by language
    json("autonomy"),  # {threshold, min_items, window_days}
    json("escalates_to"),  # people to whom this topic escalates; []: every lead
    flag("enabled"),
    small("version"),
    Column("changed_by", ID, ForeignKey("person.id", ondelete="SET NULL")),
    at(),
    at("updated_at"),
    UniqueConstraint("workspace_id", "topic"),
    CheckConstraint("mode IN ('all', 'sampled', 'auto')", name="mode"),
)

items = Table(
    "review_item",
    metadata,
    key(),
    workspace(),
    person(nullable=True),  # who waits for the answer; None: a key of a file
    Column("chat_id", ID, ForeignKey("chat.id", ondelete="CASCADE"), index=True),
    Column("message_id", ID, ForeignKey("message.id", ondelete="CASCADE"), unique=True),
    Column("policy_id", ID, ForeignKey("review_policy.id")),
    Column("channel", String(8), nullable=False),  # chat api
    Column("state", String(24), nullable=False),
    small("version"),  # grows with every change: a page that shows an older one cannot decide
    Column("topic", String(64), nullable=False),
    small("risk"),
    small("priority"),  # raised when a deadline passes
    flag("four_eyes"),
    flag("reopened"),  # delivered before, and looked at again
    json("routed"),  # why it is here: names of routes
    json("prompt"),  # the conversation before the answer
    text("question"),
    text("model", nullable=True),
    Column("lang", String(8)),
    json("signals"),  # mean_logprob, reward, moderation, guard
    json("made"),  # sampling and hashes of the draft
    json("origin", nullable=True),  # of the API: {path, key_id, request_id, response, answered}
    flag("data_use"),
    Column("held_id", ID, ForeignKey("held_answer.id", ondelete="SET NULL"), unique=True),
    Column("client_id", ID),  # what the API calls it
    Column("escalated_to", ID, ForeignKey("person.id", ondelete="SET NULL")),
    at("claim_due_at"),
    at("due_at"),
    at("warned_at", nullable=True),
    at("breached_at", nullable=True),
    at("claimed_at", nullable=True),
    at("decided_at", nullable=True),
    at("delivered_at", nullable=True),
    at(),
    at("updated_at"),
    CheckConstraint("state IN ({})".format(", ".join(f"'{one}'" for one in STATES)), name="state"),
    Index("ix_review_item_queue", "workspace_id", "state", "due_at", "id"),
    Index("ix_review_item_person", "person_id", "id"),
)

versions = Table(  # a text, as it is for ever
    "review_version",
    metadata,
    key(),
    workspace(),
    item(),
    small("n"),
    Column("author_kind", String(8), nullable=False),  # model person template
    Column("author_id", ID),  # of a person; no key: the text outlives the account
    text("text"),
    Column("hash", String(64), nullable=False),
    text("instruction", nullable=True),  # what the expert asked the model for
    Column("parent_id", ID),  # the version that it changes
    at(),
    UniqueConstraint("item_id", "n"),
    UniqueConstraint("id", "item_id", "hash"),
    CheckConstraint("author_kind IN ('model', 'person', 'template')", name="author_kind"),
)

claims = Table(
    "review_claim",
    metadata,
    key(),
    workspace(),
    item(),
    person(),
    at("expires_at"),
    at("ended_at", nullable=True),
    Column("ended_how", String(16)),  # decided released expired taken closed
    at(),
    Index(
        "uq_review_claim_open",
        "item_id",
        unique=True,
        sqlite_where=sql("ended_at IS NULL"),
        postgresql_where=sql("ended_at IS NULL"),
    ),
)

decisions = Table(
    "review_decision",
    metadata,
    key(),
    workspace(),
    item(),
    person(nullable=True, ondelete="SET NULL"),
    Column("policy_id", ID, ForeignKey("review_policy.id")),
    Column("decided_by", String(8), nullable=False),  # person policy
    Column("decision", String(16), nullable=False),
    Column("judged_id", ID, nullable=False),  # the version that was looked at
    Column("version_id", ID),  # the text that may leave; None: none may
    Column("hash", String(64)),
    json("reasons"),
    text("note", nullable=True),
    flag("severe"),
    Column("seconds", Float),  # from the claim to the decision
    Column("viewed_s", Float),  # that the page was in view
    Column("distance", Float),  # of the approved text from the draft: edits over characters
    small("changed", nullable=True),  # characters
    Column("judgement_id", ID, ForeignKey("judgement.id", ondelete="SET NULL")),
    at(),
    UniqueConstraint("id", "item_id", "version_id", "hash"),
    ForeignKeyConstraint(["judged_id"], ["review_version.id"], name="fk_review_decision_judged"),
    ForeignKeyConstraint(
        ["version_id", "item_id", "hash"],
        ["review_version.id", "review_version.item_id", "review_version.hash"],
        name="fk_review_decision_version",
    ),
    CheckConstraint(
        "decision IN ('approve', 'edit', 'reject', 'answer', 'decline', 'escalate', 'recall')",
        name="decision",
    ),
    CheckConstraint(
        "(decided_by = 'person' AND policy_id IS NULL) OR (decided_by = 'policy' AND policy_id IS NOT NULL)",
        name="decided_by",
    ),
    CheckConstraint("(version_id IS NULL) = (hash IS NULL)", name="approved"),
)


def _sent(name: str, *columns: Column[Any]) -> Table:
    """What went to the customer: a version, by a decision that approved exactly this text."""
    return Table(
        name,
        metadata,
        key(),
        workspace(),
        *columns,
        Column("decision_id", ID, nullable=False),
        Column("version_id", ID, nullable=False),
        Column("hash", String(64), nullable=False),
        at(),
        ForeignKeyConstraint(
            ["decision_id", "item_id", "version_id", "hash"],
            [
                "review_decision.id",
                "review_decision.item_id",
                "review_decision.version_id",
                "review_decision.hash",
            ],
            name=f"fk_{name}_decision",
        ),
        ForeignKeyConstraint(
            ["version_id", "item_id", "hash"],
            ["review_version.id", "review_version.item_id", "review_version.hash"],
            name=f"fk_{name}_version",
        ),
    )


deliveries = _sent("review_delivery", item(unique=True), Column("channel", String(8), nullable=False))

corrections = _sent(
    "review_correction",
    item(),
    Column("kind", String(8), nullable=False),  # correct recall
    text("note"),  # the customer reads it
)

notes = Table(  # of the experts among themselves; no object for customers holds one
    "review_note",
    metadata,
    key(),
    workspace(),
    item(),
    person(nullable=True, ondelete="SET NULL"),
    text("text"),
    json("mentions"),
    at(),
)

complaints = Table(
    "review_complaint",
    metadata,
    key(),
    workspace(),
    item(),
    person(),
    text("text"),
    at(),
)

looks = Table(  # who has an item open: presence, and how long it was in view
    "review_look",
    metadata,
    Column("item_id", ID, ForeignKey("review_item.id", ondelete="CASCADE"), primary_key=True),
    Column("person_id", ID, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, index=True),
    at("first_at"),
    at("seen_at"),
    Column("viewed_s", Float, nullable=False),
)

seconds = Table(  # a second, blind decision, which delivers nothing
    "review_second",
    metadata,
    key(),
    workspace(),
    item(unique=True),
    person(nullable=True, ondelete="SET NULL"),
    Column("decision", String(16)),  # None: open
    json("reasons"),
    text("text", nullable=True),
    Column("judgement_id", ID, ForeignKey("judgement.id", ondelete="SET NULL")),
    at("decided_at", nullable=True),
    at(),
)

saved_views = Table(
    "review_view",
    metadata,
    key(),
    workspace(),
    person(),
    text("name"),
    json("filters"),
    at(),
)

outbox = Table(  # what is still to be sent to the workspace's webhook
    "review_outbox",
    metadata,
    key(),
    workspace(),
    item(),
    Column("event", String(32), nullable=False),
    small("attempts"),
    at("next_at"),
    at("sent_at", nullable=True),
    text("trouble", nullable=True),
    at(),
    UniqueConstraint("item_id", "event", "created_at"),
    Index(
        "ix_review_outbox_open",
        "next_at",
        sqlite_where=sql("sent_at IS NULL"),
        postgresql_where=sql("sent_at IS NULL"),
    ),
)
