"""The guard's rules as administrators change them: the store's rules as a source of the guard.

Another process may change them, so the version is read from the database a few times a second, on a worker thread; a
change binds within a second in every process. A rule whose name is the id of a built-in one replaces it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ziggurat.product import rules
from ziggurat.product.errors import Invalid
from ziggurat.product.objects import GuardRule
from ziggurat.safety.rules import Rule
from ziggurat.store.store import Store

log = logging.getLogger("ziggurat.service")

LOOK_S = 0.25
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


class StoreRules:
    """A `RuleSource`. `refresh` reads the store; `version` and `rules` answer from memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._version = -1
        self._rules: list[Rule] = []
        self.trouble: str | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read the rules again if they changed; on a worker thread."""
        version = rules.version(self._store)
        if version == self._version:
            return
        read, refused = list[Rule](), list[str]()
        for row in rules.every_rule(self._store):
            try:
                read.append(rule_of(row))
            except ValidationError as error:
                refused.append(f"{row.name or row.id}: {error.errors()[0]['msg']}")
        self._rules, self._version = read, version
        self.trouble = "; ".join(refused) or None
        if self.trouble:
            log.warning("rules of the guard that cannot be used: %s", self.trouble)

    def version(self) -> int:
        return self._version

    def rules(self) -> Sequence[Rule]:
        return self._rules


def rule_of(row: GuardRule) -> Rule:
    """The store's rule as the guard's.

    Raises:
        ValidationError: its pattern does not compile, or its fields do not go together.
    """
    topic = row.kind == "policy"
    return Rule.model_validate(
        {
            "id": row.name if _ID.fullmatch(row.name) else row.id,
            "kind": "topic" if topic else row.kind,
            "category": row.topic or (row.categories[0] if row.categories else "custom"),
            "pattern": row.pattern,
            "words": row.words,
            "stage": row.stage,
            "templates": row.templates,
            "enabled": row.enabled,
            **({"treatment": _TREATMENTS[row.action]} if topic else {"action": row.action}),
        }
    )


_TREATMENTS = {"block": "refuse", "answer": "template", "hold": "refuse", "log": "answer"}
"""The policy table's treatments by a rule's action; a topic is not held."""


def usable(values: Mapping[str, Any]) -> None:
    """
    Raises:
        Invalid: the guard cannot use a rule with these values.
    """
    try:
        rule_of(GuardRule.model_validate({**_UNSAVED, **values}))
    except ValidationError as error:
        first = error.errors()[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        param = ".".join(str(part) for part in first["loc"]) or None
        raise Invalid(f"this rule cannot be used: {reason}", param=param) from None


_UNSAVED = {"id": "rule_new", "version": 1, "created_at": "", "updated_at": "", "name": "", "enabled": True}
