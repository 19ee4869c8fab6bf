"""Packages of the extra `dev` that a test cannot do without.

Where one is missing its tests are skipped, aloud; in CI, where everything is installed, they fail: a client that cannot
be imported there would otherwise hide what it was to prove. `.ci/run` sets CI.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


def needs(name: str, *, reason: str | None = None) -> Any:
    """The module of that name."""
    if IN_CI:
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=reason)
