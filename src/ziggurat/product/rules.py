"""The guard's rules: an administrator changes them while the server runs.

Every change raises the workspace's rules version in the same transaction, so another process notices by one small read
(`version`) and loads the rules again. Nothing that a user writes changes a rule: each of these functions needs the
right `rule.write`, and each change is an audit entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from ziggurat.product.common import clean, clean_name, known, record, row_of, truth
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.objects import GuardRule
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.guard import guard_rules as table
from ziggurat.store.tables.workspace import workspaces

CHOICES = {
    "kind": ("pattern", "words", "policy"),
    "stage": ("before", "after", "both"),
    "action": ("block", "answer", "hold", "log"),
}
FIELDS = (*CHOICES, "name", "pattern", "words", "categories", "topic", "templates", "enabled")
MAX_RULES, MAX_WORDS, MAX_PATTERN, MAX_TEMPLATE = 2_000, 5_000, 4_000, 8_000

Check = Callable[[Mapping[str, Any]], None]
"""Raises where a rule cannot be used, such as a pattern that does not compile; the guard hands it in."""


def version(store: Store) -> int:
    """Grows with every change of a rule, in any process."""
    with store.read() as conn:
        return int(conn.execute(select(func.coalesce(func.sum(workspaces.c.rules_version), 0))).scalar_one())


def enabled_rules(store: Store) -> list[GuardRule]:
    """What the guard loads: the rules that are switched on, in the order of their making."""
    with store.read() as conn:
        return [_view(row) for row in conn.execute(select(table).where(table.c.enabled).order_by(table.c.id))]


def every_rule(store: Store) -> list[GuardRule]:
    """The rules that are switched off too: one that has the name of a built-in rule takes its place."""
    with store.read() as conn:
        return [_view(row) for row in conn.execute(select(table).order_by(table.c.id))]


def list_rules(store: Store, principal: Principal) -> list[GuardRule]:
    """All of the workspace, those that are switched off too."""
    require(principal, "rule.read")
    mine = table.c.workspace_id == principal.workspace_id
    with store.read() as conn:
        return [_view(row) for row in conn.execute(select(table).where(mine).order_by(table.c.id))]


def create_rule(
    store: Store, principal: Principal, rule: Mapping[str, Any], *, check: Check | None = None
) -> GuardRule:
    """A new one: kind, name, pattern or words, categories, topic, stage, action, templates {locale: [texts]}, enabled.

    Raises:
        Invalid: a field that is not allowed; `param` names it.
        Conflict: a rule of the workspace has this name (code name_taken), or there are too many.
    """
    require(principal, "rule.write")
    given = {"stage": "both", "enabled": True} | dict(rule)
    for name in ("kind", "action", "name"):
        if name not in given:
            raise Invalid(f"a rule needs {name}.", param=name)
    empty: dict[str, Any] = {"pattern": None, "words": [], "categories": [], "topic": None, "templates": {}}
    values = empty | _checked(given, check, empty)
    with store.write() as conn:
        mine = table.c.workspace_id == principal.workspace_id
        if conn.execute(select(func.count()).select_from(table).where(mine)).scalar_one() >= MAX_RULES:
            raise Conflict(f"there are {MAX_RULES:,} rules, and no more are kept.", code="too_many_rules")
        _free_name(conn, principal, values["name"])
        rule_id, now = new_id("rule"), store.now()
        row = {
            "id": rule_id,
            "workspace_id": principal.workspace_id,
            "version": 1,
            "changed_by": principal.person_id,
            "created_at": now,
            "updated_at": now,
        }
        conn.execute(insert(table).values(row | values))
        _changed(conn, store, principal, "rule.create", rule_id, None, values)
        return _view(row_of(conn, table, rule_id))


def change_rule(
    store: Store,
    principal: Principal,
    rule_id: str,
    changes: Mapping[str, Any],
    *,
    check: Check | None = None,
) -> GuardRule:
    """Change some of its fields.

    Raises:
        Conflict: another rule of the workspace has this name (code name_taken).
    """
    with store.write() as conn:
        row = require_on(principal, "rule.write", "rule", row_of(conn, table, rule_id))
        before = {name: getattr(row, name) for name in FIELDS}
        values = _checked(changes, check, before)
        if "name" in values:
            _free_name(conn, principal, values["name"], but=rule_id)
        conn.execute(
            update(table)
            .where(table.c.id == rule_id)
            .values(**values, version=row.version + 1, changed_by=principal.person_id, updated_at=store.now())
        )
        _changed(conn, store, principal, "rule.change", rule_id, before, before | values)
        return _view(row_of(conn, table, rule_id))


def _free_name(conn: Connection, principal: Principal, name: str, but: str = "") -> None:
    """Raise Conflict where another rule of the workspace has the name: what the guard did is recorded by names."""
    same = (table.c.workspace_id == principal.workspace_id) & (table.c.name == name) & (table.c.id != but)
    if conn.execute(select(table.c.id).where(same)).first() is not None:
        raise Conflict(
            f'a rule has the name "{name}"; choose another, or change that rule.',
            code="name_taken",
            param="name",
        )


def delete_rule(store: Store, principal: Principal, rule_id: str) -> None:
    """Remove one."""
    with store.write() as conn:
        row = require_on(principal, "rule.write", "rule", row_of(conn, table, rule_id))
        conn.execute(delete(table).where(table.c.id == rule_id))
        before = {name: getattr(row, name) for name in FIELDS}
        _changed(conn, store, principal, "rule.delete", rule_id, before, None)


def _changed(
    conn: Connection, store: Store, principal: Principal, action: str, rule_id: str, before: Any, after: Any
) -> None:
    here = workspaces.c.id == principal.workspace_id
    conn.execute(update(workspaces).where(here).values(rules_version=workspaces.c.rules_version + 1))
    names = sorted(name for name in FIELDS if (before or {}).get(name) != (after or {}).get(name))
    record(
        conn,
        store,
        principal,
        action,
        kind="rule",
        object_id=rule_id,
        detail={"fields": names},
        before=before,
        after=after,
    )


def _checked(given: Mapping[str, Any], check: Check | None, before: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as they are kept; `before` holds what the rule has already."""
    values = known(given, FIELDS)
    for name, choices in CHOICES.items():
        if name in values and values[name] not in choices:
            raise Invalid(f"{name} is {values[name]!r}; it must be one of {', '.join(choices)}.", param=name)
    if "name" in values:
        values["name"] = clean_name(values["name"])
    if values.get("pattern") is not None:
        values["pattern"] = clean(values["pattern"], "pattern", limit=MAX_PATTERN)
    if values.get("topic") is not None:
        values["topic"] = clean_name(values["topic"], "topic")[:64]
    for name in ("words", "categories"):
        if name in values:
            values[name] = _names(values[name], name)
    if "templates" in values:
        values["templates"] = _templates(values["templates"])
    if "enabled" in values:
        values["enabled"] = truth(values["enabled"], "enabled")
    whole = {**before, **values}
    needed = {"pattern": "pattern", "words": "words", "policy": "topic"}[whole["kind"]]
    if not whole[needed]:
        raise Invalid(f"a rule of the kind {whole['kind']} needs {needed}.", param=needed)
    if whole["action"] == "answer" and not any(whole["templates"].values()):
        raise Invalid("a rule that answers needs templates, such as {'en': ['...']}.", param="templates")
    if check is not None:
        check(whole)
    return values


def _names(value: Any, param: str) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_WORDS:
        raise Invalid(f"{param} must be a list of at most {MAX_WORDS:,} texts.", param=param)
    return list(dict.fromkeys(clean_name(word, param) for word in value))


def _templates(value: Any) -> dict[str, list[str]]:
    if (
        not isinstance(value, Mapping)
        or len(value) > 50
        or not all(isinstance(v, list) for v in value.values())
    ):
        raise Invalid("templates must be an object of lists, such as {'en': ['...']}.", param="templates")
    return {
        clean_name(locale, "templates"): [
            clean(text, "templates", limit=MAX_TEMPLATE) for text in texts[:100]
        ]
        for locale, texts in value.items()
    }


def _view(row: Any) -> GuardRule:
    values = {name: getattr(row, name) for name in (*FIELDS, "id", "version")}
    return GuardRule(created_at=iso(row.created_at), updated_at=iso(row.updated_at), **values)
