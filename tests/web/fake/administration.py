"""What the administration's pages of the fake server show, and what they have changed."""

from __future__ import annotations

from typing import Any

from tests.web.fake.basics import stamp

PERSON = {"id": "person_1", "email": "ada@example.org", "name": "Ada", "role": "owner", "locale": None,
          "status": "active", "created_at": "2026-11-01T09:00:00Z"}  # fmt: skip


class Admin:
    """What the administration's pages show."""

    def __init__(self) -> None:
        self.people = {
            "person_1": PERSON | {"budget": None, "plan": None, "used_today": 412_000},
            "person_2": PERSON
            | {
                "id": "person_2",
                "email": "ben@example.org",
                "name": "Ben",
                "role": "member",
                "budget": None,
                "plan": None,
                "used_today": 0,
            },
        }
        self.invitations: dict[str, dict[str, Any]] = {}
        self.settings: dict[str, Any] = {
            "registration": "open",
            "retention_days": None,
            "limits": {"max_tokens": 512},
            "plans": {
                "free": {"tokens_per_day": 200_000, "requests_per_day": None},
                "paid": {"tokens_per_day": None, "requests_per_day": None},
            },
            "default_plan": "paid",
        }
        self.rules: dict[str, dict[str, Any]] = {}
        self.held: dict[str, dict[str, Any]] = {}
        self.broken: str | None = None
        self.broken_lately: str | None = None
        self.verified: list[bool] = []  # of each page of the audit: whether the whole chain was asked for
        self.verified_at: str | None = None
        self.changes: list[dict[str, Any]] = []  # the bodies of changed settings, people, and held answers
        self.audit = [
            {
                "id": 1,
                "at": stamp(-3600),
                "who": "Ada",
                "action": "settings.change",
                "what": "registration",
                "detail": {},
            }
        ]
