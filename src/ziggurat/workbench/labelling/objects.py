"""What labelling keeps and shows: settings and questions (checked), and the objects that rules return.

`Task` is what a labeller gets: no model's name, no gold value, nobody else's answer. `Item` is what a lead sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ziggurat.product.objects import Thing

TaskType = Literal["ranking", "pairwise", "labels", "spans", "demonstration", "prompt", "rewrite"]
TASKS: tuple[TaskType, ...] = get_args(TaskType)
ProjectStatus = Literal["open", "paused", "closed", "archived"]
ItemKind = Literal["work", "gold", "training", "test"]
ItemStatus = Literal["pending", "in_progress", "completed", "conflicted", "adjudicated", "halted"]
AnswerStatus = Literal["submitted", "discarded", "superseded", "extra"]
MemberState = Literal["training", "test", "qualified", "failed", "blocked"]
SkipReason = Literal["unclear", "outside_knowledge", "wrong_language", "upsetting", "broken"]
SENSITIVE = ("sexual", "violence", "self_harm", "hate", "other")

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Texts = dict[Literal["en", "zh"], str]
"""A text in the languages of the page; a missing one falls back to the other."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProjectSettings(Strict):
    """How a project gives out its items."""

    min_answers: int = Field(default=1, ge=1, le=50)
    """Answers that an item asks for."""
    overlap_pct: int = Field(default=20, ge=0, le=100)
    """Share of new items that ask for `overlap_answers` instead, to measure agreement."""
    overlap_answers: int = Field(default=2, ge=1, le=50)
    gold_pct: int = Field(default=5, ge=0, le=50)
    """Share of what a labeller gets that is gold, while there is gold that the person has not seen."""
    lease_minutes: int = Field(default=30, ge=1, le=24 * 60)
    halt_skips: int = Field(default=25, ge=1, le=1_000)
    """An item that so many people skip is halted."""
    pull: bool = True
    """Whether labellers may take the next item; otherwise they get only what a lead assigns."""
    open_to: Literal["workspace", "members"] = "workspace"
    onboarding: bool = False
    """Training items with explanations, then a test."""
    cutoff_agreement: float = Field(default=0.75, ge=0, le=1)
    """InstructGPT's soft cut-off on comparisons and sensitive flags."""
    cutoff_writing: float = Field(default=6, ge=1, le=7)
    """InstructGPT's soft cut-off on demonstrations: a lead's mean mark, 1 to 7."""
    stop_below: float | None = Field(default=None, ge=0, le=1)
    """A labeller whose trust falls below it, after five gold items, gets no more items."""
    suggestions: Literal["off", "after_first_choice"] = "off"
    shuffle: bool = True
    """Whether completions are shown in a random order; it is stored either way."""
    langs: list[Annotated[str, StringConstraints(max_length=16)]] = Field(default=[], max_length=50)
    """Languages that answers are written in; empty: any."""


class Option(Strict):
    key: Key
    title: Texts


class Label(Strict):
    """One question of a labels project."""

    key: Key
    title: Texts
    help: Texts = {}
    scale: Literal["likert", "binary", "choice"] = "binary"
    points: int = Field(default=7, ge=2, le=7)
    """Of a likert scale: 1 to this."""
    options: list[Option] = Field(default=[], max_length=30)
    """Of a choice."""
    required: bool = False
    sensitive: bool = False
    """Counts as a sensitive flag in the test."""

    @model_validator(mode="after")
    def _options(self) -> Label:
        if (self.scale == "choice") != bool(self.options):
            raise ValueError(f"label {self.key}: a choice needs options, and nothing else has them")
        return self


class Ranking(Strict):
    ties: bool = True


class Pairwise(Strict):
    points: Literal[3, 5, 7] = 7


class Labels(Strict):
    target: Literal["completion", "prompt"] = "completion"
    labels: list[Label] = Field(min_length=1, max_length=40)

    @model_validator(mode="after")
    def _once(self) -> Labels:
        _unique([label.key for label in self.labels])
        return self


class Spans(Strict):
    labels: list[Option] = Field(min_length=1, max_length=20)

    @model_validator(mode="after")
    def _once(self) -> Spans:
        _unique([label.key for label in self.labels])
        return self


class Writing(Strict):
    """Of demonstrations and rewrites."""

    min_chars: int = Field(default=1, ge=1, le=100_000)
    max_chars: int = Field(default=20_000, ge=1, le=100_000)
    from_draft: bool = False
    """Whether a labeller may begin from a model's draft; whether one did is recorded."""


class PromptWriting(Strict):
    kinds: list[Literal["plain", "few_shot", "user_based"]] = Field(
        default=["plain", "few_shot", "user_based"], min_length=1
    )
    min_chars: int = Field(default=10, ge=1, le=10_000)
    max_chars: int = Field(default=8_000, ge=1, le=100_000)


QUESTIONS: dict[str, type[Strict]] = {
    "ranking": Ranking,
    "pairwise": Pairwise,
    "labels": Labels,
    "spans": Spans,
    "demonstration": Writing,
    "rewrite": Writing,
    "prompt": PromptWriting,
}


def _unique(keys: Sequence[str]) -> None:
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ValueError(f"the key {min(twice)} is there twice")


# --- what rules return ------------------------------------------------------------------------------------------------


class Project(Thing):
    id: str
    name: str
    description: str
    status: ProjectStatus
    task: TaskType
    settings: dict[str, Any]
    questions: dict[str, Any]
    version: int
    guideline: int
    created_at: str
    updated_at: str


class Guideline(Thing):
    id: str
    n: int
    texts: dict[str, str]
    note: str
    acknowledge: bool
    created_at: str
    acknowledged: bool = False
    """By the one who asks."""


class Item(Thing):
    """What a lead sees."""

    id: str
    project_id: str
    kind: ItemKind
    payload: dict[str, Any]
    lang: str | None
    skill: str | None
    tags: list[str]
    meta: dict[str, Any]
    sensitive: list[str]
    priority: int
    status: ItemStatus
    min_answers: int
    answers: int
    skips: int
    source: dict[str, Any]
    gold: dict[str, Any] | None
    explanation: str | None
    suggestion: dict[str, Any] | None
    data_use: bool
    disagreement: float | None
    uncertainty: float | None
    created_at: str
    completed_at: str | None


class Task(Thing):
    """One item as a labeller gets it."""

    item_id: str
    project_id: str
    task: TaskType
    training: bool
    messages: list[dict[str, Any]]
    completions: list[dict[str, str]]
    """{id, content} in the order of the screen."""
    shown: list[str]
    brief: str | None
    """Of prompt writing: what the prompt is to be about."""
    draft_text: str | None
    """A model's draft to begin from, where the project allows it."""
    lang: str | None
    sensitive: list[str]
    has_suggestion: bool
    questions: dict[str, Any]
    version: int
    value: dict[str, Any] | None
    """My draft, or my submitted answer when I change it."""
    answered: bool
    expires_at: str | None


class Answer(Thing):
    id: str
    item_id: str
    person_id: str
    judgement_id: str
    status: AnswerStatus
    value: dict[str, Any]
    shown: list[str]
    version: int
    guideline: int | None
    seconds: float | None
    late: bool
    prefilled: bool
    suggested: bool
    unchanged: bool
    created_at: str


class Submitted(Thing):
    """What a labeller learns: whether it counts and, of a training item, the explanation."""

    answer: Answer
    counts: bool
    state: MemberState
    training: dict[str, Any] | None = None
    """{value, explanation, score} of a training item."""


class Comment(Thing):
    id: str
    project_id: str
    item_id: str | None
    person_id: str
    name: str
    text: str
    question: bool
    mentions: list[str]
    resolved_at: str | None
    created_at: str


class Member(Thing):
    person_id: str
    name: str
    role: str
    state: MemberState
    skills: list[str]
    scores: dict[str, Any] | None
    trust: float | None
    answers: int
    median_seconds: float | None
    gold_accuracy: float | None
    gold_answers: int
    skips: int
    flags: int
    last_at: str | None


class Habits(Thing):
    langs: list[str] = []
    opt_out: list[str] = []
    blur: bool = True
    break_minutes: int = 50
