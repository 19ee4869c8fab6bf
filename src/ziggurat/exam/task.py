"""What a task is: a folder with `task.yaml` and rows.

A task asks the same kind of question of every row. Everything that changes a figure stands in the file, or is a switch
of the command that goes into the result's settings (shots, think, chat).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Form = Literal["choice", "answer", "text", "dialogue", "code"]
"""choice: the likeliest of given continuations. answer: what a model writes. text: how well it predicts text.
dialogue: several turns, of which some are judged. code: what a model writes, run in a sandbox."""
Ability = Literal[
    "continuation",
    "in-context",
    "knowledge",
    "instructions",
    "unseen-tasks",
    "code",
    "reasoning",
    "refusal",
    "knows-limits",
    "dialogue",
    "robustness",
    "honesty",
    "format",
    "language",
    "persona",
    "fairness",
    "causal",
    "long-context",
    "diversity",
    "novelty",
    "writing",
]
"""Sections of the report card."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Generated(Strict):
    """Rows made by rule, with a known truth: `generate` names a function of `exam/generators`."""

    generate: str
    count: int = Field(default=100, ge=1)
    seed: int = 0
    settings: dict[str, Any] = {}


class Shots(Strict):
    """Worked examples before the question."""

    count: int = Field(default=0, ge=0)
    """How many the task asks for by default; `--shots` changes it."""
    file: str | None = None
    """Rows to take them from; default: the rows of the task itself, never the row that is asked."""
    delimiter: str = "\n\n"
    think: bool = False
    """Whether the examples show their steps (the row's `steps`)."""


class Constrain(Strict):
    """The form that decoding holds every answer to; one of the two."""

    json_schema: dict[str, Any] | None = None
    regex: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Constrain:
        if (self.json_schema is None) == (self.regex is None):
            raise ValueError("give json_schema or regex, and not both")
        return self


class Metric(Strict):
    """How an answer is scored, from 0 to 1: a name of `exam/metrics`, and its settings."""

    name: str
    settings: dict[str, Any] = {}


class TaskFile(Strict):
    """`task.yaml`. Templates are Jinja over the fields of a row."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
    title: dict[str, str]
    """By language: en, zh."""
    about: dict[str, str] = {}
    """One sentence a language for the report: what is asked, and what a figure means."""
    version: int = Field(ge=1)
    """Raised with every change that can change a figure."""
    ability: Ability
    language: str = "en"
    source: str
    licence: str
    rows: str | Generated
    """A file beside task.yaml (JSONL, JSON, CSV, Parquet), `$ZIGGURAT_DATA/...`, or rows made by rule."""
    form: Form
    system: str | None = None
    prompt: str | None = None
    """The question. dialogue: not used, a row holds `turns`."""
    choices: str | list[str] | None = None
    """The name of the row's field that holds them, or the same for every row."""
    answer: str | None = None
    """The right answer. choice: an index, a letter or the choice itself; answer: what `metric` compares with."""
    shots: Shots = Shots()
    think: str | None = None
    """The sentence that asks for steps ("Let's think step by step."); used with --think."""
    normalise: Literal["none", "token", "byte", "calibrated"] = "none"
    """choice: what log-likelihoods are divided by; calibrated: less the likelihood after an empty question."""
    metric: Metric | None = None
    """answer, dialogue, code. choice and text have their own; of a metric that a choice names, only the figures of the
    whole task (`summary`) are added."""
    raw: bool = False
    """Asked as raw text also of a model that chats (continuations, minimal pairs)."""
    samples: int = Field(default=1, ge=1)
    """Answers to each question; more than one is drawn with `temperature`."""
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=64, ge=1)
    stop: list[str] = []
    constrain: Constrain | None = None
    """answer, dialogue, code: what is written can only have this form."""
    strata: str | None = None
    """The field of a row by which figures are given apart."""
    cluster: str | None = None
    """The field of rows whose scores depend on each other (questions about one passage); intervals resample by it."""
    pair: str | None = None
    """The field that joins rows which should be answered alike (a question and its paraphrase)."""
    chance: float | None = None
    """The score of guessing, where it does not follow from the choices."""
    better: Literal["higher", "lower"] = "higher"
