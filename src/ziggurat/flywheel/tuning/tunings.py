"""Fine-tuning jobs as OpenAI's client starts them: a file that was uploaded, a real stage, a model that is served.

    create          checks everything that can be checked at once, and adds a job of the kind `fine_tune`
    job.work        the handler: writes the records, runs `tuning.run` in a child process, names the model
    served.models   what has succeeded, for the server to serve

A worker that dies leaves a run with checkpoints; the next one goes on with it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from sqlalchemy import Connection, insert, select, update

from ziggurat.errors import ConfigError
from ziggurat.flywheel.tuning.settings import AUTO, settings_of
from ziggurat.flywheel.work import jobs
from ziggurat.places import runs_home
from ziggurat.product.common import clean_json, clean_name, record, row_of, whole
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.objects import Thing
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.product.training_files import Method
from ziggurat.stages.stage import declared
from ziggurat.store.clock import SECOND
from ziggurat.store.ids import uuid7_hex
from ziggurat.store.store import Store
from ziggurat.store.tables.programs import tunings as table
from ziggurat.store.tables.programs import uploads as files
from ziggurat.store.tables.releases import jobs as job_rows

KIND, LADDER = "fine_tune", "fine-tuned"
METHODS: dict[str, str] = {"supervised": "sft", "dpo": "dpo"}
"""OpenAI's method -> our stage."""
OPEN = ("validating_files", "queued", "running")
PAUSED = "paused"
NUMBERS = ("batch_size", "learning_rate_multiplier", "n_epochs", "beta")
MAX_EXTRA = 64


class Tuning(Thing):
    """OpenAI's fine-tuning job object."""

    id: str
    object: str = "fine_tuning.job"
    created_at: int
    error: dict[str, Any] | None
    fine_tuned_model: str | None
    finished_at: int | None
    hyperparameters: dict[str, Any]
    model: str
    organization_id: str
    result_files: list[str]
    status: Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
    trained_tokens: int | None
    training_file: str
    validation_file: str | None
    seed: int
    estimated_finish: int | None
    method: dict[str, Any]
    metadata: dict[str, str]
    suffix: str | None
    integrations: list[Any]
    run: str | None
    """The run's name; every other page and command knows it by that."""


def create(
    store: Store,
    principal: Principal,
    *,
    model: str,
    base: str,
    training_file: str,
    validation_file: str | None = None,
    method: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    suffix: str | None = None,
    seed: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Tuning:
    """A new job. `model`: the served name, `base`: the run or the folder behind it. `method` None: the file says it.

    Raises:
        Invalid: a file has bad lines or is for another method, or a setting is not allowed.
        NotFound: there is no such file.
    """
    require(principal, "train")
    if method == "reinforcement":
        raise Invalid(
            "fine-tuning jobs train by supervised and dpo; for a reward of your own run `ziggurat grpo` with "
            "--set reward_function=FILE:FUNCTION on this machine.",
            param="method.type",
        )
    if method is not None and method not in METHODS:
        raise Invalid(f"method is {method!r}; it must be one of {', '.join(METHODS)}.", param="method.type")
    settings = _hyperparameters(dict(hyperparameters or {}))
    if suffix is not None:
        suffix = clean_name(suffix, "suffix")
        if not re.fullmatch(r"[\w.-]{1,64}", suffix):
            raise Invalid("suffix may have up to 64 letters, digits, _, . and -.", param="suffix")
    seed = int.from_bytes(os.urandom(4)) % 2**31 if seed is None else whole(seed, "seed", 0, 2**31 - 1)
    tuning_id = f"ftjob-{uuid7_hex()}"
    with store.read() as conn:
        method = _method(conn, principal, method, training_file, validation_file)
    _check_settings(method, base, seed, settings)
    with store.write() as conn:
        _method(conn, principal, method, training_file, validation_file)  # they may be gone by now
        payload = {"tuning_id": tuning_id, "base": base}
        row = {
            "id": tuning_id,
            "workspace_id": principal.workspace_id,
            "person_id": principal.person_id,
            "model": model,
            "method": method,
            "hyperparameters": settings,
            "training_file": training_file,
            "validation_file": validation_file,
            "suffix": suffix,
            "seed": seed,
            "metadata": clean_json(dict(metadata or {})),
            "status": "queued",
            "job_id": jobs.add(conn, store, principal, KIND, payload),
            "created_at": store.now(),
        }
        conn.execute(insert(table).values(row))
        detail = {"model": model, "method": method}
        record(conn, store, principal, "tuning.create", kind="tuning_job", object_id=tuning_id, detail=detail)
        return _view(conn, row_of(conn, table, tuning_id))


def _method(
    conn: Connection,
    principal: Principal,
    wanted: str | None,
    training_file: str,
    validation_file: str | None,
) -> str:
    """The method that the files are for, and that is wanted."""
    method = wanted or _trainable(conn, principal, training_file, "training_file")
    for name, file_id in (("training_file", training_file), ("validation_file", validation_file)):
        kind = None if file_id is None else _trainable(conn, principal, file_id, name)
        if kind is not None and kind != method:
            raise Invalid(f"{name} is a file for {kind} training, not for {method}.", param=name)
    return method


def _trainable(conn: Connection, principal: Principal, file_id: str, param: str) -> Method:
    """What a file trains."""
    row = require_on(principal, "train", "file", row_of(conn, files, file_id))
    report = row.report or {}
    if row.purpose != "fine-tune" or not report:
        raise Invalid(f"{file_id} was not uploaded with the purpose fine-tune.", param=param)
    if bad := report["errors"]:
        raise Invalid(
            f"{file_id} has {report['bad_lines']:,} bad lines, the first is line {bad[0]['line']}: {bad[0]['reason']}; "
            "the file's report names them.",
            param=param,
            code="invalid_training_file",
        )
    return cast("Method", report["method"])


def _hyperparameters(given: dict[str, Any]) -> dict[str, Any]:
    """`auto` or a number for OpenAI's names; anything else is a setting of the stage."""
    if len(given) > MAX_EXTRA:
        raise Invalid(f"at most {MAX_EXTRA} hyperparameters are read.", param="hyperparameters")
    for name in NUMBERS:
        value = given.get(name, AUTO)
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 10**6
        if value != AUTO and not number:
            raise Invalid(
                f"{name} is {value!r}; it must be auto or a number above 0.", param=f"hyperparameters.{name}"
            )
    known = {name: given.get(name, AUTO) for name in NUMBERS if name != "beta" or name in given}
    return known | {str(name): clean_json(value) for name, value in given.items() if name not in NUMBERS}


def _check_settings(method: str, base: str, seed: int, settings: Mapping[str, Any]) -> None:
    """
    Raises:
        Invalid: there is no such setting, or its value is not allowed.
    """
    try:
        settings_of(declared()[METHODS[method]], base, seed, settings)
    except ConfigError as error:
        raise Invalid(str(error), param="hyperparameters") from None


def get(store: Store, principal: Principal, tuning_id: str) -> Tuning:
    with store.read() as conn:
        return _view(conn, tuning_row(conn, principal, tuning_id))


def listed(
    store: Store, principal: Principal, *, after: str | None = None, limit: int = 20
) -> tuple[list[Tuning], bool]:
    """Newest first, and whether there are more."""
    require(principal, "train")
    whole(limit, "limit", 1, 100)
    wanted = select(table).where(table.c.workspace_id == principal.workspace_id)
    if after is not None:
        wanted = wanted.where(table.c.id < after)
    with store.read() as conn:
        rows = conn.execute(wanted.order_by(table.c.id.desc()).limit(limit + 1)).all()
        return [_view(conn, row) for row in rows[:limit]], len(rows) > limit


def cancel(store: Store, principal: Principal, tuning_id: str) -> Tuning:
    """End a job; what it has trained stays.

    Raises:
        Conflict: the job has ended.
    """
    row = _leave(store, principal, tuning_id, (*OPEN, PAUSED), status="cancelled", finished_at=store.now())
    cancelled = jobs.cancel if row.status != PAUSED else _job
    if cancelled(store, principal, row.job_id).state in jobs.ENDED:  # else whoever works on it removes them
        shutil.rmtree(data_of(tuning_id), ignore_errors=True)
    return get(store, principal, tuning_id)


def pause(store: Store, principal: Principal, tuning_id: str) -> Tuning:
    """Let a job save its state and wait for `resume`.

    Raises:
        Conflict: the job has ended or waits already.
    """
    row = _leave(store, principal, tuning_id, OPEN, status=PAUSED)
    jobs.cancel(store, principal, row.job_id)
    return get(store, principal, tuning_id)


def resume(store: Store, principal: Principal, tuning_id: str) -> Tuning:
    """Go on with a job that was paused, to the same bytes.

    Raises:
        Conflict: it was not paused, or its process is still saving.
    """
    with store.read() as conn:
        row = tuning_row(conn, principal, tuning_id)
    if row.status != PAUSED:
        raise Conflict(f"this job is {row.status}; only a paused one can be resumed.", code="ended")
    with store.write() as conn:  # both at once: a worker may take the job as soon as it waits
        jobs.put_back(conn, store, principal, row.job_id)
        conn.execute(update(table).where(table.c.id == tuning_id).values(status="queued"))
    return get(store, principal, tuning_id)


def run_of(tuning_id: str) -> str:
    """The name of a job's run."""
    return f"{LADDER}/{tuning_id.partition('-')[2][-12:]}"


def data_of(tuning_id: str) -> Path:
    """Where the records of its files stand while it trains."""
    path = runs_home() / run_of(tuning_id)
    return path.with_name(f".{path.name}.data")


def _job(store: Store, principal: Principal, job_id: str) -> jobs.Job:
    return jobs.get(store, principal.workspace_id, job_id)


def _leave(store: Store, principal: Principal, tuning_id: str, of: Sequence[str], **changes: Any) -> Any:
    """Change a job that has one of these states; returns its row as it was."""
    with store.write() as conn:
        row = tuning_row(conn, principal, tuning_id)
        if (status := _view(conn, row).status) not in of:
            raise Conflict(f"this job is {status} already.", code="ended")
        conn.execute(update(table).where(table.c.id == tuning_id).values(changes))
        return row


def tuning_row(conn: Connection, principal: Principal, tuning_id: str) -> Any:
    return require_on(principal, "train", "fine-tuning job", row_of(conn, table, tuning_id))


def results_id(tuning_id: str) -> str:
    """The file of a job's metrics."""
    return f"file-{tuning_id.partition('-')[2]}"


def _results(conn: Connection, row: Any) -> list[str]:
    wanted = select(files.c.id).where(files.c.id == results_id(row.id))
    return list(conn.execute(wanted).scalars())


def _view(conn: Connection, row: Any) -> Tuning:
    status, error = row.status, row.error
    if row.job_id is not None and status in OPEN:
        state = conn.execute(
            select(job_rows.c.state, job_rows.c.last_error).where(job_rows.c.id == row.job_id)
        ).first()
        if state is not None and state.state == "failed":
            status, error = "failed", {"code": "failed", "message": state.last_error, "param": None}
        elif state is not None and state.state == "cancelled":
            status = "cancelled"
    shown = dict(row.hyperparameters)
    return Tuning(
        id=row.id,
        created_at=row.created_at // SECOND,
        error=error,
        fine_tuned_model=row.fine_tuned_model,
        finished_at=None if row.finished_at is None else row.finished_at // SECOND,
        hyperparameters=shown,
        model=row.model,
        organization_id=row.workspace_id,
        result_files=_results(conn, row),
        status=status,
        trained_tokens=row.trained_tokens,
        training_file=row.training_file,
        validation_file=row.validation_file,
        seed=row.seed,
        estimated_finish=None,
        method={"type": row.method, row.method: {"hyperparameters": shown}},
        metadata=row.metadata,
        suffix=row.suffix,
        integrations=[],
        run=row.run,
    )
