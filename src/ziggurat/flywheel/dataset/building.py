"""Freeze what people judged into a dataset version (PRODUCT 4.4): the rules, the rows, the files, the card.

    judgements -> may be used? -> records -> filters -> worth of labels -> caps -> split -> rows and files, frozen

The same store gives the same bytes. A version's rows are committed after its folder is in place, in one transaction:
killed before, there is no version, and the next build writes the folder anew.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update

from ziggurat.errors import did_you_mean
from ziggurat.flywheel.dataset import filters, reading, splitting
from ziggurat.flywheel.dataset.card import agreement, make_card
from ziggurat.flywheel.dataset.exams import open_exams
from ziggurat.flywheel.dataset.moderation import builtin_flags
from ziggurat.flywheel.dataset.objects import BuildSettings, DatasetVersion
from ziggurat.flywheel.dataset.permission import Permission
from ziggurat.flywheel.dataset.pseudonyms import Pseudonyms, pseudonyms
from ziggurat.flywheel.dataset.samples import Sample, Taken
from ziggurat.flywheel.dataset.version_files import folder_of, hash_of, measure, put
from ziggurat.flywheel.dataset.versions import view
from ziggurat.flywheel.worth.assessment import Assessment, assess
from ziggurat.flywheel.worth.gold import gold_answers
from ziggurat.flywheel.worth.reliability import PRIOR
from ziggurat.product.common import record
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.datasets import dataset_items, dataset_versions, datasets

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
TRIES = 3
BATCH = 500
Flags = Callable[[list[str]], list[bool]]


def build(
    store: Store,
    principal: Principal,
    name: str = "feedback",
    *,
    settings: BuildSettings | Mapping[str, Any] | None = None,
    moderation: Flags | None = None,
) -> DatasetVersion:
    """Freeze the next version of a data set; where nothing changed, the newest one is returned, `unchanged`.

    `moderation` says of texts that end users wrote whether they are flagged; default: the guard's built-in rules.

    Raises:
        Forbidden: the principal may not train.
        Invalid: the name is not one.
        UsageError: an exam cannot be read.
        Conflict: there is nothing to learn from (code nothing_to_learn).
    """
    require(principal, "train")
    settings = settings if isinstance(settings, BuildSettings) else checked(settings)
    if not NAME.fullmatch(name):
        raise Invalid(
            f"the name {name!r} must be 1 to 64 small letters, digits, dots, hyphens and underscores.",
            param="name",
        )
    for _ in range(TRIES):
        taken, assessment = select_samples(store, principal.workspace_id, settings, moderation)
        if not any(one.split == "train" for one in taken.samples):
            raise Conflict(_nothing(taken), code="nothing_to_learn")
        with store.write() as conn:
            if _still_allowed(conn, principal.workspace_id, taken.samples):
                return _freeze(conn, store, principal, name, settings, taken, assessment)
    raise Conflict(
        "judgements are being withdrawn right now; build again in a moment.", code="changed_meanwhile"
    )


def checked(settings: Mapping[str, Any] | None) -> BuildSettings:
    """Settings of a build.

    Raises:
        Invalid: an unknown one, or a value that is not allowed.
    """
    try:
        return BuildSettings.model_validate(dict(settings or {}))
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        hint = did_you_mean(name, BuildSettings.model_fields) if problem["type"] == "extra_forbidden" else ""
        raise Invalid(f"the setting {name} is not allowed: {problem['msg']}.{hint}", param=name) from None


def select_samples(
    store: Store, workspace_id: str, settings: BuildSettings, moderation: Flags | None = None
) -> tuple[Taken, Assessment]:
    """Everything that a version would hold and leave out, and what is known about people."""
    with store.write() as conn:
        names = pseudonyms(conn, store)
    with store.read() as conn:
        taken = reading.read(conn, workspace_id, settings.metrics)
        gold = {names.of(person): counts for person, counts in gold_answers(conn, workspace_id).items()}
    return _filtered(taken, names, gold, settings, moderation)


def _filtered(
    taken: Taken,
    names: Pseudonyms,
    gold: Mapping[str, tuple[float, float]],
    settings: BuildSettings,
    moderation: Flags | None,
) -> tuple[Taken, Assessment]:
    taken.samples = [one.with_(person=names.of(one.person_id)) for one in taken.samples]
    taken.left_out = [one._replace(person_id=names.of(one.person_id)) for one in taken.left_out]
    taken.agreement = agreement(taken.samples)
    assessment = assess(taken.samples, gold)
    if settings.weights:
        taken.samples = [
            one.with_(probability=assessment.right[number]) if number in assessment.right else one
            for number, one in enumerate(taken.samples)
        ]
        filters.without_people(taken, assessment.quarantined)
        taken.keep_if("unreliable", lambda one: one.probability is None or one.probability > 0.5)
        taken.samples = [_weighted(one, assessment) for one in taken.samples]
    filters.without_moderated(taken, moderation or builtin_flags())
    if settings.private_data == "leave_out":
        filters.without_private_data(taken)
    filters.without_exams(taken, open_exams(settings.exams))
    filters.without_duplicates(taken)
    filters.without_near_duplicates(taken)
    filters.within_person_cap(taken, settings.person_cap)
    filters.within_topic_cap(taken, settings.topic_cap)
    splitting.split(taken, people=settings.held_out_people, time=settings.held_out_time)
    return taken, assessment


def _weighted(one: Sample, assessment: Assessment) -> Sample:
    """2 p - 1 times what its kind weighs. A demonstration has no label that can be right: it counts in full if its
    author is as reliable as somebody about whom nothing is known, and less if the author is less reliable."""
    if one.kind == "demonstration":
        author, usual = assessment.people.get(one.person), PRIOR[0] / sum(PRIOR)
        share = 1.0 if author is None else (2.0 * author.reliability - 1.0) / (2.0 * usual - 1.0)
        share = min(1.0, max(0.0, share))
    elif one.probability is None:
        return one
    else:
        share = 2.0 * one.probability - 1.0
    return one.with_(weight=round(one.weight * share, 4) or 1e-4)


def _nothing(taken: Taken) -> str:
    reasons = Counter(one.reason for one in taken.left_out)
    if not reasons:
        return "nobody has judged anything yet; collect thumbs, rankings or reviews first."
    most = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(3))
    return f"no judgement may be learned from; left out: {most}. People agree in their settings, chats by their switch."


def _still_allowed(conn: Connection, workspace_id: str, samples: Sequence[Sample]) -> bool:
    """Whether nothing was withdrawn while the version was computed."""
    rows = reading.current(conn, workspace_id)
    permission = Permission.of(conn, rows)
    allowed = {row.id for row in rows if permission.reason_against(row) is None}
    return all(one.judgement_id in allowed for one in samples)


def content_of(one: Sample) -> dict[str, Any]:
    """The record as it is written: with pseudonym, source and weight."""
    found = dict(one.record)
    found["source"] = f"flywheel/{one.source}"
    if one.kind != "prompt":
        found["labeller"] = one.person
    if one.kind != "prompt" and one.weight != 1.0:
        found["weight"] = one.weight
    if one.kind == "prompt":
        found.pop("source")
    return found


def _freeze(
    conn: Connection,
    store: Store,
    principal: Principal,
    name: str,
    settings: BuildSettings,
    taken: Taken,
    assessment: Assessment,
) -> DatasetVersion:
    items = [
        {
            "kind": one.kind,
            "split": one.split,
            "content": content_of(one),
            "content_hash": filters.content_hash(one),
            "judgement_id": one.judgement_id,
            "source": one.source,
            "weak": one.weak,
            "weight": one.weight,
            "probability": one.probability,
            "person": one.person,
            "consent_id": one.consent_id,
            "basis": one.basis,
            "model": one.model,
            "lang": one.lang,
            "topic": one.topic,
            "judged_at": one.judged_at,
            "position": position,
        }
        for position, one in enumerate(taken.samples)
    ]
    dataset_id = _dataset(conn, store, principal, name)
    parent = _newest(conn, dataset_id)
    files = measure(items)
    sha256 = hash_of(files)
    if parent is not None and parent.sha256 == sha256:
        return view(conn, parent, unchanged=True)
    n = 1 if parent is None else parent.n + 1
    card = make_card(name, n, sha256, files, settings, taken, assessment, before=_hashes(conn, parent))
    version_id = new_id("dsv")
    row = {
        "id": version_id,
        "workspace_id": principal.workspace_id,
        "dataset_id": dataset_id,
        "n": n,
        "parent_id": parent.id if parent is not None else None,
        "sha256": sha256,
        "card": card,
        "settings": settings.model_dump(mode="json"),
        "made_by": principal.person_id,
        "created_at": store.now(),
    }
    conn.execute(insert(dataset_versions).values(row))
    for at in range(0, len(items), BATCH):
        conn.execute(
            insert(dataset_items), [{"version_id": version_id, **one} for one in items[at : at + BATCH]]
        )
    frozen = update(dataset_versions).where(dataset_versions.c.id == version_id)
    conn.execute(frozen.values(frozen_at=store.now()))
    detail = {"version": f"{name}/v{n}", "records": len(items)}
    record(
        conn, store, principal, "dataset.build", kind="dataset_version", object_id=version_id, detail=detail
    )
    put(folder_of(name, n), items, card)
    return view(conn, conn.execute(select(dataset_versions).where(dataset_versions.c.id == version_id)).one())


def _dataset(conn: Connection, store: Store, principal: Principal, name: str) -> str:
    row = conn.execute(select(datasets).where(datasets.c.name == name)).first()
    if row is None:
        dataset_id = new_id("ds")
        values = {"id": dataset_id, "workspace_id": principal.workspace_id, "name": name}
        conn.execute(insert(datasets).values(**values, created_at=store.now()))
        return dataset_id
    if row.workspace_id != principal.workspace_id:
        raise Conflict(f"another workspace has a data set {name}; take another name.", code="name_taken")
    return str(row.id)


def _newest(conn: Connection, dataset_id: str) -> Any:
    wanted = select(dataset_versions).where(dataset_versions.c.dataset_id == dataset_id)
    return conn.execute(wanted.order_by(dataset_versions.c.n.desc()).limit(1)).first()


def _hashes(conn: Connection, version: Any) -> set[str] | None:
    if version is None:
        return None
    wanted = select(dataset_items.c.content_hash).where(dataset_items.c.version_id == version.id)
    return set(conn.execute(wanted).scalars())
