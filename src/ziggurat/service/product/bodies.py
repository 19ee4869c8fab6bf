"""Bodies of the product's requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Id = Annotated[str, StringConstraints(min_length=1, max_length=80)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200_000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Email = Annotated[str, StringConstraints(min_length=3, max_length=320, strip_whitespace=True)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Moment = Annotated[str, StringConstraints(min_length=10, max_length=40)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def fields(self) -> dict[str, Any]:
        """The fields that the request has."""
        return self.model_dump(exclude_unset=True)


class Settings(Body):
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: Annotated[list[str], Field(max_length=32)] | None = None


class NewChat(Body):
    title: Annotated[str, StringConstraints(max_length=200)] = ""
    model: ModelName | None = None
    folder_id: Id | None = None
    persona_id: Id | None = None
    system_prompt: Annotated[str, StringConstraints(max_length=32_000)] | None = None
    settings: Settings | None = None
    data_use: bool = False


class ChangedChat(Body):
    title: Annotated[str, StringConstraints(max_length=200)] | None = None
    model: ModelName | None = None
    folder_id: Id | None = None
    persona_id: Id | None = None
    system_prompt: Annotated[str, StringConstraints(max_length=32_000)] | None = None
    settings: Settings | None = None
    data_use: bool | None = None
    pinned: bool | None = None
    archived: bool | None = None
    active_leaf_id: Id | None = None


class NewTurn(Body):
    text: Text
    parent_id: Id | None = None
    model: ModelName | None = None
    settings: Settings | None = None
    client_id: Id | None = None


class Again(Body):
    model: ModelName | None = None
    settings: Settings | None = None


class Edit(Body):
    text: Text
    run: bool = True
    model: ModelName | None = None
    settings: Settings | None = None


class NewPair(Body):
    text: Text
    parent_id: Id | None = None
    models: Annotated[list[ModelName], Field(min_length=2, max_length=2)] | None = None
    settings: Settings | None = None


class Stop(Body):
    seen_chars: Annotated[int, Field(ge=0)]


class Fork(Body):
    message_id: Id


class Empty(Body):
    """A request without fields."""


class Thumb(Body):
    value: Literal[-1, 0, 1]
    reasons: Annotated[list[Annotated[str, StringConstraints(max_length=80)]], Field(max_length=20)] = []
    comment: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    seconds: Seconds | None = None


class Rewrite(Body):
    text: Text
    seconds: Seconds | None = None


class Pick(Body):
    shown: Annotated[list[Id], Field(min_length=2, max_length=2)]
    winner: Id
    seconds: Seconds | None = None


class Report(Body):
    kind: Literal["spam", "offensive", "feedback"]
    reason: Annotated[str, StringConstraints(max_length=10_000)] = ""


class SetUp(Body):
    token: Secret
    email: Email
    name: Name
    password: Secret


class Register(Body):
    email: Email
    name: Name
    password: Secret
    invitation: Secret | None = None


class Login(Body):
    email: Email
    password: Secret


class ChangedMe(Body):
    name: Name | None = None
    locale: Annotated[str, StringConstraints(max_length=20)] | None = None
    preferences: dict[str, Any] | None = None


class NewPassword(Body):
    old: Secret
    new: Secret


class Goodbye(Body):
    password: Secret | None = None


class Given(Body):
    given: bool


class NewKey(Body):
    name: Name
    scopes: Annotated[list[str], Field(min_length=1, max_length=20)] = ["chat"]
    expires_at: Moment | None = None
    limits: dict[str, int] | None = None
    model_allow: Annotated[list[ModelName], Field(max_length=100)] | None = None


class NewFolder(Body):
    name: Name
    parent_id: Id | None = None


class ChangedFolder(Body):
    name: Name | None = None
    parent_id: Id | None = None
    position: int | None = None


class NewPersona(Body):
    name: Name
    system_prompt: Annotated[str, StringConstraints(max_length=32_000)]
    model: ModelName | None = None
    settings: Settings | None = None
    shared: bool = False


class ChangedPersona(Body):
    name: Name | None = None
    system_prompt: Annotated[str, StringConstraints(max_length=32_000)] | None = None
    model: ModelName | None = None
    settings: Settings | None = None
    shared: bool | None = None


class NewShare(Body):
    expires_at: Moment | None = None


class ChangedPerson(Body):
    role: str | None = None
    status: Literal["active", "disabled"] | None = None
    name: Name | None = None
    budget: Annotated[int, Field(ge=0)] | None = None
    plan: Annotated[str, StringConstraints(max_length=80)] | None = None


class NewInvitation(Body):
    email: Email | None = None
    role: str = "member"
    days: Annotated[int, Field(ge=1, le=90)] = 7


class AnyFields(BaseModel):
    """Fields that the rule itself checks: settings of the workspace, rules of the guard."""

    model_config = ConfigDict(extra="allow")

    def fields(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class TryText(Body):
    text: Text
    stage: Literal["before", "after", "both"] = "both"


class Decision(Body):
    decision: Literal["release", "refuse"]
