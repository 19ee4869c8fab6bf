"""Feedback of programs, files, fine-tuning jobs, battles."""

from __future__ import annotations
