"""What a server is asked to do: made by `ziggurat serve` and by `ziggurat ladder`, carried out by `server.serve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """All of it as it was given; files are not opened and names are not looked up yet."""

    runs: Sequence[str] = ()
    """RUN or NAME=RUN; a ladder's name stands for the latest run of each of its stages."""
    upstreams: Sequence[str] = ()
    """NAME=URL of other servers whose models are served too."""
    climbs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Ladders to be climbed beside the server, each with options of `ziggurat ladder`."""

    host: str = "127.0.0.1"
    port: int | None = None
    """None: the default port or the next free one; 0: any free port."""
    allowed_hosts: Sequence[str] = ()
    """Further names by which requests may address the server."""
    expose: bool = False
    """Whether other machines may use the API without keys."""
    open_browser: bool = False

    keys: Path | None = None
    """A file of API keys. With one, people log in at the page, as with `accounts`."""
    accounts: bool = False
    oidc: str | None = None
    """The issuer of another login than by password."""
    oidc_client: str = "ziggurat"
    """This server's id at the issuer."""
    store: str | None = None
    """Where conversations are kept: a file or an address of PostgreSQL; None: `Store.open` chooses."""
    request_log: Path | None = None
    """A file; `-` is stderr."""

    guard: str = "default"
    """`default` (the built-in rules), `off`, or a file of rules."""
    moderation_patterns: Path | None = None
    moderation_classifier: Path | None = None

    batch_invariant: bool = False
    """How models compute, this and the next two: see `LoadOptions`."""
    weights: str = "auto"
    draft: str | None = None
