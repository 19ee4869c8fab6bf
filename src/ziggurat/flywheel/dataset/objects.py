"""What the rules of data sets take and return."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ziggurat.product.objects import Thing


class BuildSettings(BaseModel):
    """The rules of one dataset version (PRODUCT 4.4); defaults are what `ziggurat flywheel build` uses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    person_cap: int = Field(default=200, ge=1, le=1_000_000)
    """Prompts that one person may give, the newest; InstructGPT's number."""
    topic_cap: int = Field(default=100, ge=1, le=1_000_000)
    """Answers approved unchanged that are demonstrations of one topic, the newest."""
    held_out_people: float = Field(default=0.1, ge=0, le=0.5)
    """Share of people; of fewer than 5 nobody is held out."""
    held_out_time: float = Field(default=0.1, ge=0, le=0.5)
    """Share of conversations, the last ones; of fewer than 10 none is held out. Where the share is fewer than 30, up to
    30 are held out, at most a third of all, since a gate needs 30; 0 holds none out."""
    private_data: Literal["leave_out", "keep"] = "leave_out"
    """Records with an e-mail address, a phone, identity or card number."""
    weights: bool = True
    """Weigh labels by the model of reliability and put people into quarantine. False: every label counts 1."""
    metrics: dict[str, float] = {}
    """Bars of programs' metrics, by name (true is 1), numbers too: an answer that reaches its bar is a demonstration
    (weak), and one that misses it is rated false."""
    exams: tuple[str, ...] = ("town:1",)
    """`town:SEED`, or files: no record may share text with them."""


class DatasetVersion(Thing):
    """A frozen version."""

    id: str
    name: str
    n: int
    ref: str
    """`name/vN`."""
    parent_id: str | None
    sha256: str
    card: dict[str, Any]
    path: str
    created_at: str
    unchanged: bool = False
    """A build found the same data as the newest version, and made none."""


class Affected(Thing):
    """What of a version may no longer be used."""

    version_id: str
    ref: str
    records: int
    """All that it holds."""
    withdrawn: int
    """Those whose judgement, chat or consent is gone."""
    deleted: int
    """Of these, those whose text was deleted."""
    reasons: dict[str, int]
    releases: list[str]
    """That learned from it."""
    advice: str | None
    """What to do, or None."""
