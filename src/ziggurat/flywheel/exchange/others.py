"""The formats that are not made of training records: whole projects (Argilla), trees (Open-Assistant), battles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from ziggurat.flywheel.exchange.argilla import argilla
from ziggurat.flywheel.exchange.battles import battles
from ziggurat.flywheel.exchange.export import Source
from ziggurat.flywheel.exchange.oasst import oasst
from ziggurat.product.principal import Principal

OTHERS: dict[str, Callable[[Connection, Principal, Source], tuple[dict[str, bytes], dict[str, Any]]]] = {
    "argilla": argilla,
    "oasst": oasst,
    "arena": battles,
}
