"""Turns, gates, releases, what serves to whom, and jobs that survive a kill."""

from __future__ import annotations
