"""The one table of judgements (the design, section 16).

A thumb, a reason, a rewrite, a pick, a report, a ranking, a score, a vote of the arena and an expert's decision are one
row each. Columns hold what readers select by; `value` holds what the kind says. What was judged is kept as a snapshot,
since a judgement must stay readable when the chat goes on.

A judgement is about messages of a chat (`message_id`), or about another thing (`subject_kind`, `subject_id`): an item
of a labelling project, a review, a battle, an answer of the API. `basis` says by what right it may be learned from.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, String, Table
from sqlalchemy import text as sql

from ziggurat.store.tables.base import ID, at, flag, json, key, metadata, person, text, workspace

ONE_OF_A_SUBJECT = (
    "superseded_by IS NULL AND withdrawn_at IS NULL AND subject_kind IS NOT NULL "
    "AND kind NOT IN ('metric', 'comment')"
)
"""One current judgement of a person, a kind and a subject. Of metrics one for each name (`programs.feedback`), of
comments any number."""

judgements = Table(
    "judgement",
    metadata,
    key(),
    workspace(),
    person(index=False),
    Column("kind", String(32), nullable=False),  # thumb rewrite pick report; extensible
    Column("chat_id", ID, ForeignKey("chat.id", ondelete="CASCADE"), index=True),
    Column("message_id", ID, ForeignKey("message.id", ondelete="CASCADE")),  # the first one judged
    json("message_ids"),  # all of them
    json("value"),
    json("prompt"),  # the conversation before the completions
    json("completions"),  # what was judged: text, model, settings, seed, hashes
    json("shown"),  # the order on the screen
    json("chosen_how"),  # {method, probability}: why these were shown
    json("sampling"),  # settings by completion
    json("hashes"),  # of weights, template and guard rules, by completion
    text("guideline", nullable=True),  # the version of the guidelines
    Column("consent_id", ID, ForeignKey("consent.id", ondelete="SET NULL")),
    json("consents"),  # purposes that were agreed to at that time
    flag("data_use"),  # the chat's switch at that time; of another subject: whether it may be learned from
    Column("subject_kind", String(16)),  # item review battle inference; None: messages of a chat
    Column("subject_id", ID),
    Column(
        "basis", String(16)
    ),  # consent (of the person, the default where it is None) or work (a labeller's, an expert's)
    Column("seconds", Float),
    Column("superseded_by", ID),
    at("withdrawn_at", nullable=True),
    at(),
    Index("ix_judgement_kind", "workspace_id", "kind", "id"),
    Index("ix_judgement_person", "person_id", "id"),
    Index("ix_judgement_subject", "subject_id", "kind", "id"),
    Index(
        "uq_judgement_subject",
        "subject_id",
        "person_id",
        "kind",
        unique=True,
        sqlite_where=sql(ONE_OF_A_SUBJECT),
        postgresql_where=sql(ONE_OF_A_SUBJECT),
    ),
    Index(
        "uq_judgement_current",
        "message_id",
        "person_id",
        "kind",
        unique=True,
        sqlite_where=sql("superseded_by IS NULL AND withdrawn_at IS NULL AND kind <> 'report'"),
        postgresql_where=sql("superseded_by IS NULL AND withdrawn_at IS NULL AND kind <> 'report'"),
    ),
)

judged_messages = Table(  # a deleted message takes every judgement about it along
    "judged_message",
    metadata,
    Column("judgement_id", ID, ForeignKey("judgement.id", ondelete="CASCADE"), primary_key=True),
    Column("message_id", ID, ForeignKey("message.id", ondelete="CASCADE"), primary_key=True, index=True),
)
