"""The labelling workbench: projects, items, leases, answers in writing, comments."""

from __future__ import annotations
