"""The objects that rules return and routes send: frozen, JSON by `model_dump()`. docs/product.md describes them.

Times are ISO 8601 in UTC with `Z`. A secret is never a field of an object that is listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Role = Literal[
    "owner",
    "admin",
    "developer",
    "labeller",
    "adjudicator",
    "reviewer",
    "review_lead",
    "member",
    "guest",
    "service",
]
State = Literal["pending", "running", "complete", "stopped", "interrupted", "failed", "held"]
Purpose = Literal["improve_model", "share_with_experts", "publish"]

T = TypeVar("T")


class Thing(BaseModel):
    """Base of all: frozen."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Page(Thing, Generic[T]):
    """One page of a list; `next` is the cursor of the following page."""

    data: list[T]
    next: str | None = None


class Settings(Thing):
    """Sampling settings; a missing one is the server's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    seed: int | None = Field(default=None, ge=0, le=2**63 - 1)
    stop: list[str] | None = Field(default=None, max_length=32)


# --- people -----------------------------------------------------------------------------------------------------------


class Person(Thing):
    id: str
    email: str | None
    name: str
    role: Role
    locale: str
    status: Literal["active", "disabled", "deleted"]
    plan: str | None
    """A plan of the workspace's settings; None: the default plan."""
    budget: int | None
    """Tokens a day; None: what the plan allows."""
    created_at: str


class Workspace(Thing):
    id: str
    name: str


class Me(Thing):
    person: Person
    workspace: Workspace
    preferences: dict[str, Any]
    consents: dict[str, bool]


class LoginSession(Thing):
    id: str
    created_at: str
    last_seen_at: str
    expires_at: str
    ip_prefix: str
    user_agent: str
    current: bool = False


class ApiKey(Thing):
    id: str
    person_id: str
    name: str
    prefix: str
    scopes: list[str]
    model_allow: list[str] | None
    limits: dict[str, int]
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class Invitation(Thing):
    id: str
    email: str | None
    role: Role
    created_at: str
    expires_at: str
    used_at: str | None


# --- conversations ----------------------------------------------------------------------------------------------------


class Chat(Thing):
    id: str
    title: str
    model: str | None
    folder_id: str | None
    persona_id: str | None
    system_prompt: str | None
    settings: dict[str, Any]
    data_use: bool
    pinned: bool
    archived: bool
    deleted_at: str | None
    active_leaf_id: str | None
    created_at: str
    updated_at: str


class Message(Thing):
    id: str
    chat_id: str
    parent_id: str | None
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    reasoning: str | None
    tool_calls: list[dict[str, Any]] | None
    model: str | None
    state: State
    finish_reason: str | None
    usage: dict[str, Any] | None
    settings: dict[str, Any]
    seed: int | None
    siblings: list[str]
    position: int
    judgement: dict[str, Any] | None
    guard: dict[str, Any] | None
    lang: str | None
    edited: bool
    ai_generated: bool
    pair_id: str | None
    created_at: str


class OpenChat(Thing):
    """What a chat's page shows first: the last messages of the active path, oldest first."""

    chat: Chat
    messages: list[Message]
    has_earlier: bool
    generation_id: str | None


class Earlier(Thing):
    messages: list[Message]
    has_earlier: bool


class TreeNode(Thing):
    id: str
    parent_id: str | None
    role: str
    preview: str
    state: State


class Tree(Thing):
    messages: list[TreeNode]
    active_leaf_id: str | None


class Turn(Thing):
    """What began: the message that was added (None when an answer is repeated) and the answer to be written."""

    user: Message | None
    answer: Message
    generation_id: str | None
    repeated: bool = False  # the same client_id came before: nothing new was begun


class Pair(Thing):
    """Two answers to one message, their models hidden until the pick."""

    user: Message
    answers: list[Message]
    generation_ids: list[str]
    pair_id: str


class Generation(Thing):
    id: str
    chat_id: str
    message_id: str
    person_id: str
    model: str | None
    status: Literal["running", "complete", "stopped", "interrupted", "failed", "held"]
    seq: int
    heartbeat_at: str
    started_at: str
    ended_at: str | None
    error: dict[str, Any] | None
    ttft_ms: float | None
    tokens: int | None


class Folder(Thing):
    id: str
    parent_id: str | None
    name: str
    position: int


class Persona(Thing):
    id: str
    name: str
    system_prompt: str
    model: str | None
    settings: dict[str, Any]
    version: int
    shared: bool
    mine: bool
    created_at: str


class SearchHit(Thing):
    chat_id: str
    title: str
    message_id: str | None
    snippet: str
    marks: list[tuple[int, int]]
    created_at: str


class Share(Thing):
    id: str
    chat_id: str
    title: str
    url: str | None  # known only when it is made: the store keeps a hash of the token
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    views: int


class SharedChat(Thing):
    title: str
    messages: list[dict[str, Any]]
    created_at: str


# --- judgements and the guard -----------------------------------------------------------------------------------------


class Judgement(Thing):
    id: str
    kind: str
    person_id: str
    chat_id: str | None
    message_ids: list[str]
    value: dict[str, Any]
    prompt: list[dict[str, Any]]
    completions: list[dict[str, Any]]
    shown: list[str]
    chosen_how: dict[str, Any]
    sampling: dict[str, Any]
    hashes: dict[str, Any]
    guideline: str | None
    consent_id: str | None
    seconds: float | None
    superseded_by: str | None
    withdrawn_at: str | None
    created_at: str


class GuardRule(Thing):
    id: str
    kind: Literal["pattern", "words", "policy"]
    name: str
    pattern: str | None
    words: list[str]
    categories: list[str]
    topic: str | None
    stage: Literal["before", "after", "both"]
    action: Literal["block", "answer", "hold", "log"]
    templates: dict[str, list[str]]
    enabled: bool
    version: int
    created_at: str
    updated_at: str


class HeldAnswer(Thing):
    id: str
    chat_id: str | None
    message_id: str | None
    person_id: str | None
    rule_id: str | None
    stage: str
    prompt: str
    text: str
    origin: dict[str, Any] | None
    """Of an answer of the API: {path, model, key, key_id, request_id}; None for one in a chat."""
    decision: Literal["release", "refuse"] | None
    decided_by: str | None
    decided_at: str | None
    created_at: str


class AuditEvent(Thing):
    seq: int
    at: str
    actor_id: str | None
    actor_kind: str
    action: str
    object_kind: str | None
    object_id: str | None
    detail: Mapping[str, Any]
    ip_prefix: str
    request_id: str
    hash: str


class Imported(Thing):
    ids: list[str]
    chats: int
    messages: int
    skipped: list[dict[str, str]]
