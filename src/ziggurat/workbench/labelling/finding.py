"""Items by what a lead looks for: text, status, language, tag, private data; by disagreement or by a reward model's
uncertainty; and one act on all that match, not only on the page that is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import exp, log2
from typing import Any

from sqlalchemy import ColumnElement, String, cast, exists, func, or_, select, update

from ziggurat.product.common import clean_name, cursor_of, page_size, read_cursor, record, whole
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.objects import Page
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import answers, items
from ziggurat.workbench.labelling.assigning import assign
from ziggurat.workbench.labelling.items import settle
from ziggurat.workbench.labelling.objects import Item
from ziggurat.workbench.labelling.rows import item_view, project_row

FILTERS = ("text", "kind", "status", "lang", "skill", "tag", "sensitive", "answered_by", "apart", "uncertain")
SORTS: dict[str, tuple[Any, bool]] = {
    "new": (items.c.id, True),
    "old": (items.c.id, False),
    "priority": (items.c.priority, True),
    "disagreement": (items.c.disagreement, True),
    "uncertainty": (items.c.uncertainty, True),
    "skips": (items.c.skips, True),
}
MAX_BULK = 10_000
BATCH = 400


def find(
    store: Store,
    principal: Principal,
    project_id: str,
    *,
    where: Mapping[str, Any] | None = None,
    sort: str = "new",
    cursor: str | None = None,
    limit: int = 50,
) -> dict[str, Any]:
    """A page of the items that match, and how many match in all. Items without the sorted figure come last.

    where: `text` (in prompt or completions), `kind`, `status`, `lang`, `skill`, `tag`, `sensitive`, `answered_by`
    (a person's id), `apart` and `uncertain` (at least this much disagreement, uncertainty).
    """
    limit = page_size(limit)
    if sort not in SORTS:
        raise Invalid(f"sort is {sort!r}; it must be one of {', '.join(SORTS)}.", param="sort")
    at = read_cursor(cursor, (int,))[0] if cursor else 0
    with store.read() as conn:
        project_row(conn, principal, project_id)
        matching = _matching(project_id, where or {})
        total = conn.execute(select(func.count()).select_from(items).where(*matching)).scalar_one()
        column, down = SORTS[sort]
        order = [column.is_(None), column.desc() if down else column.asc(), items.c.id.desc()]
        rows = conn.execute(select(items).where(*matching).order_by(*order).offset(at).limit(limit + 1)).all()
    page: Page[Item] = Page(
        data=[item_view(row) for row in rows[:limit]],
        next=cursor_of(at + limit) if len(rows) > limit else None,
    )
    return {**page.model_dump(), "total": total}


def _matching(project_id: str, where: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    unknown = set(where) - set(FILTERS)
    if unknown:
        raise Invalid(f"there is no filter {min(unknown)!r}; there are {', '.join(FILTERS)}.", param="where")
    made: list[ColumnElement[bool]] = [items.c.project_id == project_id]
    for name in ("kind", "status", "lang", "skill"):
        if where.get(name):
            made.append(items.c[name] == str(where[name]))
    if where.get("text"):
        made.append(_holds(items.c.payload, str(where["text"])))
    for name, column in (("tag", items.c.tags), ("sensitive", items.c.sensitive)):
        if where.get(name):
            made.append(_listed(column, str(where[name])))
    if where.get("answered_by"):
        counts = answers.c.status.in_(("submitted", "extra"))
        who = answers.c.person_id == str(where["answered_by"])
        made.append(exists().where(answers.c.item_id == items.c.id, who, counts))
    for name, column in (("apart", items.c.disagreement), ("uncertain", items.c.uncertainty)):
        if where.get(name) is not None:
            made.append(column >= _share(where[name], name))
    return made


def _share(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 1:
        raise Invalid(f"{name} is {value!r}; it must be a number from 0 to 1.", param=f"where.{name}")
    return number


def _holds(column: Any, text: str) -> ColumnElement[bool]:
    """Whether a JSON column holds the text, as JSON writes it: SQLite keeps characters beyond ASCII escaped or not."""
    forms = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    kept = func.lower(cast(column, String))
    return or_(*(kept.contains(form.lower(), autoescape=True) for form in sorted(forms)))


def _listed(column: Any, value: str) -> ColumnElement[bool]:
    """Whether a JSON list of texts holds this one."""
    forms = {json.dumps(value, ensure_ascii=ascii_only) for ascii_only in (True, False)}
    return or_(*(cast(column, String).contains(form, autoescape=True) for form in sorted(forms)))


# --- on all that match ------------------------------------------------------------------------------------------------


def act_on_all(
    store: Store,
    principal: Principal,
    project_id: str,
    *,
    where: Mapping[str, Any],
    act: str,
    value: Any = None,
    expected: int | None = None,
) -> dict[str, Any]:
    """One act on every item that matches; returns `{matched, changed}`.

    act: `halt`, `open` (give halted items out again), `tag`, `untag`, `priority`, `min_answers` (it can grow), `assign`
    (value: ids of people). `expected`: how many items the person was told of; if it is another number by now, nothing
    is done.

    Raises:
        Conflict: other items match by now.
    """
    if act != "assign" and act not in ACTS:
        raise Invalid(f"act is {act!r}; it must be one of {', '.join((*ACTS, 'assign'))}.", param="act")
    with store.read() as conn:
        project_row(conn, principal, project_id, "project.write")
        matching = _matching(project_id, where)
        ids = list(conn.execute(select(items.c.id).where(*matching).order_by(items.c.id)).scalars())
    if expected is not None and expected != len(ids):
        raise Conflict(
            f"{len(ids):,} items match now, not {expected:,}; look again and repeat.",
            code="changed_meanwhile",
        )
    if len(ids) > MAX_BULK:
        raise Invalid(f"{len(ids):,} items match; at most {MAX_BULK:,} are changed at once.", param="where")
    if act == "assign":
        people = value if isinstance(value, list) else []
        made = sum(
            assign(store, principal, project_id, item_ids=ids[at : at + 1_000], person_ids=people)
            for at in range(0, len(ids), 1_000)
        )
        return {"matched": len(ids), "changed": made}
    with store.write() as conn:
        project_row(conn, principal, project_id, "project.write")
        changed = 0
        for at in range(0, len(ids), BATCH):
            part = items.c.id.in_(ids[at : at + BATCH])
            for row in conn.execute(select(items).where(part)).all():
                values = ACTS[act](row, value)
                if values:
                    values["updated_at"] = store.now()
                    conn.execute(update(items).where(items.c.id == row.id).values(values))
                    settle(conn, store, row.id)
                    changed += 1
        detail = {"act": act, "matched": len(ids), "changed": changed, "where": sorted(where)}
        record(conn, store, principal, "item.bulk", kind="label_project", object_id=project_id, detail=detail)
    return {"matched": len(ids), "changed": changed}


def _halt(row: Any, _: Any) -> dict[str, Any]:
    return {"status": "halted"} if row.status in ("pending", "in_progress") else {}


def _open(row: Any, _: Any) -> dict[str, Any]:
    return {"status": "pending", "skips": 0} if row.status == "halted" else {}


def _tag(row: Any, value: Any) -> dict[str, Any]:
    name = clean_name(value, "value")
    return {} if name in row.tags else {"tags": [*row.tags, name][:50]}


def _untag(row: Any, value: Any) -> dict[str, Any]:
    name = clean_name(value, "value")
    return {"tags": [tag for tag in row.tags if tag != name]} if name in row.tags else {}


def _priority(row: Any, value: Any) -> dict[str, Any]:
    number = whole(value, "value", -1_000_000, 1_000_000)
    return {"priority": number} if number != row.priority else {}


def _min_answers(row: Any, value: Any) -> dict[str, Any]:
    number = whole(value, "value", 1, 50)
    return {"min_answers": number} if number > row.min_answers else {}


ACTS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "halt": _halt,
    "open": _open,
    "tag": _tag,
    "untag": _untag,
    "priority": _priority,
    "min_answers": _min_answers,
}


# --- uncertainty ------------------------------------------------------------------------------------------------------


def to_score(
    store: Store, principal: Principal, project_id: str, *, limit: int = 200, again: bool = False
) -> list[dict[str, Any]]:
    """Items with completions that have no reward model's uncertainty yet: `{item_id, messages, completions}`."""
    limit = whole(limit, "limit", 1, 1_000)
    with store.read() as conn:
        project_row(conn, principal, project_id, "project.write")
        wanted = select(items.c.id, items.c.payload).where(
            items.c.project_id == project_id,
            items.c.kind == "work",
            items.c.status.in_(("pending", "in_progress")),
        )
        if not again:
            wanted = wanted.where(items.c.uncertainty.is_(None))
        rows = conn.execute(wanted.order_by(items.c.id).limit(limit)).all()
    return [
        {"item_id": row.id, "messages": row.payload["messages"], "completions": row.payload["completions"]}
        for row in rows
        if len(row.payload.get("completions", ())) > 1
    ]


def set_scores(
    store: Store,
    principal: Principal,
    project_id: str,
    scores: Mapping[str, Sequence[float]],
    *,
    first: bool = False,
) -> int:
    """Keep how unsure a reward model is about the order of each item's completions; returns how many items.

    scores: item to the reward of each completion. `first`: what the model is least sure of is given out first.
    """
    changed = 0
    with store.write() as conn:
        project_row(conn, principal, project_id, "project.write")
        for item_id, rewards in scores.items():
            value = uncertainty([float(one) for one in rewards])
            values: dict[str, Any] = {"uncertainty": value, "updated_at": store.now()}
            if first:
                values["priority"] = round(value * 1_000)
            inside = (items.c.id == item_id) & (items.c.project_id == project_id)
            changed += conn.execute(update(items).where(inside).values(values)).rowcount
        detail = {"items": changed, "first": first}
        record(
            conn, store, principal, "item.score", kind="label_project", object_id=project_id, detail=detail
        )
    return changed


def uncertainty(rewards: Sequence[float]) -> float:
    """The mean entropy, in bits, of "a is better than b" over all pairs, by the reward model's own probability
    sigmoid(r_a - r_b): 1 where it cannot tell any two apart, 0 where it is sure of all.

    >>> uncertainty([0.0, 0.0]), round(uncertainty([0.0, 2.0]), 3)
    (1.0, 0.527)
    """
    found = []
    for a, b in combinations(rewards, 2):
        p = 1 / (1 + exp(-min(abs(a - b), 500.0)))
        found.append(0.0 if p >= 1 else -(p * log2(p) + (1 - p) * log2(1 - p)))
    return round(sum(found) / len(found), 6) if found else 0.0
