"""Items: what is to be labelled. A lead adds them by hand, from a model's samples or from chats, and changes how they
are given out; what was asked never changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ziggurat.product.common import (
    clean,
    clean_json,
    clean_name,
    cursor_of,
    known,
    page_size,
    read_cursor,
    record,
    row_of,
    truth,
    whole,
)
from ziggurat.product.errors import Invalid, ProductError
from ziggurat.product.objects import Page
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import answers, item_authors, items, leases
from ziggurat.store.tables.people import memberships
from ziggurat.workbench.labelling import events
from ziggurat.workbench.labelling.disagreement import CONFLICT, of_item
from ziggurat.workbench.labelling.objects import Item
from ziggurat.workbench.labelling.rows import (
    item_view,
    lead_item,
    project_row,
    settings_of,
    submitted,
    version_row,
)
from ziggurat.workbench.labelling.screening import marked
from ziggurat.workbench.labelling.values import checked, kinds_of

MAX_AT_ONCE = 1_000
MAX_MESSAGES = 200
MAX_CONTENT = 100_000
ROLES = ("system", "user", "assistant", "tool")
OPEN = ("pending", "in_progress")
FIELDS = (
    *("messages", "completions", "brief", "draft", "lang", "skill", "tags", "meta", "sensitive", "priority"),
    *("min_answers", "kind", "gold", "explanation", "suggestion", "authors", "data_use", "chat_id"),
)
CHANGEABLE = (
    "tags",
    "meta",
    "sensitive",
    "priority",
    "skill",
    "lang",
    "min_answers",
    "status",
    "explanation",
)


def add_items(
    store: Store,
    principal: Principal,
    project_id: str,
    entries: Sequence[Mapping[str, Any]],
    *,
    source: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Add items. One that the project has already is left out; one that is wrong is named, and the others are added.
    Private data that patterns find is marked by a tag, for a lead to look at.

    An entry: `messages` (the prompt), `completions` (texts, or `{id?, content, model?, sampling?, hashes?}`), `brief`
    (what a prompt is to be about), `draft` (to begin a demonstration from), and how it is given out. Returns
    `{added: [ids], duplicates: n, refused: [{at, message}]}`.
    """
    if not isinstance(entries, list | tuple) or len(entries) > MAX_AT_ONCE:
        raise Invalid(f"items must be a list of at most {MAX_AT_ONCE:,}.", param="items")
    added: list[str] = []
    refused: list[dict[str, Any]] = []
    duplicates = 0
    with store.write() as conn:
        project = project_row(conn, principal, project_id, "project.write")
        for at, entry in enumerate(entries):
            try:
                given = marked(entry) if isinstance(entry, Mapping) else entry
                made = insert_item(conn, store, principal, project, given, source=source or {"kind": "hand"})
            except ProductError as error:
                refused.append({"at": at, "message": str(error)})
                continue
            if made is None:
                duplicates += 1
            else:
                added.append(made)
        detail = {"added": len(added), "duplicates": duplicates, "refused": len(refused)}
        record(conn, store, principal, "item.add", kind="label_project", object_id=project_id, detail=detail)
    return {"added": added, "duplicates": duplicates, "refused": refused}


def insert_item(
    conn: Connection,
    store: Store,
    principal: Principal,
    project: Any,
    entry: Mapping[str, Any],
    *,
    source: Mapping[str, Any],
) -> str | None:
    """One item inside the caller's transaction; None where the project has it already.

    Raises:
        Invalid: a field is missing, unknown or wrong.
    """
    given = known(entry, FIELDS) if isinstance(entry, Mapping) else known({"entry": entry}, FIELDS)
    payload = _payload(project.task, given)
    kind = given.get("kind") or "work"
    if kind not in ("work", "gold", "training", "test"):
        raise Invalid(f"kind is {kind!r}; it must be work, gold, training or test.", param="kind")
    same_thing = [kind, payload]
    if source.get("kind") == "tree":  # two trees may hold the same text; each needs an item of its own
        same_thing.append(source["node_id"])
    content_hash = hashlib.sha256(json.dumps(same_thing, sort_keys=True).encode()).hexdigest()
    same = (items.c.project_id == project.id) & (items.c.content_hash == content_hash)
    if conn.execute(select(items.c.id).where(same).limit(1)).first():
        return None
    now = store.now()
    row = {
        "id": new_id("item"),
        "workspace_id": project.workspace_id,
        "project_id": project.id,
        "kind": kind,
        "payload": payload,
        "status": "pending",
        "min_answers": _min_answers(conn, project, given, kind),
        "answers": 0,
        "skips": 0,
        "source": clean_json(dict(source)),
        "chat_id": given.get("chat_id"),
        "data_use": truth(given.get("data_use", True), "data_use") and kind == "work",
        "content_hash": content_hash,
        "created_by": principal.person_id,
        "updated_at": now,
        "created_at": now,
        **_how_given(given),
        **_known_value(conn, project, payload, given, kind),
    }
    conn.execute(insert(items), row)
    if given.get("authors"):
        _add_authors(conn, project.workspace_id, row["id"], given["authors"])
    events.emit(conn, store, project, "record.created", {"item_id": row["id"], "kind": kind})
    return str(row["id"])


def _payload(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    low, high = kinds_of(task)
    messages = [_message(n, message) for n, message in enumerate(_list(given, "messages", MAX_MESSAGES))]
    completions = [_completion(n, one) for n, one in enumerate(_list(given, "completions", 100))]
    if not low <= len(completions) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise Invalid(
            f"the item has {len(completions)} completions; the task {task} needs {wanted}.",
            param="completions",
        )
    if len({one["id"] for one in completions}) < len(completions):
        raise Invalid("two completions have the same id.", param="completions")
    if len({one["content"].strip() for one in completions}) < len(completions):
        raise Invalid(
            "two completions have the same text; a comparison of them says nothing.", param="completions"
        )
    brief = clean(given.get("brief") or "", "brief", limit=4_000, empty=True)
    if task == "prompt":
        if not brief.strip():
            raise Invalid(
                "an item of prompt writing needs a brief: what the prompt is to be about.", param="brief"
            )
    elif not messages:
        raise Invalid("messages is empty; an item needs its prompt.", param="messages")
    payload: dict[str, Any] = {"messages": messages, "completions": completions}
    if brief:
        payload["brief"] = brief
    if given.get("draft"):
        payload["draft"] = clean(given["draft"], "draft", limit=MAX_CONTENT)
    return payload


def _list(given: Mapping[str, Any], name: str, most: int) -> list[Any]:
    found = given.get(name) or []
    if not isinstance(found, list | tuple) or len(found) > most:
        raise Invalid(f"{name} must be a list of at most {most}.", param=name)
    return list(found)


def _message(n: int, message: Any) -> dict[str, str]:
    where = f"messages.{n}"
    if not isinstance(message, Mapping) or message.get("role") not in ROLES:
        raise Invalid(f"{where} must have a role ({', '.join(ROLES)}) and a content.", param=where)
    return {"role": message["role"], "content": clean(message.get("content"), where, limit=MAX_CONTENT)}


def _completion(n: int, one: Any) -> dict[str, Any]:
    where = f"completions.{n}"
    if isinstance(one, str):
        one = {"content": one}
    if not isinstance(one, Mapping):
        raise Invalid(f"{where} must be a text, or an object with a content.", param=where)
    found: dict[str, Any] = {
        "id": clean_name(one.get("id") or f"c{n + 1}", f"{where}.id"),
        "content": clean(one.get("content"), where, limit=MAX_CONTENT),
    }
    for name in ("model", "sampling", "hashes"):
        if one.get(name):
            found[name] = clean_json(one[name])
    return found


def _how_given(given: Mapping[str, Any]) -> dict[str, Any]:
    meta = clean_json(given.get("meta") or {})
    if not isinstance(meta, dict) or len(json.dumps(meta)) > 20_000:
        raise Invalid("meta must be a JSON object of at most 20,000 characters.", param="meta")
    return {
        "lang": clean_name(given["lang"], "lang")[:16] if given.get("lang") else None,
        "skill": clean_name(given["skill"], "skill")[:64] if given.get("skill") else None,
        "tags": [clean_name(tag, "tags") for tag in _list(given, "tags", 50)],
        "meta": meta,
        "sensitive": [clean_name(one, "sensitive") for one in _list(given, "sensitive", 20)],
        "priority": whole(given.get("priority") or 0, "priority", -1_000_000, 1_000_000),
    }


def _known_value(
    conn: Connection, project: Any, payload: Mapping[str, Any], given: Mapping[str, Any], kind: str
) -> dict[str, Any]:
    gold, suggestion = given.get("gold"), given.get("suggestion")
    known_too = gold is not None or suggestion is not None
    questions = version_row(conn, project.id, project.version).questions if known_too else {}
    if kind in ("gold", "training") and gold is None:
        raise Invalid(f"an item of kind {kind} needs its known value in gold.", param="gold")
    if suggestion is not None:
        if not isinstance(suggestion, Mapping) or "value" not in suggestion:
            raise Invalid("suggestion must be an object with value, agent and score.", param="suggestion")
        value = checked(project.task, questions, payload, suggestion["value"])
        score = suggestion.get("score")
        suggestion = {
            "value": value,
            "agent": clean_name(suggestion.get("agent") or "model", "suggestion.agent"),
            "score": float(score) if isinstance(score, int | float) else None,
        }
    text = given.get("explanation")
    return {
        "gold": None if gold is None else checked(project.task, questions, payload, gold),
        "explanation": clean(text, "explanation", limit=8_000) if text else None,
        "suggestion": suggestion,
    }


def _min_answers(conn: Connection, project: Any, given: Mapping[str, Any], kind: str) -> int:
    """The item's own number; else the project's, or that of the overlap share, spread evenly over the work items."""
    if given.get("min_answers") is not None:
        return whole(given["min_answers"], "min_answers", 1, 50)
    chosen = settings_of(project)
    if kind != "work" or not chosen.overlap_pct or chosen.overlap_answers <= chosen.min_answers:
        return chosen.min_answers
    work = (items.c.project_id == project.id) & (items.c.kind == "work")
    n = conn.execute(select(func.count()).where(work)).scalar_one()
    share = chosen.overlap_pct
    overlapping = (n + 1) * share // 100 > n * share // 100
    return chosen.overlap_answers if overlapping else chosen.min_answers


def _add_authors(conn: Connection, workspace_id: str, item_id: str, authors: Sequence[str]) -> None:
    here = select(memberships.c.person_id).where(
        memberships.c.workspace_id == workspace_id, memberships.c.person_id.in_(list(authors))
    )
    rows = [{"item_id": item_id, "person_id": one} for one in conn.execute(here).scalars()]
    if rows:
        conn.execute(insert(item_authors), rows)


def list_items(
    store: Store,
    principal: Principal,
    project_id: str,
    *,
    kind: str | None = None,
    status: str | None = None,
    lang: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Item]:
    """Items of a project for a lead, the newest first."""
    limit = page_size(limit)
    wanted = select(items).where(items.c.project_id == project_id)
    for column, value in ((items.c.kind, kind), (items.c.status, status), (items.c.lang, lang)):
        if value is not None:
            wanted = wanted.where(column == value)
    if cursor:
        wanted = wanted.where(items.c.id < read_cursor(cursor, (str,))[0])
    with store.read() as conn:
        project_row(conn, principal, project_id)
        rows = conn.execute(wanted.order_by(items.c.id.desc()).limit(limit + 1)).all()
    return Page(
        data=[item_view(row) for row in rows[:limit]],
        next=cursor_of(rows[limit - 1].id) if len(rows) > limit else None,
    )


def get_item(store: Store, principal: Principal, item_id: str) -> Item:
    with store.read() as conn:
        return item_view(lead_item(conn, principal, item_id))


def change_item(store: Store, principal: Principal, item_id: str, changes: Mapping[str, Any]) -> Item:
    """Change how an item is given out; `status`: `halted`, or `pending` to give it out again; `min_answers` can grow.

    Raises:
        Invalid: an unknown field, or a value that is not allowed.
    """
    given = known(changes, CHANGEABLE)
    with store.write() as conn:
        row = lead_item(conn, principal, item_id, "project.write")
        values: dict[str, Any] = {n: v for n, v in _how_given(given).items() if n in given}
        if "explanation" in given:
            values["explanation"] = clean(given["explanation"] or "", "explanation", limit=8_000, empty=True)
        if "min_answers" in given:
            values["min_answers"] = whole(given["min_answers"], "min_answers", row.min_answers, 50)
        if "status" in given:
            if given["status"] not in ("halted", "pending"):
                raise Invalid("status can be set to halted or to pending.", param="status")
            values["status"] = given["status"]
        values["updated_at"] = store.now()
        conn.execute(update(items).where(items.c.id == item_id).values(values))
        settle(conn, store, item_id)
        record(
            conn,
            store,
            principal,
            "item.change",
            kind="label_item",
            object_id=item_id,
            detail={"fields": sorted(given)},
        )
        return item_view(row_of(conn, items, item_id))


def settle(conn: Connection, store: Store, item_id: str) -> str:
    """Bring an item's counts and status in line with its answers and leases; returns the status.

    Halted and adjudicated items keep their status. An item whose answers are too far apart is conflicted.
    """
    row = row_of(conn, items, item_id)
    count = conn.execute(select(func.count()).select_from(answers).where(submitted(item_id))).scalar_one()
    status, now, apart = row.status, store.now(), row.disagreement
    if row.kind != "work":
        status = "halted" if row.status == "halted" else "pending"
    elif status not in ("halted", "adjudicated"):
        held = leases.c.subject_kind == "item", leases.c.subject_id == item_id
        if count >= row.min_answers:
            apart = of_item(conn, row)
            status = "conflicted" if apart is not None and apart > CONFLICT else "completed"
        elif count or conn.execute(select(leases.c.id).where(*held).limit(1)).first():
            status = "in_progress"
        else:
            status = "pending"
    done = status in ("completed", "conflicted", "adjudicated")
    values = {
        "answers": count,
        "status": status,
        "completed_at": (row.completed_at or now) if done else None,
        "disagreement": apart if done else None,
    }
    conn.execute(update(items).where(items.c.id == item_id).values(values | {"updated_at": now}))
    return str(status)


def require_lead(principal: Principal) -> None:
    require(principal, "project.write")
