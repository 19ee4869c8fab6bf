"""Published tables as reference rows: figures of others, with their source. A blank is null and is shown as n/a."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

TABLES = ("chatbots", "c_eval")


def read(name: str) -> dict[str, Any]:
    """One of TABLES: {name, title, source, note, columns, rows}."""
    text = (files("ziggurat.exam.reference") / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
