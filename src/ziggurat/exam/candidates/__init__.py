"""What may sit: a model in this process (`local.py`) or behind an OpenAI-compatible address (`server.py`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ziggurat.errors import UsageError
from ziggurat.exam.candidate import Candidate

_ADDRESS = re.compile(r"(?P<model>.+)@(?P<url>https?://\S+)")


def open_candidate(name: str, upstreams: Mapping[str, str] | None = None) -> Candidate:
    """The candidate of a name.

    `NAME@http://host:port/v1` is the model NAME of a server; `cluster/NAME` is one of the upstream `cluster`, whose
    address is in `upstreams`; everything else is a model of this machine, by any name that other commands take.

    Raises:
        UsageError: the server does not answer, or does not have the model.
        RunError: there is no such model here.
    """
    far = address_of(name, upstreams or {})
    if far is not None:
        from ziggurat.exam.candidates.server import Server

        return Server(name=name, model=far[0], url=far[1], key=far[2])
    from ziggurat.exam.candidates.local import load

    return load(name)


def address_of(name: str, upstreams: Mapping[str, str]) -> tuple[str, str, str] | None:
    """(model, address, name of the variable with its key) of a model elsewhere; None of any other."""
    if match := _ADDRESS.fullmatch(name):
        return match["model"], match["url"].rstrip("/"), "ZIGGURAT_UPSTREAM_KEY"
    server, slash, model = name.partition("/")
    if slash and server in upstreams:
        variable = f"ZIGGURAT_UPSTREAM_{server.upper().replace('-', '_')}_KEY"
        return model, upstreams[server].rstrip("/"), variable
    return None


def upstreams_of(given: Sequence[str]) -> dict[str, str]:
    """NAME=URL texts, as `ziggurat serve --upstream` takes them. UsageError for another form."""
    found = {}
    for text in given:
        name, _, url = text.partition("=")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) or not re.match(r"https?://\S+$", url):
            raise UsageError(
                f"{text!r} is not an upstream; write NAME=URL, for instance cluster=http://10.0.0.5:8000/v1."
            )
        found[name] = url
    return found
