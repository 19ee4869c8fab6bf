"""Expert review before delivery: items, versions, decisions, deliveries."""

from __future__ import annotations
