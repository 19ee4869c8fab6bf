"""`ziggurat key`: API keys of a server, in a file or in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ziggurat.cli.store import Address
from ziggurat.console import err, out

HELP = "Make API keys for `ziggurat serve --keys FILE`, and take such a file over into the store."
app = typer.Typer(help=HELP, no_args_is_help=True)


@app.callback()
def group() -> None:
    """Make API keys for `ziggurat serve --keys FILE`, and take such a file over into the store."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the key, for logs.")],
    file: Annotated[Path, typer.Option("--file", help="File of key hashes.")] = Path("keys.jsonl"),
    requests: Annotated[int, typer.Option("--requests", min=1, help="Requests a minute.")] = 60,
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, help="Tokens a minute, prompts included.")
    ] = 100_000,
    concurrent: Annotated[int, typer.Option("--concurrent", min=1, help="Requests answered at once.")] = 4,
    admin: Annotated[bool, typer.Option("--admin", help="The key may also replace models.")] = False,
) -> None:
    """Make a key and print it. The file keeps its hash only, so it cannot be printed again.

    \b
    ziggurat key new ana
    ziggurat key new batch --tokens 1000000 --concurrent 32 --file /etc/ziggurat/keys.jsonl
    """
    from ziggurat.service.access.keys import new_key

    limits = {"requests_per_minute": requests, "tokens_per_minute": tokens, "concurrent": concurrent}
    out.out(new_key(file, name, admin=admin, **limits))
    err.print(f"The key is printed only now; {file} keeps its hash. Delete its line to revoke it.")


@app.command("import")
def take_over(
    file: Annotated[Path, typer.Argument(help="A file of key hashes, made by `ziggurat key new`.")],
    store: Address = None,
) -> None:
    """Take the keys of a file over into the store, for `ziggurat serve --accounts`.

    Their holders go on with the secrets that they have. The keys are the owner's, who can list and revoke them on the
    page. Keys that the store has already are left as they are.

    \b
    ziggurat key import keys.jsonl
    ziggurat key import /etc/ziggurat/keys.jsonl --store postgresql://ziggurat@db/ziggurat
    """
    from ziggurat.product.keys import import_key_file
    from ziggurat.product.people import local_principal
    from ziggurat.store.location import shown
    from ziggurat.store.store import Store

    opened = Store.open(store)
    try:
        new = import_key_file(opened, local_principal(opened), file)
        where = shown(opened.url)
    finally:
        opened.close()
    for key in new:
        out.out(f"{key.id}  {key.name}")
    err.print(f"{len(new):,} new keys are in {where}.")
