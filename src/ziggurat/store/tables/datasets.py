"""Dataset versions and what each holds and left out."""

from __future__ import annotations
