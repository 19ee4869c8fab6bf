"""Bodies of requests about quality and exchange."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from ziggurat.flywheel.exchange.export import ExportSettings
from ziggurat.service.product.bodies import Body, Id, ModelName, Name, Seconds
from ziggurat.workbench.labelling.tree_states import TreeSettings

Text = Annotated[str, StringConstraints(max_length=8_000)]
Address = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
Event = Literal["record.created", "answer.submitted", "item.completed"]


class Decided(Body):
    final: dict[str, Any]
    reason: Text
    seconds: Seconds | None = None


class Reviewed(Body):
    verdict: Literal["accept", "fix", "reject"]
    reason: Text = ""
    value: dict[str, Any] | None = None
    back: bool = False


class Wanted(Body):
    """Which items."""

    text: Annotated[str, StringConstraints(max_length=200)] | None = None
    kind: Literal["work", "gold", "training", "test"] | None = None
    status: Literal["pending", "in_progress", "completed", "conflicted", "adjudicated", "halted"] | None = (
        None
    )
    lang: Annotated[str, StringConstraints(max_length=16)] | None = None
    skill: Name | None = None
    tag: Name | None = None
    sensitive: Name | None = None
    answered_by: Id | None = None
    apart: Annotated[float, Field(ge=0, le=1)] | None = None
    uncertain: Annotated[float, Field(ge=0, le=1)] | None = None


class Found(Body):
    where: Wanted = Wanted()
    sort: Literal["new", "old", "priority", "disagreement", "uncertainty", "skips"] = "new"
    cursor: Annotated[str, StringConstraints(max_length=300)] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class Bulk(Body):
    where: Wanted = Wanted()
    act: Literal["halt", "open", "tag", "untag", "priority", "min_answers", "assign"]
    value: int | str | list[Id] | None = None
    expected: Annotated[int, Field(ge=0)] | None = None


class Scored(Body):
    """By a reward model of this server, or with scores that a program has computed."""

    model: ModelName | None = None
    scores: dict[Id, Annotated[list[float], Field(min_length=2, max_length=9)]] | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 200
    again: bool = False
    first: bool = False


class Exported(Body):
    """`preview`: the card alone."""

    format: Annotated[str, StringConstraints(max_length=32)]
    project_id: Id | None = None
    settings: ExportSettings = ExportSettings()
    preview: bool = False


class NewTreeProjects(Body):
    name: Name


class Planted(Body):
    steps: dict[Literal["review", "reply", "prompt", "rank"], Id]
    prompts: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=100_000)]],
        Field(min_length=1, max_length=1_000),
    ]
    lang: Annotated[str, StringConstraints(max_length=16)] | None = None
    settings: TreeSettings = TreeSettings()


class TreeMoved(Body):
    state: Literal["halted_by_moderator", "backlog", "resume"]


class NewHook(Body):
    url: Address
    events: Annotated[list[Event], Field(min_length=1, max_length=3)] = [
        "record.created",
        "answer.submitted",
        "item.completed",
    ]
    project_id: Id | None = None


class ChangedHook(Body):
    url: Address | None = None
    events: Annotated[list[Event], Field(min_length=1, max_length=3)] | None = None
    active: bool | None = None
