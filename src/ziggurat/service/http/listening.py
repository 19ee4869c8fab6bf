"""A bound socket, and an application that is served on it until it ends."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from ziggurat.console import err
from ziggurat.errors import UsageError
from ziggurat.service.http.drain import DRAIN_S, DrainingServer
from ziggurat.service.http.idle import IdleClosingProtocol

DEFAULT_PORT = 8000
PORTS_TO_TRY = 20
"""Without --port, the next free port from 8000 on is used."""
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - only compared with


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
    app: FastAPI,
    listener: socket.socket,
    ready: Callable[[str], None],
    *,
    drain_s: float = DRAIN_S,
    over: Callable[[], bool] = lambda: False,
) -> None:
    """Serve an application of `create_app` on a bound socket until Ctrl-C, SIGTERM, or until `over` returns true.

    `ready` gets the address; `drain_s`: see drain.py.
    """
    config = uvicorn.Config(
        app, http=IdleClosingProtocol, log_level="warning", access_log=False, server_header=False
    )
    started = DrainingServer(
        config, app.state.services, lambda: ready(address_of(listener)), drain_s=drain_s, over=over
    )
    try:
        started.run([listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
