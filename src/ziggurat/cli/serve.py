"""`ziggurat serve`: the chat page and the API, until Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ziggurat.cli import options
from ziggurat.console import out


def serve(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=]RUN...", help="Runs, model folders, or a whole ladder."),
    ] = None,
    host: Annotated[
        str,
        typer.Option("--host", help="Address to listen on; other than loopback needs --keys or --expose."),
    ] = ("127.0.0.1"),
    port: options.Port = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="File of API keys; every request must send one of them.")
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            "--upstream",
            metavar="NAME=URL",
            help="Also serve the models of another OpenAI-compatible server.",
        ),
    ] = None,
    batch_invariant: Annotated[
        bool,
        typer.Option(
            "--batch-invariant", help="Results do not depend on the other requests of a batch; slower."
        ),
    ] = False,
    weights: options.Weights = "auto",
    draft: Annotated[
        str | None,
        typer.Option(
            "--draft", metavar="RUN", help="A smaller model of the same tokenizer for speculative decoding."
        ),
    ] = None,
    moderation_patterns: Annotated[
        Path | None, typer.Option("--moderation-patterns", help="YAML file of patterns for /v1/moderations.")
    ] = None,
    moderation_classifier: Annotated[
        Path | None,
        typer.Option("--moderation-classifier", help="Classifier folder of `ziggurat moderation train`."),
    ] = None,
    guard: Annotated[
        str,
        typer.Option(
            "--guard",
            metavar="FILE",
            help="Rules for requests and answers: a YAML file, default (the built-in rules) or off.",
        ),
    ] = "default",
    request_log: Annotated[
        Path | None,
        typer.Option(
            "--request-log", metavar="FILE", help="Append a line of JSON for each request; - is stderr."
        ),
    ] = None,
    expose: Annotated[
        bool, typer.Option("--expose", help="Allow an address that other machines can reach, without keys.")
    ] = False,
    accounts: Annotated[
        bool, typer.Option("--accounts", help="People register and log in at the page; the API needs keys.")
    ] = False,
    oidc: Annotated[
        str | None,
        typer.Option(
            "--oidc",
            metavar="ISSUER",
            help="With --accounts: people may log in at this provider of OpenID Connect.",
        ),
    ] = None,
    oidc_client: Annotated[
        str,
        typer.Option(
            "--oidc-client", metavar="ID", help="This server's id there; its secret is ZIGGURAT_OIDC_SECRET."
        ),
    ] = "ziggurat",
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="PATH|URL",
            help="Where conversations are kept: a file, or postgresql://...; default: $ZIGGURAT_HOME/ziggurat.db.",
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option("--allowed-host", help="Another host name of this server.")
    ] = None,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Serve the chat page and an OpenAI-compatible API on this machine, until Ctrl-C.

    \b
    ziggurat serve town                                # the latest run of each stage, side by side
    ziggurat serve town/pretrain town/sft town/ppo-2 --port 8080 --open
    ziggurat serve models/Qwen3-0.6B
    ziggurat serve chat=town/ppo judge=town/reward     # under names of their own
    ziggurat serve town/ppo --host 0.0.0.0 --keys keys.jsonl    # keys are made by `ziggurat key new`
    """
    from ziggurat.service.server import serve as serve_runs

    def ready(address: str) -> None:
        out.print(f"Chat at {address}  (Ctrl-C ends it)")
        if browser:
            import webbrowser

            webbrowser.open(address)

    serve_runs(
        runs or [],
        host=host,
        port=port,
        expose=expose,
        keys=keys,
        upstreams=upstream or (),
        batch_invariant=batch_invariant,
        weights=weights,
        draft=draft,
        moderation_patterns=moderation_patterns,
        moderation_classifier=moderation_classifier,
        guard=guard,
        request_log=request_log,
        allowed_hosts=allowed_host or (),
        accounts=accounts,
        oidc=(oidc, oidc_client) if oidc is not None else None,
        store=store,
        ready=ready,
    )
