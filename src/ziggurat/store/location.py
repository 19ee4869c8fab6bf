"""Where the store is: one setting, `ZIGGURAT_STORE`, or `$ZIGGURAT_HOME/ziggurat.db` without any."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ziggurat.errors import ConfigError
from ziggurat.home import ziggurat_home

SETTING = "ZIGGURAT_STORE"
DRIVER = "postgresql+psycopg"


def store_url(given: str | Path | None = None) -> URL:
    """The address of the store: what is given, else the environment's, else the file in the home.

    Raises:
        ConfigError: the address names no kind of store that there is.
    """
    text = str(given or os.environ.get(SETTING) or ziggurat_home() / "ziggurat.db")
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(
            f"{SETTING} is not an address; write postgresql://user@host/database or a path."
        ) from None
    kind = url.drivername.partition("+")[0]
    if kind in ("postgresql", "postgres"):
        return url.set(drivername=DRIVER)
    if kind == "sqlite" and url.database:
        return URL.create("sqlite", database=str(Path(url.database).absolute()))
    raise ConfigError(
        f"{SETTING} begins with {url.drivername}://; write postgresql://user@host/database, sqlite:///path or a path."
    )


def shown(url: URL) -> str:
    """The address without its password."""
    return str(url.database) if url.drivername == "sqlite" else url.render_as_string(hide_password=True)
