"""A turn: from a dataset version to a candidate, by a recipe, as a job that survives a kill.

    turn = start(store, principal, dataset="feedback/v3", budget_s=900)
    Worker(store).once()                       # phases one after the other, each in a process of its own

A turn starts from the model of the release that serves (or from a named model), learns by the method that the data
allow (`methods.py`), and ends with a candidate: a folder with a whole model, which a gate judges. Its files are in
`runs/flywheel/<turn>/`, its runs beside them (`runs/flywheel/dpo-3`). Every phase resumes to the same bytes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ziggurat.files import sampled_sha256
from ziggurat.flywheel.turn import materials
from ziggurat.flywheel.turn.methods import choose, phases_of
from ziggurat.flywheel.work import jobs
from ziggurat.home import located, portable
from ziggurat.places import find_run, model_folder, run_around, runs_home
from ziggurat.product.common import clean_name, record
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.settings import flatten
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.releases import channels, releases, turns

LADDER = "flywheel"
FORMAT = 1
CANARIES = 4
TRAINABLE = re.compile(r"all|head|lora|last:[1-9]\d*")


@dataclass(frozen=True)
class Turn:
    id: str
    name: str
    state: str
    dataset_id: str | None
    dataset: str
    parent_id: str | None
    base: str
    recipe: dict[str, Any]
    job_id: str | None
    candidate: str | None
    weights: str | None
    error: str | None
    started_by: str | None
    created_at: str
    finished_at: str | None

    @property
    def folder(self) -> Path:
        return folder_of(self.name)


def folder_of(name: str) -> Path:
    return runs_home() / LADDER / name


def start(
    store: Store,
    principal: Principal,
    *,
    dataset: str | None = None,
    files: Mapping[str, Sequence[str | Path]] | None = None,
    held_out: Mapping[str, Sequence[str | Path]] | None = None,
    base: str | None = None,
    channel: str = "assistant",
    name: str | None = None,
    method: str | None = None,
    trainable: str = "lora",
    budget_s: float | None = None,
    seed: int = 0,
    canaries: int = CANARIES,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Turn:
    """Choose the method, plan the phases, and put the job into the queue.

    dataset: a version (NAME/vN, NAME, an id; None: the newest). files: instead of it, files by kind.
    base: the model to start from; None: that of the release which serves on `channel`. settings: by stage.

    Raises:
        UsageError, Invalid: too little to learn from, an unknown method, no model to start from.
        NotFound: there is no such dataset version.
    """
    require(principal, "train")
    if not TRAINABLE.fullmatch(trainable):
        raise Invalid(f"trainable is {trainable!r}; it must be lora, all, head or last:K.", param="trainable")
    with store.read() as conn:
        source = (
            materials.of_files(files, held_out or {})
            if files
            else materials.of_version(conn, principal.workspace_id, dataset)
        )
        parent = None if base else serving(conn, principal.workspace_id, channel)
    if base is None and parent is None:
        raise Invalid(
            f"no release serves on {channel} yet; name the model to start from (--base), or make a first release "
            "with `ziggurat flywheel promote --from MODEL`.",
            param="base",
        )
    model = portable(find_run(str(base))) if parent is None else str(parent.model)
    model_folder(located(model))
    counts = materials.counts(store, source)
    chosen, rule = choose(counts, method)
    foreign = run_around(located(model)) is None
    planned = phases_of(
        chosen,
        counts,
        trainable=trainable,
        foreign=foreign,
        seed=seed,
        settings={stage: flatten(one) for stage, one in (settings or {}).items()},
    )
    with store.write() as conn:
        name = _free_name(conn, principal.workspace_id, name)
        recipe = {
            "method": chosen,
            "rule": rule,
            "counts": counts,
            "trainable": trainable,
            "budget_s": budget_s,
            "seed": seed,
            "canaries": canaries,
            "source": source.to_json(),
            "phases": [phase.to_json() for phase in planned],
        }
        turn_id = new_id("turn")
        job_id = jobs.add(conn, store, principal, "turn", {"turn_id": turn_id})
        row = {
            "id": turn_id,
            "workspace_id": principal.workspace_id,
            "name": name,
            "job_id": job_id,
            "dataset_id": source.version_id,
            "dataset": source.name,
            "parent_id": None if parent is None else parent.id,
            "base": model,
            "recipe": recipe,
            "state": "queued",
            "started_by": principal.person_id,
            "created_at": store.now(),
        }
        conn.execute(insert(turns).values(**row))
        detail = {"name": name, "method": chosen, "dataset": source.version_id}
        record(conn, store, principal, "turn.start", kind="turn", object_id=turn_id, detail=detail)
    return get(store, principal.workspace_id, turn_id)


def serving(conn: Connection, workspace_id: str, channel: str) -> Any:
    wanted = select(releases).join(channels, channels.c.release_id == releases.c.id)
    return conn.execute(
        wanted.where(channels.c.workspace_id == workspace_id, channels.c.name == channel)
    ).first()


def _free_name(conn: Connection, workspace_id: str, given: str | None) -> str:
    """The given name, or turn-N. Raises Conflict where it is taken, Invalid where it can name no folder."""
    taken = set(conn.execute(select(turns.c.name).where(turns.c.workspace_id == workspace_id)).scalars())
    if given is None:
        number = len(taken) + 1
        while f"turn-{number}" in taken or folder_of(f"turn-{number}").exists():
            number += 1
        return f"turn-{number}"
    name = clean_name(given)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,79}", name):
        raise Invalid(
            f"the name {name!r} cannot name a folder; use letters, digits, '.', '-' and '_'.", param="name"
        )
    if name in taken:
        raise Conflict(f"there is a turn called {name} already; give this one another name.")
    return name


def get(store: Store, workspace_id: str, name_or_id: str) -> Turn:
    """By its id or name. Raises NotFound."""
    wanted = select(turns).where(turns.c.workspace_id == workspace_id)
    with store.read() as conn:
        row = conn.execute(wanted.where((turns.c.id == name_or_id) | (turns.c.name == name_or_id))).first()
    if row is None:
        raise NotFound(f"there is no turn {name_or_id[:80]}.")
    return turn_of(row)


def of_weights(store: Store, workspace_id: str, weights: str) -> Turn | None:
    """The newest turn of the workspace whose candidate has these weights and whose files are still there."""
    wanted = select(turns).where(turns.c.workspace_id == workspace_id, turns.c.weights == weights)
    with store.read() as conn:
        found = [turn_of(row) for row in conn.execute(wanted.order_by(turns.c.id.desc()))]
    return next((one for one in found if (one.folder / "canaries.json").is_file()), None)


def listed(store: Store, workspace_id: str, limit: int = 50) -> list[Turn]:
    """Newest first."""
    wanted = select(turns).where(turns.c.workspace_id == workspace_id).order_by(turns.c.id.desc())
    with store.read() as conn:
        return [turn_of(row) for row in conn.execute(wanted.limit(limit))]


def turn_of(row: Any) -> Turn:
    return Turn(
        id=row.id,
        name=row.name,
        state=row.state,
        dataset_id=row.dataset_id,
        dataset=row.dataset,
        parent_id=row.parent_id,
        base=row.base,
        recipe=dict(row.recipe),
        job_id=row.job_id,
        candidate=row.candidate,
        weights=row.weights,
        error=row.error,
        started_by=row.started_by,
        created_at=iso(row.created_at),
        finished_at=iso_or_none(row.finished_at),
    )


def cancel(store: Store, principal: Principal, name_or_id: str) -> Turn:
    """Stop a turn; its runs keep what they saved, and `resume` goes on with them."""
    require(principal, "train")
    turn = get(store, principal.workspace_id, name_or_id)
    if turn.job_id is None:
        raise Conflict(f"{turn.name} has no job.")
    if jobs.cancel(store, principal, turn.job_id).state == "cancelled":  # it had not begun
        change(store, turn.id, state="cancelled", finished_at=store.now())
        clean(turn)  # of the worker that left it in the queue
    return get(store, principal.workspace_id, turn.id)


def resume(store: Store, principal: Principal, name_or_id: str) -> Turn:
    """Go on with a turn that failed or was cancelled, from where it stopped."""
    require(principal, "train")
    turn = get(store, principal.workspace_id, name_or_id)
    if turn.job_id is None:
        raise Conflict(f"{turn.name} has no job.")
    with store.write() as conn:  # both at once: a worker may take the job as soon as it waits
        jobs.put_back(conn, store, principal, turn.job_id)
        values = {"state": "queued", "error": None, "finished_at": None}
        conn.execute(update(turns).where(turns.c.id == turn.id).values(**values))
    return get(store, principal.workspace_id, turn.id)


def clean(turn: Turn) -> None:
    """What people wrote stays in the store alone; a turn that goes on lays the same files out again."""
    if turn.dataset_id is not None:
        shutil.rmtree(turn.folder / "data", ignore_errors=True)


def change(store: Store, turn_id: str, **values: Any) -> None:
    with store.write() as conn:
        conn.execute(update(turns).where(turns.c.id == turn_id).values(**values))


def weights_of(model: str | Path) -> str:
    """The hash by which a model is known: of its weights' files."""
    folder = model_folder(model)
    return sampled_sha256(sorted(folder.glob("*.safetensors")))


def as_json(turn: Turn) -> dict[str, Any]:
    return asdict(turn)
