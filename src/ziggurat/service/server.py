"""The server: the chat page and two APIs over any number of models.

    create_app(models)     the ASGI application, for tests and for other servers
    serve(names)           load runs, listen, print the address; returns on Ctrl-C

It listens on loopback. Other addresses need a file of keys, or `expose=True`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Unpack

import uvicorn
from fastapi import FastAPI

from ziggurat.console import err, out
from ziggurat.errors import UsageError
from ziggurat.memory import few_heaps
from ziggurat.places import find_run
from ziggurat.product import registration
from ziggurat.safety.guard import Guard as TextGuard
from ziggurat.safety.moderator import Moderator, moderator_of
from ziggurat.safety.sources import Builtin, FileRules, Several
from ziggurat.service.access.guard import Guard, is_loopback
from ziggurat.service.access.key_check import KeyCheck
from ziggurat.service.access.keys import Keyring
from ziggurat.service.api.admin import admin_routes
from ziggurat.service.api.chat import chat_routes
from ziggurat.service.api.health import health_routes
from ziggurat.service.api.score import score_routes
from ziggurat.service.http import problems
from ziggurat.service.http.drain import DRAIN_S, DrainingServer
from ziggurat.service.http.idle import IdleClosingProtocol
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.openapi import describe_by_hand, errors
from ziggurat.service.models import library
from ziggurat.service.models.memory import give_back_periodically
from ziggurat.service.models.response_store import ResponseStore
from ziggurat.service.models.shelf import AnyModel, Example, ModelCard, Shelf
from ziggurat.service.observe.metrics import Metrics, metrics_routes
from ziggurat.service.observe.middleware import Observed
from ziggurat.service.observe.request_log import RequestLog
from ziggurat.service.openai.chat_completions import chat_completion_routes
from ziggurat.service.openai.completions import completion_routes
from ziggurat.service.openai.embeddings import embedding_routes
from ziggurat.service.openai.models import model_routes
from ziggurat.service.openai.moderations import moderation_routes
from ziggurat.service.openai.responses.endpoint import response_routes
from ziggurat.service.openai.responses.kept import kept_response_routes
from ziggurat.service.product.climber import Climber
from ziggurat.service.product.oidc import Elsewhere
from ziggurat.service.product.routes import Product, open_with_product
from ziggurat.service.product.store_rules import StoreRules
from ziggurat.service.services import Services
from ziggurat.service.upstream.servers import Upstream, Upstreams
from ziggurat.store.store import Store
from ziggurat.version import __version__

if TYPE_CHECKING:
    from ziggurat.dialogue.loading import LoadOptions

DEFAULT_PORT = 8000
PORTS_TO_TRY = 20
"""Without --port, the next free port from 8000 on is used."""
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - only compared with

ROUTES = (
    *(model_routes, chat_completion_routes, completion_routes, response_routes, kept_response_routes),
    *(embedding_routes, moderation_routes, score_routes, health_routes),
)
MATRIX_SHAPES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256", "LRU_CACHE_CAPACITY": "256"}
"""oneDNN and its binding in torch keep a compiled product for each shape, 1,024 of them by default. Requests have all
shapes: a server of a 0.2M model grew to 1.7 GiB in four minutes. Values that the operator has set stay."""


def create_app(
    models: Mapping[str, AnyModel],
    *,
    cards: Mapping[str, ModelCard] | None = None,
    examples: Sequence[Example] = (),
    limits: Limits | None = None,
    allowed_hosts: Iterable[str] = (),
    exposed: bool = False,
    keyring: Keyring | None = None,
    upstreams: Sequence[Upstream] = (),
    moderator: Moderator | None = None,
    shelves: library.Library | None = None,
    request_log: RequestLog | None = None,
    guard: TextGuard | None = None,
    store: Store | None = None,
    accounts: bool = False,
    elsewhere: Elsewhere | None = None,
    climbs: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> FastAPI:
    """The application over loaded models. With `shelves`, the library that loaded them, they can be replaced.

    `guard` examines requests and answers; without one and without a store nothing is examined.
    `store`: also the chat product, for one person on this machine or with `accounts` for people who log in; the guard
    (by default with the built-in rules) then has the store's rules too.
    `climbs`: ladders that are climbed beside the server, each with options of `ziggurat ladder`; their models are
    served as they appear.

    Raises:
        UsageError: a model's name begins with the name of an upstream.
    """
    limits = limits or Limits()
    own_rules = None if store is None else StoreRules(store)
    if own_rules is not None:
        guard = (guard or TextGuard(Builtin())).also(own_rules)
    shelf = Shelf(models, cards or {}, examples, limits)
    metrics = Metrics(shelf)
    services = Services(
        limits=limits,
        shelf=shelf,
        upstreams=Upstreams(upstreams, metrics, guard),
        responses=ResponseStore(limits),
        moderator=moderator or Moderator([]),
        metrics=metrics,
        keyring=keyring,
        library=shelves,
        request_log=request_log,
        guard=guard,
    )
    services.upstreams.check_names(models)

    product = (
        None
        if store is None or own_rules is None or guard is None
        else Product(services, store, guard, own_rules, accounts=accounts, elsewhere=elsewhere, climbs=climbs)
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(give_back_periodically())]
        if product is not None:
            tasks.append(asyncio.create_task(product.keep()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if product is not None:
                await product.close()
            await services.close()

    # No /docs and /redoc: those pages load scripts from the network. /openapi.json stays.
    # No telemetry: FastAPI would send traces to the address in an environment variable; nothing leaves this machine.
    app = FastAPI(
        title="Ziggurat",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    problems.install(app)
    for routes in ROUTES:
        app.include_router(routes(services), responses=errors())
    if services.library is not None:
        app.include_router(admin_routes(services, services.library), responses=errors())
    app.include_router(metrics_routes(metrics), responses=errors())
    if product is not None:
        product.add_to(app)
    else:
        app.include_router(chat_routes(services), responses=errors())
    describe_by_hand(app)
    if product is None:
        app.add_middleware(KeyCheck, keyring=keyring)
    else:
        app.add_middleware(KeyCheck, keyring=keyring, more=product.keys, is_open=open_with_product)
    app.add_middleware(Guard, allowed_hosts=tuple(allowed_hosts), exposed=exposed)
    app.add_middleware(Observed, metrics=metrics, log=services.request_log)
    app.state.services = services
    app.state.climber = None if product is None else product.house.climber
    return app


def listen(host: str, port: int | None) -> socket.socket:
    """A bound socket. Call it before models are loaded, so that a taken port is reported at once.

    Raises:
        UsageError: no port is free.
    """
    candidates = range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TO_TRY) if port is None else (port,)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason = ""
    for candidate in candidates:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
        except OSError as error:
            listener.close()
            reason = error.strerror or str(error)
            continue
        if port is None and candidate != DEFAULT_PORT:
            err.print(f"Port {DEFAULT_PORT} is taken ({reason}); using {candidate}.")
        return listener
    where = f"port {port}" if port is not None else f"any port from {candidates[0]} to {candidates[-1]}"
    raise UsageError(
        f"Cannot listen on {host}, {where}: {reason}; choose another with --port (0 finds a free port)."
    )


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in EVERYWHERE:
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def run_app(
    app: FastAPI, listener: socket.socket, ready: Callable[[str], None], *, drain_s: float = DRAIN_S
) -> None:
    """Serve an application of `create_app` on a bound socket until Ctrl-C or SIGTERM; `drain_s`: see drain.py."""
    config = uvicorn.Config(
        app, http=IdleClosingProtocol, log_level="warning", access_log=False, server_header=False
    )
    try:
        DrainingServer(config, app.state.services, lambda: ready(address_of(listener)), drain_s).run(
            [listener]
        )
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()


def guard_of(given: str, moderator: Moderator) -> TextGuard:
    """The guard that `--guard` asks for; with `off` it has only the rules that administrators make at the page.

    Raises:
        DataError: the file of rules cannot be used.
    """
    if given == "off":
        return TextGuard(Several())
    return TextGuard(Builtin() if given == "default" else FileRules(Path(given)), moderator=moderator)


def serve(
    names: list[str],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    expose: bool = False,
    keys: Path | None = None,
    upstreams: Sequence[str] = (),
    moderation_patterns: Path | None = None,
    moderation_classifier: Path | None = None,
    guard: str = "default",
    request_log: Path | None = None,
    allowed_hosts: Sequence[str] = (),
    examples: Sequence[Example] | None = None,
    accounts: bool = False,
    oidc: tuple[str, str] | None = None,
    store: str | None = None,
    climbs: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ready: Callable[[str], None] | None = None,
    **options: Unpack[LoadOptions],
) -> int:
    """Load the named runs (RUN or NAME=RUN), listen, and serve until Ctrl-C; 0, or the status of a climb that ended
    because it could not be planned.

    `guard`: `default` (the built-in rules), `off`, or a file of rules.
    `port` None: 8000 or the next free port; 0: any free port. `options`: how the models compute. `accounts`: people log
    in at the page; so they do where there are keys. `oidc`: issuer and client of another login. `store`: where
    conversations are kept. `climbs`: ladders to be climbed beside it.

    Raises:
        UsageError: nothing to serve, no free port, or an address beyond loopback without keys.
        RunError: there is no such run.
        DataError: a file of keys, patterns or examples, or the request log, cannot be used.
        ModelFolderError: a model or a classifier cannot be loaded.
    """
    far = [Upstream.parse(text) for text in upstreams]
    if not names and not far and not climbs:
        raise UsageError(
            "Nothing to serve; name at least one run (`ziggurat serve RUN`) or give --upstream NAME=URL."
        )
    keyring = Keyring(keys) if keys is not None else None
    moderator = moderator_of(moderation_patterns, moderation_classifier)
    text_guard = guard_of(guard, moderator)
    accounts = accounts or keyring is not None
    if not is_loopback(host) and not accounts and not expose:
        raise UsageError(
            f"--host is {host}, which other machines can reach: add --accounts, or --keys FILE (`ziggurat key new` "
            "makes one), or --expose to allow everybody to use the API without a key."
        )
    few_heaps()
    for name, shapes in MATRIX_SHAPES.items():
        os.environ.setdefault(name, shapes)  # before torch is imported and reads it
    kept = Store.open(store)
    listener, requests = listen(host, port), None
    try:
        requests = RequestLog(request_log) if request_log is not None else None
        runs = list(dict.fromkeys(library.expand(names)))
        shelves = library.Library(**options)
        loaded = []
        for name in runs:
            card, model = shelves.load(name)
            err.print(f"Loaded {card.name} ({card.numerics}).")
            loaded.append((card, model))
        if examples is None:
            examples = library.examples_beside([find_run(library.split(name)[1]) for name in runs])
    except BaseException:
        listener.close()
        if requests is not None:
            requests.close()
        raise
    if not is_loopback(host) and not accounts:
        err.print(f"Listening on {host} without keys: everybody who can reach this port can use the models.")
    app = create_app(
        {card.name: model for card, model in loaded},
        cards={card.name: card for card, _ in loaded},
        examples=examples,
        allowed_hosts=(host, socket.gethostname(), *allowed_hosts),
        exposed=not is_loopback(host),
        keyring=keyring,
        upstreams=far,
        shelves=shelves,
        moderator=moderator,
        request_log=requests,
        guard=text_guard,
        store=kept,
        accounts=accounts,
        elsewhere=Elsewhere(*oidc, os.environ.get("ZIGGURAT_OIDC_SECRET", "")) if oidc is not None else None,
        climbs=climbs,
    )
    if accounts and (token := registration.setup_token(kept)) is not None:
        err.print(f"Nobody owns this server yet. Open its page and set it up with this token, once: {token}")
    run_app(app, listener, ready or (lambda address: out.print(f"Chat at {address}  (Ctrl-C ends it)")))
    climber: Climber | None = app.state.climber
    return (climber.refused if climber is not None else None) or 0
