"""Feedback of programs, files, fine-tuning jobs, battles.

An `inference` is one answer of the API by the id that its client got. What was asked and answered is kept only where a
setting or the request says so; hashes are always kept. An `episode` is a name that a program gives to several answers.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, String, Table
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
    text,
    workspace,
)

episodes = Table(
    "episode",
    metadata,
    key(),
    workspace(),
    person(),
    Column("name", String(64), nullable=False),  # as the program says it
    at(),
    Index("uq_episode_name", "person_id", "name", unique=True),
)

inferences = Table(
    "inference",
    metadata,
    key(),  # chatcmpl-..., cmpl-..., resp_...: as the client got it
    workspace(),
    person(index=False),
    Column("key_id", ID),
    Column("request_id", String(64)),  # x-request-id, which a client may choose
    Column("episode_id", ID, ForeignKey("episode.id", ondelete="CASCADE"), index=True),
    Column("kind", String(32), nullable=False),  # chat.completion, text_completion, response
    Column("model", String(200), nullable=False),
    Column("release", ID),  # which release answered, where one did
    json("hashes"),  # of weights, template and guard rules
    Column("prompt_hash", String(64), nullable=False),
    Column("answer_hash", String(64), nullable=False),
    json("prompt", nullable=True),  # messages; None: not kept
    json("answer", nullable=True),  # one text for each choice
    json("sampling"),
    at(),
    Index("ix_inference_request", "person_id", "request_id"),
    Index("ix_inference_at", "workspace_id", "created_at"),
)

metrics = Table(
    "feedback_metric",
    metadata,
    key(),
    workspace(),
    Column("name", String(64), nullable=False),
    Column("type", String(16), nullable=False),  # boolean float
    Column("optimize", String(8), nullable=False),  # min max
    Column("level", String(16), nullable=False),  # inference episode
    text("description"),
    at(),
    Index("uq_feedback_metric_name", "workspace_id", "name", unique=True),
)

feedback = Table(  # which judgement a program gave about what; a judgement that goes takes its row along
    "feedback",
    metadata,
    key(),
    workspace(),
    person(index=False),
    Column("judgement_id", ID, ForeignKey("judgement.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("inference_id", ID, ForeignKey("inference.id", ondelete="CASCADE"), index=True),
    Column("episode_id", ID, ForeignKey("episode.id", ondelete="CASCADE"), index=True),
    Column("metric_id", ID, ForeignKey("feedback_metric.id", ondelete="CASCADE"), index=True),
    Column("once", String(64)),  # a hash of the Idempotency-Key, where one was sent
    Column("content_hash", String(64), nullable=False),
    flag("current"),  # false: a later value of the same metric took its place
    at(),
    CheckConstraint("(inference_id IS NULL) <> (episode_id IS NULL)", name="subject"),
    Index("uq_feedback_once", "person_id", "once", unique=True),
    *(
        Index(
            f"uq_feedback_{about}",
            f"{about}_id",
            "person_id",
            "metric_id",
            unique=True,
            sqlite_where=sql(f"{about}_id IS NOT NULL AND metric_id IS NOT NULL AND current"),
            postgresql_where=sql(f"{about}_id IS NOT NULL AND metric_id IS NOT NULL AND current"),
        )
        for about in ("inference", "episode")
    ),
)

uploads = Table(
    "upload",
    metadata,
    key(),
    workspace(),
    person(),
    Column("filename", String(200), nullable=False),  # shown, never used as a path
    Column("purpose", String(32), nullable=False),
    number("bytes"),
    Column("sha256", String(64), nullable=False),
    Column("status", String(16), nullable=False),  # uploaded processed error
    json("report", nullable=True),  # what the check of a training file found
    at("expires_at", nullable=True, index=True),
    at(),
)

upload_parts = Table(
    "upload_part",
    metadata,
    Column("upload_id", ID, ForeignKey("upload.id", ondelete="CASCADE"), primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

tunings = Table(
    "tuning_job",
    metadata,
    key(),
    workspace(),
    person(nullable=True, ondelete="SET NULL"),
    Column("model", String(300), nullable=False),  # the base
    Column("method", String(16), nullable=False),  # supervised dpo
    json("hyperparameters"),
    Column("training_file", ID, nullable=False),
    Column("validation_file", ID),
    Column("suffix", String(64)),
    number("seed"),
    json("metadata"),
    Column(
        "status", String(24), nullable=False
    ),  # validating_files queued running succeeded failed cancelled
    Column("fine_tuned_model", String(400)),
    Column("run", String(400)),  # below the runs
    number("trained_tokens", nullable=True),
    json("error", nullable=True),
    Column("job_id", ID, unique=True),  # what a child process works at; its events are the events of this job
    at("finished_at", nullable=True),
    at(),
    Index("ix_tuning_job_status", "status", "id"),
)

battles = Table(
    "battle",
    metadata,
    key(),
    workspace(),
    person(),
    Column("model_a", String(300), nullable=False),  # on the left
    Column("model_b", String(300), nullable=False),
    json("prompt"),
    json(
        "answer_a", nullable=True
    ),  # {text, finish_reason, hashes, sampling, usage}; None until it is written
    json("answer_b", nullable=True),
    json("chosen_how"),  # {method, probability, order, seed}
    number("seed"),  # decides which model is on the left
    Column("lang", String(8)),
    flag("leaked"),  # an answer says which model wrote it
    Column("state", String(16), nullable=False),  # writing ready voted failed
    Column("judgement_id", ID, ForeignKey("judgement.id", ondelete="SET NULL")),
    at("voted_at", nullable=True),
    at(),
    CheckConstraint(
        "(state IN ('writing', 'failed')) OR (answer_a IS NOT NULL AND answer_b IS NOT NULL)", name="written"
    ),
    CheckConstraint("state <> 'voted' OR voted_at IS NOT NULL", name="voted"),
)
