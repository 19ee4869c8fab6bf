"""Answers of the API by the ids that their clients got, so that feedback about them can come weeks later.

Ids and hashes are always kept. What was asked and answered is kept by the workspace's setting `api_answers`: `ids`
(never), `asked` (of a request with `store: true`) or `all`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select

from ziggurat.product.burial import BATCH, bury
from ziggurat.product.common import clean_json, clean_name
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import Level, level, require
from ziggurat.product.workspaces import settings_of
from ziggurat.store.clock import DAY
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.programs import episodes, inferences

MAX_ID = 64
"""Characters of an id; other servers may send longer ones, about which no feedback can come."""
MAX_KEPT = 400_000
"""Characters of prompt and answer as JSON; longer ones are kept as hashes only."""
KEPT_DAYS = 400
"""How long answers stay known where the workspace sets no `retention_days`."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One answer of the API, as the service saw it."""

    id: str
    principal: Principal
    kind: str
    model: str
    prompt: Sequence[Mapping[str, Any]]
    answer: Sequence[str]
    request_id: str | None = None
    episode: str | None = None
    release: str | None = None
    asked_to_keep: bool = False
    whole: bool = True
    """Whether `prompt` is all that the model was given; what is not whole is never kept."""
    hashes: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)


def hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def keep(store: Store, answered: Sequence[Answered]) -> int:
    """Keep them in one transaction; returns how many were new."""
    with store.write(durable=False) as conn:
        settings: dict[str, str] = {}
        for one in answered:
            home = one.principal.workspace_id
            settings.setdefault(home, settings_of(conn, home)["api_answers"])
        return sum(_keep(conn, store, one, settings[one.principal.workspace_id]) for one in answered)


def _keep(conn: Connection, store: Store, one: Answered, setting: str) -> bool:
    known = select(inferences.c.id).where(inferences.c.id == one.id)
    if len(one.id) > MAX_ID or conn.execute(known).first() is not None:
        return False
    prompt, answer = clean_json(list(one.prompt)), clean_json(list(one.answer))
    wanted = setting == "all" or (setting == "asked" and one.asked_to_keep)
    kept = wanted and one.whole and len(json.dumps([prompt, answer], ensure_ascii=False)) <= MAX_KEPT
    row = {
        "id": one.id,
        "workspace_id": one.principal.workspace_id,
        "person_id": one.principal.person_id,
        "key_id": one.principal.key_id,
        "request_id": one.request_id,
        "episode_id": _episode(conn, store, one.principal, one.episode),
        "kind": one.kind,
        "model": one.model[:200],
        "release": one.release,
        "hashes": dict(one.hashes),
        "prompt_hash": hash_of(prompt),
        "answer_hash": hash_of(answer),
        "prompt": prompt if kept else None,
        "answer": answer if kept else None,
        "sampling": clean_json(dict(one.sampling)),
        "created_at": store.now(),
    }
    conn.execute(insert(inferences).values(row))
    return True


def episode_name(given: str | None) -> str | None:
    """The name of an episode as it is kept, cut to MAX_ID characters; None for one that cannot be kept."""
    try:
        return None if given is None else clean_name(given, "episode_id")[:MAX_ID]
    except Invalid:
        return None


def _episode(conn: Connection, store: Store, principal: Principal, given: str | None) -> str | None:
    name = episode_name(given)
    if name is None:
        return None
    mine = (episodes.c.person_id == principal.person_id) & (episodes.c.name == name)
    found = conn.execute(select(episodes.c.id).where(mine)).scalar()
    if found is not None:
        return str(found)
    row = {
        "id": new_id("episode"),
        "workspace_id": principal.workspace_id,
        "person_id": principal.person_id,
        "name": name,
        "created_at": store.now(),
    }
    conn.execute(insert(episodes).values(row))
    return str(row["id"])


# --- finding ----------------------------------------------------------------------------------------------------------


def inference_row(conn: Connection, principal: Principal, given: str) -> Any:
    """The row of an answer's id, or of the `x-request-id` of one answer.

    Raises:
        NotFound: there is no such answer, or it is another person's.
        Conflict: several answers have this request id.
    """
    require(principal, "feedback")
    seen = [inferences.c.workspace_id == principal.workspace_id]
    if level(principal, "feedback") is not Level.ANY:
        seen.append(inferences.c.person_id == principal.person_id)
    named = or_(inferences.c.id == given, inferences.c.request_id == given)
    rows = conn.execute(select(inferences).where(named, *seen).limit(2)).all()
    exact = [row for row in rows if row.id == given]
    if len(exact or rows) > 1:
        raise Conflict(
            f"several answers have the request id {given[:MAX_ID]}; give the id of the answer itself.",
            code="several_answers",
            param="inference_id",
        )
    if not rows:
        raise NotFound("there is no answer with this id.", param="inference_id")
    return (exact or rows)[0]


def episode_row(conn: Connection, principal: Principal, name: str) -> Any:
    """The row of an episode by the name that the program gave it; one's own comes before a colleague's.

    Raises:
        NotFound: no answer of this episode is known.
    """
    require(principal, "feedback")
    seen = [episodes.c.workspace_id == principal.workspace_id, episodes.c.name == episode_name(name)]
    if level(principal, "feedback") is not Level.ANY:
        seen.append(episodes.c.person_id == principal.person_id)
    rows = conn.execute(select(episodes).where(*seen).order_by(episodes.c.id)).all()
    mine = [row for row in rows if row.person_id == principal.person_id]
    if not rows:
        raise NotFound("there is no episode with this id.", param="episode_id")
    return (mine or rows)[0]


# --- going ------------------------------------------------------------------------------------------------------------


def remove(conn: Connection, store: Store, workspace_id: str, ids: Sequence[str]) -> None:
    """Answers with every judgement about them or about their episodes, which quotes them; tombstones keep later data
    sets from them."""
    for at in range(0, len(ids), BATCH):
        part = list(ids[at : at + BATCH])
        episode_ids = select(inferences.c.episode_id).where(inferences.c.id.in_(part))
        subject = judgements.c.subject_id
        about = (judgements.c.subject_kind == "inference") & (subject.in_(part) | subject.in_(episode_ids))
        judged = list(conn.execute(select(judgements.c.id).where(about)).scalars())
        bury(conn, store, workspace_id, "judgement", judged)
        bury(conn, store, workspace_id, "inference", part)
        for first in range(0, len(judged), BATCH):
            conn.execute(delete(judgements).where(judgements.c.id.in_(judged[first : first + BATCH])))
        conn.execute(delete(inferences).where(inferences.c.id.in_(part)))


def old_ones(conn: Connection, store: Store, workspace_id: str) -> list[str]:
    """Ids of what has been kept for longer than the workspace wishes."""
    days = settings_of(conn, workspace_id)["retention_days"] or KEPT_DAYS
    old = inferences.c.created_at < store.now() - days * DAY
    return list(
        conn.execute(select(inferences.c.id).where(inferences.c.workspace_id == workspace_id, old)).scalars()
    )


def of_person(conn: Connection, person_id: str) -> list[str]:
    return list(conn.execute(select(inferences.c.id).where(inferences.c.person_id == person_id)).scalars())
