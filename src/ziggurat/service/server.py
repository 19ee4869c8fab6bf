"""The server: the chat page and two APIs over any number of models.

    create_app(models)     the ASGI application, for tests and for other servers
    serve(options)         load runs, listen, print the address; returns on Ctrl-C

It listens on loopback. Other addresses need a file of keys, accounts, or `expose`.
"""

from __future__ import annotations

import os
import socket
import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from fastapi import FastAPI

from ziggurat.console import err, out
from ziggurat.errors import UsageError
from ziggurat.flywheel.release.channel import all_channels
from ziggurat.memory import few_heaps
from ziggurat.places import find_run
from ziggurat.product import registration
from ziggurat.safety.guard import Guard as TextGuard
from ziggurat.safety.moderator import Moderator, moderator_of
from ziggurat.safety.sources import Builtin, FileRules, Several
from ziggurat.service.access.guard import Guard, is_loopback
from ziggurat.service.access.key_check import KeyCheck
from ziggurat.service.access.keys import Keyring
from ziggurat.service.application import application
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.listening import listen, run_app
from ziggurat.service.models import library
from ziggurat.service.models.response_store import ResponseStore
from ziggurat.service.models.shelf import AnyModel, Example, ModelCard, Shelf
from ziggurat.service.observe.metrics import Metrics
from ziggurat.service.observe.middleware import Observed
from ziggurat.service.observe.request_log import RequestLog
from ziggurat.service.options import ServeOptions
from ziggurat.service.product.climber import Climber
from ziggurat.service.product.oidc import Elsewhere
from ziggurat.service.product.routes import Product, open_with_product
from ziggurat.service.product.store_rules import StoreRules
from ziggurat.service.services import Services
from ziggurat.service.upstream.servers import Upstream, Upstreams
from ziggurat.store.location import store_url
from ziggurat.store.store import Store

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
    app = application(services, product)
    if product is None:
        app.add_middleware(KeyCheck, keyring=keyring)
    else:
        app.add_middleware(KeyCheck, keyring=keyring, more=product.keys, is_open=open_with_product)
    app.add_middleware(Guard, allowed_hosts=tuple(allowed_hosts), exposed=exposed)
    app.add_middleware(Observed, metrics=metrics, log=request_log)
    app.state.services = services
    app.state.climber = None if product is None else product.house.climber
    return app


def guard_of(given: str, moderator: Moderator) -> TextGuard:
    """The guard that `--guard` asks for; with `off` it has only the rules that administrators make at the page.

    Raises:
        DataError: the file of rules cannot be used.
    """
    if given == "off":
        return TextGuard(Several())
    return TextGuard(Builtin() if given == "default" else FileRules(Path(given)), moderator=moderator)


def elsewhere_of(options: ServeOptions) -> Elsewhere | None:
    """The login that `--oidc` asks for; its secret is in the environment."""
    if options.oidc is None:
        return None
    return Elsewhere(options.oidc, options.oidc_client, os.environ.get("ZIGGURAT_OIDC_SECRET", ""))


def serve(options: ServeOptions) -> int:
    """Load the runs, listen, and serve until Ctrl-C; 0, or the status of a climb that could not be planned.

    Raises:
        UsageError: nothing to serve, no free port, or an address beyond loopback without keys.
        RunError: there is no such run.
        DataError: a file of keys, patterns or examples, or the request log, cannot be used.
        ModelFolderError: a model or a classifier cannot be loaded.
    """
    far = [Upstream.parse(text) for text in options.upstreams]
    if not options.runs and not far and not options.climbs and not _releases(options):
        raise UsageError(
            "Nothing to serve; name at least one run (`ziggurat serve RUN`), give --upstream NAME=URL, or promote a "
            "release (`ziggurat flywheel promote`)."
        )
    keyring = Keyring(options.keys) if options.keys is not None else None
    moderator = moderator_of(options.moderation_patterns, options.moderation_classifier)
    guard = guard_of(options.guard, moderator)
    accounts = options.accounts or keyring is not None
    open_to_all = _open_to_all(options, accounts)
    _spare_memory()
    store = Store.open(options.store)
    listener, requests = listen(options.host, options.port), None
    try:
        requests = RequestLog(options.request_log) if options.request_log is not None else None
        shelves = library.Library(
            batch_invariant=options.batch_invariant, weights=options.weights, draft=options.draft
        )
        loaded, examples = _loaded(shelves, options.runs)
    except BaseException:
        listener.close()
        if requests is not None:
            requests.close()
        raise
    if open_to_all:
        err.print(
            f"Listening on {options.host} without keys: everybody who can reach this port can use the models."
        )
    app = create_app(
        {card.name: model for card, model in loaded},
        cards={card.name: card for card, _ in loaded},
        examples=examples,
        allowed_hosts=(options.host, socket.gethostname(), *options.allowed_hosts),
        exposed=not is_loopback(options.host),
        keyring=keyring,
        upstreams=far,
        shelves=shelves,
        moderator=moderator,
        request_log=requests,
        guard=guard,
        store=store,
        accounts=accounts,
        elsewhere=elsewhere_of(options),
        climbs=options.climbs,
    )
    if accounts and (token := registration.setup_token(store)) is not None:
        err.print(f"Nobody owns this server yet. Open its page and set it up with this token, once: {token}")
    return _run(app, listener, options)


def _releases(options: ServeOptions) -> bool:
    """Whether the store says that a release serves."""
    url = store_url(options.store)
    if url.drivername == "sqlite" and not Path(str(url.database)).is_file():
        return False
    store = Store.open(options.store)
    try:
        return any(one.release_id is not None for one in all_channels(store))
    finally:
        store.close()


def _open_to_all(options: ServeOptions, accounts: bool) -> bool:
    """Whether other machines may use the API without keys.

    Raises:
        UsageError: they could, and nothing says that they may.
    """
    if is_loopback(options.host) or accounts:
        return False
    if not options.expose:
        raise UsageError(
            f"--host is {options.host}, which other machines can reach: add --accounts, or --keys FILE (`ziggurat key "
            "new` makes one), or --expose to allow everybody to use the API without a key."
        )
    return True


def _spare_memory() -> None:
    few_heaps()
    for name, shapes in MATRIX_SHAPES.items():
        os.environ.setdefault(name, shapes)  # before torch is imported and reads it


def _loaded(
    shelves: library.Library, names: Sequence[str]
) -> tuple[list[tuple[ModelCard, AnyModel]], list[Example]]:
    """The models, and questions to try."""
    runs, loaded = list(dict.fromkeys(library.expand(names))), []
    for name in runs:
        card, model = shelves.load(name)
        err.print(f"Loaded {card.name} ({card.numerics}).")
        loaded.append((card, model))
    return loaded, library.examples_beside([find_run(library.split(name)[1]) for name in runs])


def _run(app: FastAPI, listener: socket.socket, options: ServeOptions) -> int:
    """Serve until it ends. A climb that cannot be planned has said why; the server ends as its command would have."""
    climber: Climber | None = app.state.climber

    def refused() -> int:
        return (climber.refused if climber is not None else None) or 0

    def ready(address: str) -> None:
        out.print(f"Chat at {address}  (Ctrl-C ends it)")
        if options.open_browser:
            webbrowser.open(address)

    run_app(app, listener, ready, over=lambda: refused() != 0)
    return refused()
