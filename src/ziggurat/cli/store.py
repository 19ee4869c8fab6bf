"""`ziggurat store`: look at the store of the chat product, copy it, verify it, restore it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.console import err, human_count, out, table
from ziggurat.files import to_json
from ziggurat.home import ziggurat_home

if TYPE_CHECKING:
    from ziggurat.store.store import Store

app = typer.Typer(help="Look at the store of the chat, copy it, verify it, restore it.", no_args_is_help=True)

Address = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="postgresql://... or a file; by default $ZIGGURAT_STORE, else $ZIGGURAT_HOME/ziggurat.db.",
    ),
]
SHOWN = ("person", "chat", "message", "judgement", "guard_rule", "audit_event")
"""Tables whose rows `status` counts for people; --json has all."""


def _open(address: str | None) -> Store:
    from ziggurat.store.store import Store

    return Store.open(address)


@app.command()
def status(store: Address = None, as_json: options.AsJson = False) -> None:
    """Where the store is, its schema, its rows, and the head of the audit chain.

    Keep the printed head elsewhere: whoever writes a new chain over the old one cannot have the same.

    \b
    ziggurat store status
    ziggurat store status --store postgresql://ziggurat@db/ziggurat --json
    """
    from ziggurat.store.state import state_of

    opened = _open(store)
    try:
        facts = state_of(opened)
    finally:
        opened.close()
    if as_json:
        typer.echo(to_json(facts, indent=2))
        return
    rows: list[tuple[str, Any]] = [
        ("store", facts["where"]),
        ("kind", facts["kind"]),
        ("schema", facts["schema"]),
    ]
    rows += [("bytes", human_count(facts["bytes"]))]
    rows += [(name, f"{facts['rows'][name]:,} rows") for name in SHOWN]
    rows += [("audit", f"{facts['audit'][0]:,} entries, the last {facts['audit'][1]}")]
    out.print(table(None, ["", ""], rows))


@app.command()
def backup(
    target: Annotated[
        Path | None,
        typer.Argument(help="A folder that does not exist yet; by default one in $ZIGGURAT_HOME/backups."),
    ] = None,
    store: Address = None,
) -> None:
    """Copy the store while it is in use, and write a manifest with hashes.

    \b
    ziggurat store backup
    ziggurat store backup /mnt/backups/monday
    """
    from ziggurat.store.backup import back_up
    from ziggurat.store.clock import iso

    opened = _open(store)
    try:
        stamp = iso(opened.now())[:19].replace(":", "").replace("-", "")
        folder = target or ziggurat_home() / "backups" / stamp
        manifest = back_up(opened, folder)
    finally:
        opened.close()
    size = sum(file["bytes"] for file in manifest["files"].values())
    out.out(str(folder))
    err.print(
        f"{sum(manifest['rows'].values()):,} rows, {human_count(size)} bytes, schema {manifest['schema']}."
    )


@app.command()
def verify(
    folder: Annotated[Path | None, typer.Argument(help="A backup; without it the store itself.")] = None,
    store: Address = None,
) -> None:
    """Check a backup, or the store itself: hashes, the database's own check, foreign keys, the audit chain.

    \b
    ziggurat store verify
    ziggurat store verify /mnt/backups/monday
    """
    from ziggurat.store import backup as backups
    from ziggurat.store.state import verify_store

    if folder is not None:
        manifest = backups.verify(folder)
        out.out(f"{folder} is whole: {sum(manifest['rows'].values()):,} rows of {manifest['made_at']}.")
        return
    opened = _open(store)
    try:
        where = verify_store(opened)
    finally:
        opened.close()
    out.out(f"{where} is whole.")


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="A backup of `ziggurat store backup`.")],
    store: Address = None,
) -> None:
    """Read a backup into an empty store; a backup of SQLite into PostgreSQL too, and the other way round.

    \b
    ziggurat store restore /mnt/backups/monday --store /srv/ziggurat/ziggurat.db
    ziggurat store restore /mnt/backups/monday --store postgresql://ziggurat@db/ziggurat
    """
    from ziggurat.store import backup as backups
    from ziggurat.store.location import shown

    opened = _open(store)
    try:
        manifest = backups.restore(folder, opened)
        where = shown(opened.url)
    finally:
        opened.close()
    out.out(f"{where} holds the {sum(manifest['rows'].values()):,} rows of {manifest['made_at']}.")
