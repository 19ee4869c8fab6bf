"""The flywheel: dataset versions, turns, gates, releases."""

from __future__ import annotations
