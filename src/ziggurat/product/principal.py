"""Who asks: the person, the role and, for an API key, its scopes. Every function of the rules takes one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ziggurat.product.objects import Role

Via = Literal["local", "session", "key", "system"]


@dataclass(frozen=True)
class Principal:
    """`scopes` is None for a person at the page, who may do everything that the role allows."""

    workspace_id: str
    person_id: str
    role: Role
    via: Via = "session"
    scopes: frozenset[str] | None = None
    session_id: str | None = None
    key_id: str | None = None
    ip_prefix: str = ""
    request_id: str = ""
    csrf: str = field(default="", repr=False)
    """The token that changes by this session must carry; empty where they need none."""
