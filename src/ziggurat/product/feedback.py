"""What a program reports about an answer or an episode: a value of a metric, a comment, or a demonstration.

Each is a judgement (`metric`, `comment`, `demonstration`) of the person whose key the program has. A later value of the
same metric takes the place of the earlier one; comments add up; the same content twice is one. With an Idempotency-Key
the first content counts, and other content under the same key is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggurat.product.common import clean, clean_json, record
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.inferences import episode_row, hash_of, inference_row
from ziggurat.product.judgements import MAX_COMMENT, write_about
from ziggurat.product.metrics import metric_row
from ziggurat.product.objects import Thing
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.programs import feedback as table
from ziggurat.store.tables.programs import inferences

MAX_TAGS = 16
MAX_ANSWERS = 100
"""Answers of an episode that its judgement quotes."""


class Given(Thing):
    """Feedback that was taken; `repeated`: the same had come before."""

    feedback_id: str
    repeated: bool
    created_at: str


def give(
    store: Store,
    principal: Principal,
    *,
    name: str,
    value: Any,
    inference_id: str | None = None,
    episode_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    once: str | None = None,
) -> Given:
    """Take one. `name`: a declared metric, `comment` or `demonstration`; `once`: the Idempotency-Key.

    Raises:
        NotFound: there is no such answer, episode or metric.
        Invalid: the value is not what the metric takes, or the level is another one.
        Conflict: this Idempotency-Key came with other content.
    """
    require(principal, "feedback")
    if (inference_id is None) == (episode_id is None):
        raise Invalid("give either inference_id or episode_id.", param="inference_id")
    with store.write() as conn:
        level = "inference" if episode_id is None else "episode"
        if inference_id is not None:
            subject = inference_row(conn, principal, inference_id)
        else:
            subject = episode_row(conn, principal, str(episode_id))
        metric = None if name in ("comment", "demonstration") else metric_row(conn, principal, name)
        said = _said(name, value, metric, level) | _tags(tags)
        content = hash_of([level, subject.id, name, said])
        key = None if once is None else hash_of(clean(once, "Idempotency-Key", limit=256))
        before = _before(conn, principal, level, subject.id, metric, content, key)
        if before is not None:
            return Given(feedback_id=before.id, repeated=True, created_at=iso(before.created_at))
        judgement_id = _judge(conn, store, principal, level, subject, name, said)
        if metric is not None:
            _supersede(conn, principal, level, subject.id, metric.id, judgement_id)
        row = {
            "id": new_id("feedback"),
            "workspace_id": principal.workspace_id,
            "person_id": principal.person_id,
            "judgement_id": judgement_id,
            f"{level}_id": subject.id,
            "metric_id": None if metric is None else metric.id,
            "once": key,
            "content_hash": content,
            "current": True,
            "created_at": store.now(),
        }
        conn.execute(insert(table).values(row))
        record(
            conn,
            store,
            principal,
            "feedback",
            kind=level,
            object_id=subject.id,
            detail={"kind": name if metric is None else "metric"},
        )
        return Given(feedback_id=str(row["id"]), repeated=False, created_at=iso(row["created_at"]))


def _said(name: str, value: Any, metric: Any, level: str) -> dict[str, Any]:
    """The value of the judgement."""
    if name == "comment":
        return {"comment": clean(value, "value", limit=MAX_COMMENT)}
    if name == "demonstration":
        if level != "inference":
            raise Invalid(
                "a demonstration is about one answer; give inference_id.",
                param="episode_id",
                code="wrong_level",
            )
        return {"messages": _demonstration(value)}
    if metric.level != level:
        raise Invalid(
            f"{name} is declared for an {metric.level}; give {metric.level}_id.",
            param=f"{level}_id",
            code="wrong_level",
        )
    if metric.type == "boolean":
        if not isinstance(value, bool):
            raise Invalid(f"{name} takes true or false.", param="value", code="wrong_type")
        return {"metric": name, "value": value}
    return {"metric": name, "value": _number(name, value)}


def _number(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    if not math.isfinite(number):
        raise Invalid(f"{name} takes a number.", param="value", code="wrong_type")
    return number


def _demonstration(value: Any) -> list[dict[str, Any]]:
    """The answer turns to imitate: a text, or a list of messages."""
    if isinstance(value, str):
        return [{"role": "assistant", "content": clean(value, "value")}]
    turns = value if isinstance(value, list) else [value]
    for turn in turns:
        whole = (
            isinstance(turn, Mapping) and isinstance(turn.get("content"), str) and turn.get("role") in ROLES
        )
        if not whole:
            raise Invalid(
                "a demonstration is a text, or messages with role (assistant or tool) and content.",
                param="value",
                code="wrong_type",
            )
    if not turns or turns[-1]["role"] != "assistant":
        raise Invalid(
            "a demonstration ends with a message of the assistant.", param="value", code="wrong_type"
        )
    return [{"role": one["role"], "content": clean(one["content"], "value")} for one in turns]


ROLES = ("assistant", "tool")


def _tags(tags: Mapping[str, str] | None) -> dict[str, Any]:
    if not tags:
        return {}
    texts = all(isinstance(k, str) and isinstance(v, str) and len(k) + len(v) <= 400 for k, v in tags.items())
    if len(tags) > MAX_TAGS or not texts:
        raise Invalid(f"tags may hold up to {MAX_TAGS} short texts by name.", param="tags")
    return {"tags": clean_json(tags)}


def _before(
    conn: Connection,
    principal: Principal,
    level: str,
    subject_id: str,
    metric: Any,
    content: str,
    key: str | None,
) -> Any:
    """The same feedback that came before, or None."""
    mine = table.c.person_id == principal.person_id
    if key is not None:
        found = conn.execute(select(table).where(mine, table.c.once == key)).first()
        if found is not None and found.content_hash != content:
            raise Conflict(
                "this Idempotency-Key came with other content before; use a new one.", code="idempotency"
            )
        if found is not None:
            return found
    same = [mine, table.c[f"{level}_id"] == subject_id, table.c.content_hash == content, table.c.current]
    if metric is not None:
        same.append(table.c.metric_id == metric.id)
    open_ones = (judgements.c.withdrawn_at.is_(None), judgements.c.superseded_by.is_(None))
    known = select(table).join(judgements, judgements.c.id == table.c.judgement_id).where(*same, *open_ones)
    return conn.execute(known.order_by(table.c.id.desc())).first()


def _supersede(
    conn: Connection, principal: Principal, level: str, subject_id: str, metric_id: str, by: str
) -> None:
    about = (
        table.c.person_id == principal.person_id,
        table.c[f"{level}_id"] == subject_id,
        table.c.metric_id == metric_id,
        table.c.current,
    )
    earlier = list(conn.execute(select(table.c.judgement_id).where(*about)).scalars())
    conn.execute(update(table).where(*about).values(current=False))
    conn.execute(update(judgements).where(judgements.c.id.in_(earlier)).values(superseded_by=by))


def _judge(
    conn: Connection,
    store: Store,
    principal: Principal,
    level: str,
    subject: Any,
    name: str,
    said: Mapping[str, Any],
) -> str:
    """The judgement. It quotes what was kept; without texts nothing can be learned from it, and nothing without the
    consent of the person whose key it is."""
    kind = name if name in ("comment", "demonstration") else "metric"
    if level == "inference":
        rows = [subject]
    else:
        of_it = select(inferences).where(inferences.c.episode_id == subject.id)
        rows = list(conn.execute(of_it.order_by(inferences.c.created_at, inferences.c.id).limit(MAX_ANSWERS)))
    kept = bool(rows) and all(row.prompt is not None for row in rows)
    return write_about(
        conn,
        store,
        principal,
        kind,
        ("inference", subject.id),
        said,
        prompt=rows[0].prompt if kept and level == "inference" else [],
        completions=[_completion(row) for row in rows],
        how={"method": "feedback", "probability": 1.0, "level": level},
        basis="consent",
        data_use=kept,
        supersede=kind == "demonstration",
    )


def _completion(row: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": row.id, "model": row.release or row.model}
    hashes = {**row.hashes, "prompt": row.prompt_hash, "answer": row.answer_hash}
    return shown | {
        "content": row.answer[0] if row.answer else None,
        "sampling": row.sampling,
        "hashes": hashes,
    }
