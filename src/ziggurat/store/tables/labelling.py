"""The labelling workbench: projects and their versions, items, leases, answers, people of a project, what leads decide.

An answer's content is a row of `judgement` (subject_kind `item`); `label_answer` says which slot of the item it fills.
An item asks for `min_answers` answers and has so many slots: a lease holds one for a person for a while, a submitted
answer fills it for good. Three constraints keep two people from filling the last slot: one lease and one submitted
answer for each slot, and a trigger that refuses a slot that the item does not have.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Column, Float, ForeignKey, Index, String, Table, UniqueConstraint
from sqlalchemy import text as sql

from ziggurat.store.tables.base import (
    ID,
    at,
    flag,
    json,
    key,
    metadata,
    person,
    small,
    text,
    workspace,
)


def _to(name: str, target: str, *, nullable: bool = False, index: bool = True, **more: Any) -> Column[Any]:
    return Column(
        name,
        ID,
        ForeignKey(f"{target}.id", ondelete="SET NULL" if nullable else "CASCADE"),
        nullable=nullable,
        index=index,
        **more,
    )


def _by(name: str) -> Column[Any]:
    """A person who did something for the house; the row outlives the account."""
    return _to(name, "person", nullable=True, index=False)


def _word(name: str, length: int = 16, *, nullable: bool = False) -> Column[Any]:
    return Column(name, String(length), nullable=nullable)


def _current(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, unique=True, sqlite_where=sql(where), postgresql_where=sql(where))


projects = Table(
    "label_project",
    metadata,
    key(),
    workspace(),
    text("name"),
    text("description"),
    _word("status"),  # open paused closed archived
    _word("task"),  # ranking pairwise labels spans demonstration prompt rewrite
    json("settings"),  # workbench.labelling.objects.ProjectSettings
    small("version"),  # the newest number of project_version
    small("guideline"),  # the newest number of guideline_version; 0: none yet
    _by("created_by"),
    at("updated_at"),
    at(),
)

project_versions = Table(  # what is asked; a change after answers exist makes a new one
    "project_version",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project", index=False),
    small("n"),
    json("questions"),
    _by("created_by"),
    at(),
    UniqueConstraint("project_id", "n"),
)

guideline_versions = Table(
    "guideline_version",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project", index=False),
    small("n"),
    json("texts"),  # Markdown by language: {en, zh}
    text("note"),  # what changed
    flag("acknowledge"),  # whether labellers must confirm it before the next item
    _by("created_by"),
    at(),
    UniqueConstraint("project_id", "n"),
)

guideline_acks = Table(
    "guideline_ack",
    metadata,
    _to("guideline_id", "guideline_version", primary_key=True, index=False),
    Column("person_id", ID, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, index=True),
    workspace(),
    at(),
)

items = Table(
    "label_item",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project", index=False),
    _word("kind"),  # work gold training test
    json(
        "payload"
    ),  # {messages: [{role, content}], completions: [{id, content, model?, sampling?, hashes?}], ...}
    _word("lang", nullable=True),
    _word("skill", 64, nullable=True),  # only people with this skill get it
    json("tags"),
    json("meta"),
    json("sensitive"),  # categories: blurred, and not given to who opted out
    small("priority"),  # higher first
    _word("status"),  # pending in_progress completed conflicted adjudicated halted
    small("min_answers"),
    small("answers"),  # submitted ones
    small("skips"),
    json("source"),  # {kind: hand chat model import tree review program, ...}
    Column(
        "chat_id", ID, ForeignKey("chat.id", ondelete="SET NULL"), index=True
    ),  # the chat it was made from
    json("gold", nullable=True),  # the known value of gold, training and test items
    text("explanation", nullable=True),  # shown after a training item
    json("suggestion", nullable=True),  # {value, agent, score}
    flag("data_use"),  # whether its answers may be learned from
    _word("content_hash", 64),
    Column("disagreement", Float),  # 0 (all alike) to 1; None: fewer than two answers
    Column("uncertainty", Float),  # of a reward model
    _by("created_by"),
    at("completed_at", nullable=True),
    at("updated_at"),
    at(),
    Index("ix_label_item_queue", "project_id", "kind", "status", "priority", "id"),
    Index("ix_label_item_hash", "project_id", "content_hash"),
    CheckConstraint("min_answers >= 1 AND answers >= 0", name="counts"),
)

item_authors = Table(  # who wrote the prompt or a completion: never asked about it
    "label_author",
    metadata,
    _to("item_id", "label_item", primary_key=True, index=False),
    Column("person_id", ID, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, index=True),
)

leases = Table(  # who works on what until when
    "lease",
    metadata,
    key(),
    workspace(),
    _word("subject_kind"),  # item
    Column("subject_id", ID, nullable=False),
    small("slot"),
    person(),
    small("version"),  # grows with every heartbeat
    at("expires_at", index=True),
    at(),
    UniqueConstraint("subject_kind", "subject_id", "slot"),
    UniqueConstraint("subject_kind", "subject_id", "person_id", name="uq_lease_person"),
)

drafts = Table(  # an opened item: what was shown in which order, and the answer as far as it came
    "label_draft",
    metadata,
    _to("item_id", "label_item", primary_key=True, index=False),
    Column("person_id", ID, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, index=True),
    workspace(),
    _to("project_id", "label_project"),
    json("shown"),  # ids of the completions in the order of the screen
    json("how"),  # {method, probability}: why this item
    json("value", nullable=True),  # None: nothing is written yet
    flag("prefilled"),  # begun from a model's draft
    flag("suggested"),  # the suggestion was shown
    at("saved_at", nullable=True),
    at("opened_at"),
)

answers = Table(
    "label_answer",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project", index=False),
    _to("item_id", "label_item"),
    person(),
    small("slot", nullable=True),  # None: it fills none (extra, training, test)
    _to("judgement_id", "judgement"),
    _to("version_id", "project_version", index=False),
    Column("guideline_id", ID, ForeignKey("guideline_version.id", ondelete="SET NULL")),
    _word("status"),  # submitted discarded superseded extra
    json("shown"),
    Column("seconds", Float),
    flag("late"),  # its lease had expired
    flag("prefilled"),
    flag("suggested"),  # the suggestion was shown before this was submitted
    flag("unchanged"),  # a ranking in the order of the screen
    Column("score", Float),  # agreement with the item's gold value, 0 to 1; None: it has none
    Column("superseded_by", ID),
    small("returned"),  # how often a review sent it back
    at(),
    Index("ix_label_answer_project", "project_id", "status", "id"),
    _current("uq_label_answer_person", "item_id", "person_id", where="status = 'submitted'"),
    _current("uq_label_answer_slot", "item_id", "slot", where="status = 'submitted' AND slot IS NOT NULL"),
)

skips = Table(
    "label_skip",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project", index=False),
    _to("item_id", "label_item", index=False),
    person(),
    _word("reason", 32),  # unclear outside_knowledge wrong_language upsetting broken
    text("comment", nullable=True),
    at(),
    UniqueConstraint("item_id", "person_id"),
    Index("ix_label_skip_project", "project_id", "person_id"),
)

assignments = Table(  # items that a lead gives to a person
    "label_assignment",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project", index=False),
    _to("item_id", "label_item", index=False),
    person(index=False),
    _by("assigned_by"),
    at("done_at", nullable=True),
    at(),
    UniqueConstraint("item_id", "person_id"),
    Index("ix_label_assignment_person", "project_id", "person_id", "done_at"),
)

comments = Table(
    "label_comment",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project"),
    Column(
        "item_id", ID, ForeignKey("label_item.id", ondelete="CASCADE"), index=True
    ),  # None: of the project
    person(),
    text("text"),
    flag("question"),  # to the lead
    at("resolved_at", nullable=True),
    at(),
)

mentions = Table(
    "label_mention",
    metadata,
    _to("comment_id", "label_comment", primary_key=True, index=False),
    Column("person_id", ID, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, index=True),
    at("seen_at", nullable=True),
)

members = Table(  # a person in a project
    "label_member",
    metadata,
    _to("project_id", "label_project", primary_key=True, index=False),
    Column("person_id", ID, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True, index=True),
    workspace(),
    _word("state"),  # training test qualified failed blocked
    json("skills"),
    json("scores", nullable=True),  # of the test, by measure
    Column("trust", Float),  # 0 to 1, from gold items and flags; None: nothing is known
    small("attempts"),  # of the test
    at("qualified_at", nullable=True),
    at("updated_at"),
    at(),
)

habits = Table(  # a person's own settings for labelling, in all projects
    "label_habit",
    metadata,
    Column("person_id", ID, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    workspace(),
    json("langs"),  # empty: all
    json("opt_out"),  # sensitive categories
    flag("blur"),
    small("break_minutes"),  # 0: no reminder
)

flags = Table(  # somebody doubts a person's answer, or a person
    "label_flag",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project"),
    person(),  # about whom
    Column("answer_id", ID, ForeignKey("label_answer.id", ondelete="CASCADE")),
    _by("flagged_by"),
    _word("reason", 32),
    at(),
)

answer_reviews = Table(
    "answer_review",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project"),
    _to("answer_id", "label_answer", index=False),
    person(),
    _word("verdict"),  # accept fix reject
    text("reason"),
    Column("judgement_id", ID, ForeignKey("judgement.id", ondelete="SET NULL")),  # the fixed answer
    flag("returned"),  # the item went back to its author
    at(),
    UniqueConstraint("answer_id", "person_id"),
)

adjudications = Table(
    "adjudication",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project"),
    _to("item_id", "label_item", index=False),
    person(),
    json("final"),
    text("reason"),
    json("answer_ids"),  # those that were seen
    Column("judgement_id", ID, ForeignKey("judgement.id", ondelete="SET NULL")),
    Column("superseded_by", ID),
    at(),
    _current("uq_adjudication_item", "item_id", where="superseded_by IS NULL"),
)

agreement_stats = Table(  # computed figures, so that a dashboard answers at once
    "agreement_stat",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project"),
    _word("scope", 160),  # all, or label:KEY, pair:A:B, guideline:ID, lang:zh
    _word("metric", 48),
    Column("value", Float),  # None: too few
    Column("low", Float),
    Column("high", Float),
    small("n"),
    at("computed_at"),
    UniqueConstraint("project_id", "scope", "metric"),
)

trees = Table(  # conversations that people grow together
    "label_tree",
    metadata,
    key(),
    workspace(),
    _to("project_id", "label_project"),
    _word("state", 32),
    _word("lang", nullable=True),
    json("settings"),
    at("updated_at"),
    at(),
)

tree_nodes = Table(
    "label_tree_node",
    metadata,
    key(),
    workspace(),
    _to("tree_id", "label_tree"),
    Column("parent_id", ID, ForeignKey("label_tree_node.id", ondelete="CASCADE"), index=True),
    _word("role"),
    text("content"),
    person(nullable=True),
    _word("model", 200, nullable=True),
    Column("judgement_id", ID, ForeignKey("judgement.id", ondelete="CASCADE")),
    small("rank", nullable=True),
    json("labels", nullable=True),
    _word("state", 32),
    at(),
)

webhooks = Table(
    "label_webhook",
    metadata,
    key(),
    workspace(),
    Column("project_id", ID, ForeignKey("label_project.id", ondelete="CASCADE"), index=True),  # None: all
    text("url"),
    text("secret"),
    json("events"),  # record.created answer.submitted item.completed
    flag("active"),
    _by("created_by"),
    at(),
)

deliveries = Table(  # at least once: a row stays until its receiver has answered
    "label_webhook_delivery",
    metadata,
    key(),
    workspace(),
    _to("webhook_id", "label_webhook"),
    _word("event", 32),
    json("payload"),
    small("attempts"),
    at("next_at", nullable=True, index=True),
    at("delivered_at", nullable=True),
    text("last_error", nullable=True),
    at(),
)
