"""Bodies of requests to the labelling workbench. The rules check what depends on a project's task."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from ziggurat.service.product.bodies import Body, Id, ModelName, Name, Seconds, Settings
from ziggurat.workbench.labelling.objects import SkipReason, TaskType

Short = Annotated[str, StringConstraints(max_length=4_000)]
Comment = Annotated[str, StringConstraints(min_length=1, max_length=8_000)]
Ids = Annotated[list[Id], Field(min_length=1, max_length=1_000)]
Few = Annotated[list[Id], Field(max_length=20)]


class NewProject(Body):
    name: Name
    task: TaskType = "ranking"
    description: Short = ""
    questions: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    template: Id | None = None


class ChangedProject(Body):
    name: Name | None = None
    description: Short | None = None
    status: Literal["open", "paused", "closed", "archived"] | None = None
    settings: dict[str, Any] | None = None
    questions: dict[str, Any] | None = None


class NewGuidelines(Body):
    texts: dict[Literal["en", "zh"], Annotated[str, StringConstraints(max_length=100_000)]]
    note: Annotated[str, StringConstraints(max_length=2_000)] = ""
    acknowledge: bool = True


class NewItems(Body):
    items: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1_000)]


class ChangedItem(Body):
    tags: list[Name] | None = None
    meta: dict[str, Any] | None = None
    sensitive: list[Name] | None = None
    priority: int | None = None
    skill: Annotated[str, StringConstraints(max_length=64)] | None = None
    lang: Annotated[str, StringConstraints(max_length=16)] | None = None
    min_answers: int | None = None
    status: Literal["halted", "pending"] | None = None
    explanation: Annotated[str, StringConstraints(max_length=8_000)] | None = None


class Sampled(Body):
    prompts: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=32_000)]],
        Field(min_length=1, max_length=50),
    ]
    model: ModelName | None = None
    k: Annotated[int, Field(ge=0, le=9)] = 4
    settings: Settings = Settings()
    lang: Annotated[str, StringConstraints(max_length=16)] | None = None


class FromChats(Body):
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    disliked: bool = False
    """Only questions with an answer that got a thumb down."""


class Assigned(Body):
    items: Ids
    people: Ids


class Holding(Body):
    holding: Few = []


class Held(Body):
    items: Few


class NewAnswer(Body):
    value: dict[str, Any]
    seconds: Seconds | None = None
    version: Annotated[int, Field(ge=1)] | None = None


class SavedDraft(Body):
    value: dict[str, Any] | None = None
    prefilled: bool = False


class FirstChoice(Body):
    first_choice: dict[str, Any]


class Skipped(Body):
    reason: SkipReason
    comment: Annotated[str, StringConstraints(max_length=8_000)] | None = None


class NewComment(Body):
    text: Comment
    item_id: Id | None = None
    question: bool = False
    mention: Few = []


class Resolved(Body):
    resolved: bool = True


class Seen(Body):
    comments: Annotated[list[Id], Field(max_length=200)]


class NewMember(Body):
    person_id: Id
    skills: list[Name] = []


class ChangedMember(Body):
    skills: list[Name] | None = None
    state: Literal["training", "test", "qualified", "failed", "blocked"] | None = None


class Flagged(Body):
    reason: Literal["careless", "spam", "offensive", "machine_written", "other"]
    answer_id: Id | None = None


class Graded(Body):
    mark: Annotated[int, Field(ge=1, le=7)]


class ChangedHabits(Body):
    langs: list[Annotated[str, StringConstraints(max_length=16)]] | None = None
    opt_out: list[Annotated[str, StringConstraints(max_length=16)]] | None = None
    blur: bool | None = None
    break_minutes: int | None = None
