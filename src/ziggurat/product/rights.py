"""Who may do what: one matrix of roles and actions, and one function that reads it.

A level says on whose objects: OWN, only those of the person who asks; ANY, those of the whole workspace. Nobody reads
the conversations of others, whatever the role. An object that the principal may not touch is answered like one that
does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, NamedTuple, get_args

from ziggurat.product.errors import Forbidden, NotFound
from ziggurat.product.objects import Role
from ziggurat.product.principal import Principal

ROLES: tuple[Role, ...] = get_args(Role)


class Level(IntEnum):
    NONE = 0
    OWN = 1
    ANY = 2


class Owned(NamedTuple):
    """Whose an object is."""

    workspace_id: str
    person_id: str | None


ACTIONS: dict[str, tuple[str, dict[str, Level]]] = {}
"""Action -> the scope that an API key needs, and the level of each role (a missing one has none)."""


def _action(name: str, scope: str, *, own: str = "", any: str = "") -> None:
    levels = dict.fromkeys(own.split(), Level.OWN) | dict.fromkeys(any.split(), Level.ANY)
    ACTIONS[name] = (scope, levels)


_WORKERS = "labeller adjudicator reviewer review_lead"
_EVERYONE = f"owner admin developer {_WORKERS} member"
_action("me", "me", own=f"{_EVERYONE} guest service")
_action("chat", "chat", own=f"{_EVERYONE} service")
_action("judge", "chat", own=f"{_EVERYONE} service")
_action("share", "chat", own=_EVERYONE)
_action("persona.share", "chat", own="developer", any="owner admin")
_action("key.own", "admin", own="owner admin developer")
_action("key.read", "admin:read", any="owner admin")
_action("key.write", "admin", any="owner admin")
_action("person.read", "admin:read", any="owner admin")
_action("person.write", "admin", any="owner admin")
_action("owner.write", "admin", any="owner")
_action("settings.read", "admin:read", any="owner admin")
_action("settings.write", "admin", any="owner admin")
_action("model.read", "admin:read", any="owner admin developer")
_action("model.write", "admin", any="owner admin developer")
_action("train", "fine_tune", any="owner admin developer")
_action("flywheel.read", "fine_tune", any="owner admin developer adjudicator review_lead")
_action("release.sign", "admin", any="owner admin")
_action("release.promote", "admin", any="owner admin developer")
_action("generation.read", "admin:read", any="owner admin")
_action("generation.cancel", "admin", any="owner admin")
_action("rule.read", "admin:read", any="owner admin")
_action("rule.write", "admin", any="owner admin")
_action("held.read", "review", any="owner admin reviewer review_lead")
_action("held.decide", "review", any="owner admin reviewer review_lead")
_action("audit.read", "admin:read", any="owner admin")
_action("judgement.read", "label", any="owner admin developer adjudicator review_lead")
_action("label", "label", any=f"owner admin {_WORKERS}")
_action("project.read", "label", any="owner admin developer adjudicator review_lead")
_action("project.write", "label", any="owner admin review_lead")
_action("adjudicate", "label", any="owner admin adjudicator")
_action("review", "review", any="owner admin reviewer review_lead")
_action("review.lead", "review", any="owner admin review_lead")
_action("feedback", "chat", own=f"{_WORKERS} member service", any="owner admin developer")
_action("metric.write", "fine_tune", any="owner admin developer")
_action("file", "files", own=f"{_EVERYONE} service")
_action("battle", "chat", own=_EVERYONE)

COVERS: dict[str, frozenset[str]] = {"admin": frozenset({"admin:read"})}
"""Scopes that hold others. `me` needs none."""
LIKE_CHAT = ("embeddings", "files")
"""Scopes of the API that no action here names: whoever may chat may use them."""


def scopes_of(role: str, scopes: Iterable[str]) -> frozenset[str]:
    """Those of the scopes with which this role can do anything; a key loses the rest when its owner's role changes."""
    useful = {scope for scope, levels in ACTIONS.values() if levels.get(role)}
    return frozenset(s for s in scopes if ("chat" if s in LIKE_CHAT else s) in useful)


def level(principal: Principal, action: str) -> Level:
    """On whose objects the principal may do this: by the role and, for a key, its scopes."""
    scope, levels = ACTIONS[action]
    if principal.scopes is not None and scope != "me":
        held = principal.scopes.union(*(COVERS.get(name, frozenset()) for name in principal.scopes))
        if scope not in held:
            return Level.NONE
    return levels.get(principal.role, Level.NONE)


def can(principal: Principal, action: str, thing: Owned | None = None) -> bool:
    """Whether the principal may do it, to this thing or (None) to any of its own."""
    reach = level(principal, action)
    if thing is None or reach is Level.NONE:
        return reach is not Level.NONE
    if thing.workspace_id != principal.workspace_id:
        return False
    return reach is Level.ANY or thing.person_id == principal.person_id


def require(principal: Principal, action: str) -> None:
    """Raise Forbidden where the principal may not do it to anything."""
    if not can(principal, action):
        who = f"the role {principal.role}" if principal.scopes is None else "this API key"
        raise Forbidden(f"{who} may not do this ({action}); ask an administrator.")


def require_on(principal: Principal, action: str, kind: str, row: Any) -> Any:
    """`row`, a database row with workspace_id and person_id or None, if the principal may do it to that.

    Raises:
        Forbidden: it may do it to nothing.
        NotFound: there is no such thing, or it is another's.
    """
    require(principal, action)
    if row is None or not can(principal, action, Owned(row.workspace_id, getattr(row, "person_id", None))):
        raise NotFound(f"there is no such {kind}.")
    return row
