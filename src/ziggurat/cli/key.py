"""`ziggurat key`: API keys of a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ziggurat.console import err, out

app = typer.Typer(help="Make API keys for `ziggurat serve --keys FILE`.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Make API keys for `ziggurat serve --keys FILE`."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The name of the key's owner.")],
    file: Annotated[Path, typer.Option("--file", help="The file that holds the hashes of the keys.")] = Path(
        "keys.jsonl"
    ),
    requests: Annotated[int, typer.Option("--requests", min=1, help="Requests a minute.")] = 60,
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, help="Tokens a minute, prompts included.")
    ] = 100_000,
    concurrent: Annotated[int, typer.Option("--concurrent", min=1, help="Requests answered at once.")] = 4,
    admin: Annotated[
        bool, typer.Option("--admin", help="The key also allows changing the served models.")
    ] = False,
) -> None:
    """Make a key and print it. Only its hash is stored, so it cannot be shown again.

    \b
    ziggurat key new ana
    ziggurat key new batch --tokens 1000000 --concurrent 32 --file /etc/ziggurat/keys.jsonl
    """
    from ziggurat.service.access.keys import new_key

    limits = {"requests_per_minute": requests, "tokens_per_minute": tokens, "concurrent": concurrent}
    out.out(new_key(file, name, admin=admin, **limits))
    err.print(f"The key is shown only once; {file} holds its hash. Delete its line to revoke the key.")
