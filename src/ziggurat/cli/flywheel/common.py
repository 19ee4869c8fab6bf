"""What the commands of the flywheel share: options, the store, waiting for a job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli.store import _open
from ziggurat.console import err
from ziggurat.errors import RunError
from ziggurat.files import to_json

if TYPE_CHECKING:
    from ziggurat.product.principal import Principal
    from ziggurat.store.store import Store

Channel = Annotated[str, typer.Option("--channel", help="The model name that people see.")]
Note = Annotated[str, typer.Option("--note", help="A remark that is kept.")]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Leave the job to `ziggurat serve` or `flywheel work`.")
]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A setting, NAME=VALUE; may be repeated.")]
Files = Annotated[
    list[Path] | None, typer.Option(help="Files instead of a dataset version; may be repeated.")
]
WAIT_S = 0.5


@contextmanager
def opened(address: str | None) -> Iterator[tuple[Store, Principal]]:
    """The store, and the owner of this installation, in whose name commands act."""
    from ziggurat.product import people

    store = _open(address)
    try:
        yield store, people.local_principal(store)
    finally:
        store.close()


def show(value: Any) -> None:
    typer.echo(to_json(value, indent=2))


def finish(store: Store, principal: Principal, job_id: str) -> None:
    """Work until the job has ended, or wait for whoever works on it. RunError with its sentence where it failed."""
    from ziggurat.flywheel.work import jobs
    from ziggurat.flywheel.work.worker import Worker

    worker, last = Worker(store), ""
    try:
        while True:
            for event in jobs.events(store, job_id, after=last):
                err.print(event.message, soft_wrap=True)
                last = event.id
            job = jobs.get(store, principal.workspace_id, job_id)
            if job.state in jobs.ENDED:
                break
            if not worker.once():
                time.sleep(WAIT_S)
    except KeyboardInterrupt:
        worker.end()
        raise
    if job.state != "done":
        raise RunError(f"the job is {job.state}: {job.last_error or 'somebody asked it to end.'}")


def gate_named(store: Store, principal: Principal, name: str) -> str:
    from ziggurat.flywheel.gate import gates

    return name if name.startswith("gate_") else gates.of_turn(store, principal.workspace_id, name).id
