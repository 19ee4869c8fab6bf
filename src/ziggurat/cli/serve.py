"""`ziggurat serve`: the chat page and the API, until Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ziggurat.cli import options
from ziggurat.service.options import ServeOptions

Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME=]RUN...", help="Runs, model folders, or a whole ladder."),
]
Host = Annotated[
    str,
    typer.Option("--host", help="Address to listen on; other than loopback needs --keys or --expose."),
]
Keys = Annotated[
    Path | None, typer.Option("--keys", help="File of API keys; every request must send one of them.")
]
Upstream = Annotated[
    list[str] | None,
    typer.Option(
        "--upstream",
        metavar="NAME=URL",
        help="Also serve the models of another OpenAI-compatible server.",
    ),
]
BatchInvariant = Annotated[
    bool,
    typer.Option("--batch-invariant", help="Results do not depend on the other requests of a batch; slower."),
]
Draft = Annotated[
    str | None,
    typer.Option(
        "--draft", metavar="RUN", help="A smaller model of the same tokenizer for speculative decoding."
    ),
]
ModerationPatterns = Annotated[
    Path | None, typer.Option("--moderation-patterns", help="YAML file of patterns for /v1/moderations.")
]
ModerationClassifier = Annotated[
    Path | None,
    typer.Option("--moderation-classifier", help="Classifier folder of `ziggurat moderation train`."),
]
Guard = Annotated[
    str,
    typer.Option(
        "--guard",
        metavar="FILE",
        help="Rules for requests and answers: a YAML file, default (the built-in rules) or off.",
    ),
]
RequestLog = Annotated[
    Path | None,
    typer.Option(
        "--request-log", metavar="FILE", help="Append a line of JSON for each request; - is stderr."
    ),
]
Expose = Annotated[
    bool, typer.Option("--expose", help="Allow an address that other machines can reach, without keys.")
]
Accounts = Annotated[
    bool, typer.Option("--accounts", help="People register and log in at the page; the API needs keys.")
]
Oidc = Annotated[
    str | None,
    typer.Option(
        "--oidc",
        metavar="ISSUER",
        help="With --accounts: people may log in at this provider of OpenID Connect.",
    ),
]
OidcClient = Annotated[
    str,
    typer.Option(
        "--oidc-client", metavar="ID", help="This server's id there; its secret is ZIGGURAT_OIDC_SECRET."
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="PATH|URL",
        help="Where conversations are kept: a file, or postgresql://...; default: $ZIGGURAT_HOME/ziggurat.db.",
    ),
]
AllowedHost = Annotated[
    list[str] | None, typer.Option("--allowed-host", help="Another host name of this server.")
]
Browser = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


def serve(
    runs: Runs = None,
    host: Host = ServeOptions.host,
    port: options.Port = None,
    keys: Keys = None,
    upstream: Upstream = None,
    batch_invariant: BatchInvariant = False,
    weights: options.Weights = ServeOptions.weights,
    draft: Draft = None,
    moderation_patterns: ModerationPatterns = None,
    moderation_classifier: ModerationClassifier = None,
    guard: Guard = ServeOptions.guard,
    request_log: RequestLog = None,
    expose: Expose = False,
    accounts: Accounts = False,
    oidc: Oidc = None,
    oidc_client: OidcClient = ServeOptions.oidc_client,
    store: Store = None,
    allowed_host: AllowedHost = None,
    browser: Browser = False,
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

    serve_runs(
        ServeOptions(
            runs=runs or (),
            upstreams=upstream or (),
            host=host,
            port=port,
            allowed_hosts=allowed_host or (),
            expose=expose,
            open_browser=browser,
            keys=keys,
            accounts=accounts,
            oidc=oidc,
            oidc_client=oidc_client,
            store=store,
            request_log=request_log,
            guard=guard,
            moderation_patterns=moderation_patterns,
            moderation_classifier=moderation_classifier,
            batch_invariant=batch_invariant,
            weights=weights,
            draft=draft,
        )
    )
