"""Dataset versions and what each holds and left out.

A version is frozen in the transaction that makes it: triggers refuse every later change of it and of its items, except
that a deletion empties `content` of an item (`hash`, provenance and counts stay). No foreign key leads to people,
judgements or consents: a version says what it was made of after those are gone. `person` is a pseudonym.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, String, Table, UniqueConstraint

from ziggurat.store.tables.base import ID, at, flag, json, key, metadata, small, text, workspace

datasets = Table(
    "dataset",
    metadata,
    key(),
    workspace(),
    Column("name", String(64), nullable=False, unique=True),
    at(),
)

dataset_versions = Table(
    "dataset_version",
    metadata,
    key(),
    workspace(),
    Column("dataset_id", ID, ForeignKey("dataset.id"), nullable=False),
    small("n"),
    Column("parent_id", ID, ForeignKey("dataset_version.id")),
    Column("sha256", String(64), nullable=False),  # of the files
    json("card"),
    json("settings"),
    Column("made_by", ID),
    at("frozen_at", nullable=True),  # None: within the transaction that makes it
    at(),
    UniqueConstraint("dataset_id", "n"),
)

dataset_items = Table(
    "dataset_item",
    metadata,
    Column("version_id", ID, ForeignKey("dataset_version.id"), primary_key=True),
    small("position"),  # the place in its file
    Column("content_hash", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),  # demonstration comparison rating prompt
    Column("split", String(24), nullable=False),  # train held_out_person held_out_time
    json("content", nullable=True),  # the record; None after a deletion
    Column("judgement_id", ID, nullable=False),
    Column("source", String(32), nullable=False),  # the kind of judgement
    flag("weak"),  # a thumb or another weak signal
    Column("weight", Float, nullable=False),
    Column("probability", Float),  # that the label is right, by the model of reliability
    Column("person", String(32), nullable=False),
    Column("consent_id", ID),
    Column("basis", String(16), nullable=False),
    text("model", nullable=True),  # which wrote what was judged
    Column("lang", String(8)),
    text("topic", nullable=True),
    at("judged_at"),
    Index("ix_dataset_item_judgement", "judgement_id"),
)
