"""Blind battles: one prompt, two models whose names are hidden until the vote, sides by a seed that is kept.

    writing -> ready -> voted          or failed, where an answer could not be written

A vote is a judgement (`vote`, about the battle) like any other. A battle whose answers say which model wrote them is
marked and left out of the ratings.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

from sqlalchemy import Connection, delete, insert, select, update

from ziggurat.product.burial import BATCH, bury
from ziggurat.product.common import clean, clean_json, cursor_of, page_size, read_cursor, row_of
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.judgements import write_about
from ziggurat.product.leaks import leaks
from ziggurat.product.objects import Page, Thing
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.product.workspaces import settings_of
from ziggurat.store.clock import DAY, iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.programs import battles as table
from ziggurat.store.tables.releases import channels

WINNERS = ("a", "b", "tie", "both_bad")
MAX_QUESTION = 8_000


class Side(Thing):
    text: str
    finish_reason: str


class Battle(Thing):
    id: str
    state: Literal["writing", "ready", "voted", "failed"]
    prompt: list[dict[str, Any]]
    lang: str | None
    a: Side | None
    b: Side | None
    winner: str | None
    leaked: bool | None
    """None until the vote."""
    models: dict[str, str] | None
    """By side; None until the vote."""
    created_at: str


def draw(models: Sequence[str], seed: int) -> tuple[tuple[str, str], dict[str, Any]]:
    """Two different models, the first for side a, and how they were chosen: any pair and any order alike.

    Raises:
        Conflict: there are fewer than two.
    """
    names = sorted(set(models))
    if len(names) < 2:
        raise Conflict("a battle needs two models that answer; serve another one.", code="too_few_models")
    pairs = list(combinations(names, 2))
    chance = random.Random(seed)
    pair = list(chance.choice(pairs))
    chance.shuffle(pair)
    how = {"method": "uniform", "probability": 1 / len(pairs), "order": "random", "seed": seed}
    return (pair[0], pair[1]), how


def begin(
    store: Store,
    principal: Principal,
    *,
    text: str,
    models: tuple[str, str],
    how: Mapping[str, Any],
    seed: int,
) -> Battle:
    """A battle whose answers are about to be written."""
    require(principal, "battle")
    row = {
        "id": new_id("battle"),
        "workspace_id": principal.workspace_id,
        "person_id": principal.person_id,
        "model_a": models[0],
        "model_b": models[1],
        "prompt": [{"role": "user", "content": clean(text, "text", limit=MAX_QUESTION)}],
        "chosen_how": dict(how),
        "seed": seed,
        "lang": language(text),
        "leaked": False,
        "state": "writing",
        "created_at": store.now(),
    }
    with store.write() as conn:
        conn.execute(insert(table).values(row))
        return view(row_of(conn, table, str(row["id"])))


def written(
    store: Store, principal: Principal, battle_id: str, a: Mapping[str, Any], b: Mapping[str, Any]
) -> Battle:
    """Both answers, each {text, finish_reason, hashes, sampling, usage}."""
    with store.write() as conn:
        row = _own(conn, principal, battle_id)
        if row.state != "writing":
            raise Conflict("the answers of this battle were written before.", code="decided")
        said = " ".join(one["content"] for one in row.prompt)
        texts = (a["text"], b["text"])
        values = {
            "answer_a": clean_json(a),
            "answer_b": clean_json(b),
            "leaked": leaks(
                texts, (row.model_a, row.model_b), said, channels_of(conn, principal.workspace_id)
            ),
            "state": "ready",
        }
        conn.execute(update(table).where(table.c.id == battle_id).values(values))
        return view(row_of(conn, table, battle_id))


def channels_of(conn: Connection, workspace_id: str) -> list[str]:
    """Names under which releases are served."""
    wanted = select(channels.c.name).where(channels.c.workspace_id == workspace_id)
    return list(conn.execute(wanted).scalars())


def failed(store: Store, principal: Principal, battle_id: str) -> None:
    """An answer could not be written, or its reader left."""
    with store.write() as conn:
        row = _own(conn, principal, battle_id)
        if row.state == "writing":
            conn.execute(update(table).where(table.c.id == battle_id).values(state="failed"))


def vote(
    store: Store, principal: Principal, battle_id: str, winner: str, *, seconds: float | None = None
) -> Battle:
    """Decide a battle; its models are known from now on.

    Raises:
        Conflict: it was decided before, or its answers are not written.
    """
    if winner not in WINNERS:
        raise Invalid(f"winner is {winner!r}; it must be one of {', '.join(WINNERS)}.", param="winner")
    with store.write() as conn:
        row = _own(conn, principal, battle_id)
        if row.state != "ready":
            said = "was decided before" if row.state == "voted" else "has no answers to vote on"
            raise Conflict(f"this battle {said}.", code="decided" if row.state == "voted" else "not_ready")
        judgement_id = write_about(
            conn,
            store,
            principal,
            "vote",
            ("battle", battle_id),
            {"winner": winner, "leaked": row.leaked},
            prompt=row.prompt,
            completions=[
                _completion(row, side, model) for side, model in (("a", row.model_a), ("b", row.model_b))
            ],
            how=row.chosen_how,
            seconds=seconds,
            basis="consent",
        )
        decided = {"state": "voted", "judgement_id": judgement_id, "voted_at": store.now()}
        conn.execute(update(table).where(table.c.id == battle_id).values(decided))
        return view(row_of(conn, table, battle_id), winner)


def _completion(row: Any, side: str, model: str) -> dict[str, Any]:
    answer = getattr(row, f"answer_{side}")
    kept = {name: answer[name] for name in ("finish_reason", "sampling", "hashes") if name in answer}
    return {"id": side, "content": answer["text"], "model": model, **kept}


def get(store: Store, principal: Principal, battle_id: str) -> Battle:
    with store.read() as conn:
        row = _own(conn, principal, battle_id)
        return view(row, _winners(conn, [row]).get(row.id))


def mine(store: Store, principal: Principal, *, cursor: str | None = None, limit: int = 50) -> Page[Battle]:
    """My battles that can be voted on or were, newest first."""
    require(principal, "battle")
    limit = page_size(limit)
    wanted = select(table).where(
        table.c.person_id == principal.person_id,
        table.c.workspace_id == principal.workspace_id,
        table.c.state.in_(("ready", "voted")),
    )
    if cursor:
        wanted = wanted.where(table.c.id < read_cursor(cursor, (str,))[0])
    with store.read() as conn:
        rows = conn.execute(wanted.order_by(table.c.id.desc()).limit(limit + 1)).all()
        winners = _winners(conn, rows)
    return Page(
        data=[view(row, winners.get(row.id)) for row in rows[:limit]],
        next=cursor_of(rows[limit - 1].id) if len(rows) > limit else None,
    )


def remove_old(conn: Connection, store: Store, workspace_id: str, *, dry_run: bool) -> int:
    """Battles that were never ready, after a day; all with their votes after `retention_days`, where that is set."""
    days = settings_of(conn, workspace_id)["retention_days"]
    now, of_here = store.now(), table.c.workspace_id == workspace_id
    old = table.c.state.in_(("writing", "failed")) & (table.c.created_at < now - DAY)
    if days is not None:
        old |= table.c.created_at < now - days * DAY
    ids = list(conn.execute(select(table.c.id).where(of_here, old)).scalars())
    for at in range(0, 0 if dry_run else len(ids), BATCH):
        part = ids[at : at + BATCH]
        about = (judgements.c.subject_kind == "battle") & judgements.c.subject_id.in_(part)
        bury(
            conn,
            store,
            workspace_id,
            "judgement",
            list(conn.execute(select(judgements.c.id).where(about)).scalars()),
        )
        conn.execute(delete(judgements).where(about))
        conn.execute(delete(table).where(table.c.id.in_(part)))
    return len(ids)


def _winners(conn: Connection, rows: Sequence[Any]) -> dict[str, str]:
    ids = [row.judgement_id for row in rows if row.judgement_id]
    found = conn.execute(select(judgements.c.subject_id, judgements.c.value).where(judgements.c.id.in_(ids)))
    return {str(row.subject_id): str(row.value["winner"]) for row in found}


def _own(conn: Connection, principal: Principal, battle_id: str) -> Any:
    return require_on(principal, "battle", "battle", row_of(conn, table, battle_id))


def language(text: str) -> str:
    """`zh` where a fifth of the letters are Chinese, `en` where nearly all are Latin, else `other`."""
    letters = re.findall(r"[^\W\d_]", text)
    if not letters:
        return "other"
    han = sum("\u3400" <= letter <= "\u9fff" for letter in letters) / len(letters)
    if han >= 0.2:
        return "zh"
    return "en" if sum(letter < "\u0250" for letter in letters) >= 0.9 * len(letters) else "other"


def view(row: Any, winner: str | None = None) -> Battle:
    voted = row.state == "voted"
    sides = {
        name: None if answer is None else Side(text=answer["text"], finish_reason=answer["finish_reason"])
        for name, answer in (("a", row.answer_a), ("b", row.answer_b))
    }
    return Battle(
        id=row.id,
        state=row.state,
        prompt=row.prompt,
        lang=row.lang,
        winner=winner,
        leaked=row.leaked if voted else None,
        models={"a": row.model_a, "b": row.model_b} if voted else None,
        created_at=iso(row.created_at),
        **sides,
    )
