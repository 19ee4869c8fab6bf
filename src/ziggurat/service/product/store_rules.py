"""The guard's rules as administrators change them: the store's rules as a source of the guard.

Another process may change them, so the version is read from the database a few times a second, on a worker thread; a
change binds within a second in every process. A row that has the name of a built-in rule and is off
switches that one off.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ziggurat.product import rules
from ziggurat.product.errors import Invalid
from ziggurat.product.objects import GuardRule
from ziggurat.product.principal import Principal
from ziggurat.safety.rules import Rule
from ziggurat.safety.sources import builtin_rules
from ziggurat.store.store import Store

log = logging.getLogger("ziggurat.service")

LOOK_S = 0.25


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
            "id": row.name if stands_for_builtin(row) else row.id,
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


def stands_for_builtin(row: GuardRule) -> bool:
    """Whether it is the row of a built-in rule that is switched off."""
    return not row.enabled and row.name in builtin_ids()


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


# --- built-in rules at the page -------------------------------------------------------------------------------------


def builtin_ids() -> frozenset[str]:
    return frozenset(rule.id for rule in builtin_rules())


def with_builtin(found: Sequence[GuardRule]) -> list[dict[str, Any]]:
    """The store's rules, and the built-in ones with `builtin`: one that is switched off has a row in the store."""
    ids = builtin_ids()
    off = {row.name for row in found if row.name in ids and not row.enabled}
    own = [row.model_dump() for row in found if row.name not in ids or row.enabled]
    return [*own, *(_shown(rule, enabled=rule.enabled and rule.id not in off) for rule in builtin_rules())]


def _shown(rule: Rule, *, enabled: bool) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.id,
        "kind": "policy" if rule.kind == "topic" else rule.kind,
        "pattern": rule.pattern,
        "words": rule.words,
        "categories": [rule.category],
        "topic": rule.category,
        "stage": rule.stage,
        "action": rule.action,
        "templates": rule.templates,
        "enabled": enabled,
        "version": 1,
        "builtin": True,
    }


def switch_builtin(
    store: Store, principal: Principal, rule_id: str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Switch a built-in rule off or on; a row of its name in the store, which is off, takes its place.

    Raises:
        Invalid: anything else is to be changed.
    """
    if set(changes) != {"enabled"}:
        raise Invalid(
            "a built-in rule is only switched on or off; make a rule of your own beside it.", param="enabled"
        )
    rows = [row for row in rules.list_rules(store, principal) if row.name == rule_id]
    if changes["enabled"]:
        for row in rows:
            rules.delete_rule(store, principal, row.id)
    elif not rows:
        off = {"kind": "words", "name": rule_id, "words": [rule_id], "action": "log", "enabled": False}
        rules.create_rule(store, principal, off)
    (rule,) = [rule for rule in builtin_rules() if rule.id == rule_id]
    return _shown(rule, enabled=bool(changes["enabled"]))
