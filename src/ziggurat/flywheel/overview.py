"""The loop on one screen: feedback -> dataset -> turn -> gate -> release -> what people say about its answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import func, select

from ziggurat.flywheel.dataset import versions
from ziggurat.flywheel.dataset.withdrawal import all_affected
from ziggurat.flywheel.gate import gates
from ziggurat.flywheel.measures import measures
from ziggurat.flywheel.release import channel as channels_
from ziggurat.flywheel.release import online, releases
from ziggurat.flywheel.turn import turns
from ziggurat.flywheel.work import jobs
from ziggurat.product.errors import NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import can, require
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, messages
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.people import people
from ziggurat.store.tables.releases import jobs as job_rows

SHOWN = 12


def overview(store: Store, principal: Principal) -> dict[str, Any]:
    """Everything that the loop page and `ziggurat flywheel status` show."""
    require(principal, "flywheel.read")
    workspace_id = principal.workspace_id
    known = releases.listed(store, workspace_id)
    names = {one.id: one.name for one in known}
    return {
        "feedback": feedback(store, workspace_id),
        "datasets": datasets(store, principal),
        "turns": [turn_json(store, one) for one in turns.listed(store, workspace_id, SHOWN)],
        "gates": [gate_short(one, names) for one in gates.listed(store, workspace_id, SHOWN)],
        "releases": [release_json(store, one, names) for one in known],
        "channels": [channel_json(one, names) for one in channels_.all_channels(store, workspace_id)],
        "history": channels_.history(store, workspace_id, limit=SHOWN),
        "tests": [test_json(one, names) for one in online.listed(store, workspace_id, 5)],
        "measures": measures(store, workspace_id),
        "may": {
            name: can(principal, action)
            for name, action in (("train", "train"), ("sign", "release.sign"), ("promote", "release.promote"))
        },
    }


def feedback(store: Store, workspace_id: str) -> dict[str, Any]:
    """Judgements that count, by kind, and how many people gave them."""
    wanted = (
        select(judgements.c.kind, func.count(), func.count(judgements.c.person_id.distinct()))
        .where(
            judgements.c.workspace_id == workspace_id,
            judgements.c.superseded_by.is_(None),
            judgements.c.withdrawn_at.is_(None),
        )
        .group_by(judgements.c.kind)
    )
    with store.read() as conn:
        rows = conn.execute(wanted.order_by(judgements.c.kind)).all()
    return {"kinds": {row[0]: row[1] for row in rows}, "total": sum(row[1] for row in rows)}


def datasets(store: Store, principal: Principal) -> dict[str, Any]:
    """The versions, and what waits for the next one; only for those who may train."""
    withdrawn = [one.model_dump() for one in all_affected(store, principal)]
    if not can(principal, "train"):
        return {"versions": [], "waiting": None, "withdrawn": withdrawn}
    return versions.status(store, principal) | {"withdrawn": withdrawn}


def turn_json(store: Store, one: turns.Turn) -> dict[str, Any]:
    """A turn with how far its job is."""
    found = asdict(one)
    found["runs"] = [phase["out"] for phase in one.recipe["phases"] if phase.get("out")]
    found["job"] = None
    if one.job_id is not None:
        with store.read() as conn:
            row = conn.execute(select(job_rows).where(job_rows.c.id == one.job_id)).first()
        if row is not None:
            job = jobs.job_of(row)
            found["job"] = {"state": job.state, "progress": job.progress, "last_error": job.last_error}
    return found


def gate_short(one: gates.Gate, names: dict[str, str]) -> dict[str, Any]:
    """A gate without its samples and details."""
    return {
        "id": one.id,
        "turn_id": one.turn_id,
        "candidate": one.candidate,
        "against": names.get(one.against_id or ""),
        "state": one.state,
        "verdict": one.verdict,
        "sentence": one.sentence,
        "error": one.error,
        "signature": one.signature,
        "created_at": one.created_at,
        "finished_at": one.finished_at,
        "criteria": [{"name": c.name, "verdict": c.verdict} for c in one.criteria],
    }


def gate_json(store: Store, one: gates.Gate, workspace_id: str) -> dict[str, Any]:
    """A gate as its page shows it."""
    names = {r.id: r.name for r in releases.listed(store, workspace_id)}
    found = one.to_json() | {"against_name": names.get(one.against_id or "")}
    found["turn"] = None
    if one.turn_id is not None:
        found["turn"] = turns.get(store, workspace_id, one.turn_id).name
    if one.signature is not None:
        found["signature"] = {**one.signature, "name": name_of(store, one.signature["person_id"])}
    made = next((r for r in releases.listed(store, workspace_id) if r.gate_id == one.id), None)
    return found | {"release": None if made is None else made.name}


def release_json(store: Store, one: releases.Release, names: dict[str, str]) -> dict[str, Any]:
    return asdict(one) | {"parent": names.get(one.parent_id or ""), "signer": name_of(store, one.signed_by)}


def channel_json(one: channels_.Channel, names: dict[str, str]) -> dict[str, Any]:
    shown = {"release": one.release_id, "canary": one.canary_id, "previous": one.previous_id}
    return asdict(one) | {key: names.get(value or "") for key, value in shown.items()}


def test_json(one: online.OnlineTest, names: dict[str, str]) -> dict[str, Any]:
    return asdict(one) | {"control": names.get(one.control_id), "treatment": names.get(one.treatment_id)}


def name_of(store: Store, person_id: str | None) -> str | None:
    """A person's name; None where nobody signed, "" where the account is gone."""
    if person_id is None:
        return None
    with store.read() as conn:
        return conn.execute(select(people.c.name).where(people.c.id == person_id)).scalar() or ""


def release_named(store: Store, principal: Principal, message_id: str) -> str | None:
    """The release that wrote one of my answers; None where no release did, or its model is hidden until I choose."""
    wanted = select(messages.c.hashes, messages.c.hidden_model).join(chats, messages.c.chat_id == chats.c.id)
    mine = (messages.c.id == message_id) & (chats.c.person_id == principal.person_id)
    with store.read() as conn:
        row = conn.execute(wanted.where(mine)).first()
    return None if row is None or row.hidden_model else (row.hashes or {}).get("release")


def examples_of(store: Store, principal: Principal, message_id: str) -> list[str]:
    """The judgements whose answers stood before the question of one of my answers."""
    wanted = select(messages.c.hashes).join(chats, messages.c.chat_id == chats.c.id)
    mine = (messages.c.id == message_id) & (chats.c.person_id == principal.person_id)
    with store.read() as conn:
        row = conn.execute(wanted.where(mine)).first()
    return list(((row.hashes if row is not None else None) or {}).get("examples") or ())


def of_answer(store: Store, principal: Principal, message_id: str) -> dict[str, Any]:
    """From one of my answers to the release that wrote it, and what that learned from.

    Raises:
        NotFound: there is no such answer of mine, or no release wrote it.
    """
    name = release_named(store, principal, message_id)
    if name is None:
        raise NotFound("no release wrote this answer, or it is not yours.")
    chain = releases.lineage(store, principal.workspace_id, name)
    return {"release": chain[0].name, "lineage": [one.name for one in chain], "datasets": chain[0].datasets}
