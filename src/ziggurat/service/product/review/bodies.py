"""Bodies of the review's requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from ziggurat.service.product.bodies import Body, Id, Name, Text

Code = Annotated[str, StringConstraints(min_length=1, max_length=40)]
Codes = Annotated[list[Code], Field(max_length=20)]
Note = Annotated[str, StringConstraints(max_length=8_000)]


class Looking(Body):
    active: bool = False


class Decision(Body):
    decision: Literal["approve", "edit", "answer", "reject", "decline", "escalate", "recall"]
    version: Annotated[int, Field(ge=1)]
    text: Text | None = None
    reasons: Codes = []
    note: Note | None = None
    then: Literal["regenerate", "withhold"] | None = None
    instruction: Note | None = None
    template: Code | None = None
    to: Id | None = None
    severe: bool = False


class NewNote(Body):
    text: Note
    mentions: Annotated[list[Id], Field(max_length=20)] = []


class NewView(Body):
    name: Name
    filters: dict[str, Any] = {}


class NewMode(Body):
    mode: Literal["all", "sampled", "auto"]


class UseTemplate(Body):
    name: Code


class Second(Body):
    decision: Literal["approve", "edit", "reject"]
    reasons: Codes = []
    text: Text | None = None


class Complaint(Body):
    text: Annotated[str, StringConstraints(min_length=1, max_length=4_000)]


class Webhook(Body):
    url: Annotated[str, StringConstraints(max_length=2_000)] | None
