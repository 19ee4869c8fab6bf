"""The card of a model, `card.json` beside its weights: where it comes from, on what terms, how good, where it ends.

A run writes the card of what it trained; `ziggurat models` writes that of what was brought in. A card states what is
known and leaves out what is not: an unknown licence is "unknown", never a guess.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ziggurat.errors import RunError
from ziggurat.files import read_json, sample_into, write_json

CARD = "card.json"
CARD_FORMAT = 1
UNKNOWN = "unknown"


class Card(BaseModel):
    """What is known of one model. Unknown fields of a later version are kept out, not refused."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    title: str = ""
    """What it is, in a few words."""
    kind: str = "language model"
    """language model, reward model, embedding model."""
    source: str = ""
    """The stage that trained it, or the package, repository or file that it came from."""
    revision: str = ""
    """The exact version at its source: a commit, a package version."""
    licence: str = UNKNOWN
    parent: str = ""
    """The model that its training began from."""
    parent_licence: str = ""
    data: tuple[dict[str, Any], ...] = ()
    """What it learned from here: path, SHA-256 and number of records of each file."""
    data_note: str = ""
    """What is known of data that is not here."""
    scores: dict[str, float] = {}
    """Figures of its own report, by name."""
    limits: tuple[str, ...] = ()
    """What it is known not to do, a sentence each."""
    languages: tuple[str, ...] = ()
    """Those that it writes well (ISO 639-1); empty where that is not known."""
    quantisation: str = ""
    """What its weights went through before they came here, such as Q4_1."""
    left_out: tuple[str, ...] = ()
    """What its source had and was not taken."""
    sha256: dict[str, str] = {}
    """Of the files at its source."""
    made_utc: str = ""


def write_card(card: Card, folder: Path) -> None:
    write_json(folder / CARD, card.model_dump(mode="json"), CARD_FORMAT)


def read_card(folder: Path) -> Card | None:
    """The card of a model folder, or of the run around it; None where there is none.

    Raises RunError for a file that is no card, FormatError for one of a newer Ziggurat.
    """
    for place in (folder, folder / "model"):
        path = place / CARD
        if path.is_file():
            try:
                return Card.model_validate(read_json(path, CARD_FORMAT))
            except ValidationError as error:
                raise RunError(f"{path} is no card of a model; remove it or write it again.") from error
    return None


def card_of_run(name: str, manifest: Mapping[str, Any], report: Mapping[str, Any], made_utc: str) -> Card:
    """The card of what a run trained, from its lineage and its report."""
    stage, parent = str(manifest.get("stage", "")), manifest.get("parent") or {}
    data = [
        {key: entry.get(key) for key in ("path", "sha256", "records", "role") if entry.get(key) is not None}
        for entry in manifest.get("data") or []
    ]
    return Card(
        name=name,
        kind="reward model" if stage == "reward" else "language model",
        source=f"ziggurat {stage}",
        revision=str((manifest.get("code") or {}).get("commit") or ""),
        parent=str(parent.get("path", "")),
        parent_licence=str(parent.get("licence") or ""),
        licence=str(parent.get("licence") or UNKNOWN),
        data=tuple(data),
        scores={k: v for k, v in (report.get("numbers") or {}).items() if _figure(v)},
        limits=_limits(stage),
        made_utc=made_utc,
    )


def _figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _limits(stage: str) -> tuple[str, ...]:
    """What follows from how a model was made; more is for people to write."""
    if stage == "pretrain":
        return ("It continues text and was not trained to answer or to refuse.",)
    if stage == "reward":
        return ("Its score means little for texts unlike those that people ranked.",)
    return (
        "It states wrong things with confidence; check what matters.",
        "Its figures are of its own held-out data and not of other tasks.",
    )


def digest(folder: Path) -> str:
    """A hash of a model's weights, configuration and tokenizer.

    Large files are sampled (`files.sample_into`): it distinguishes models; it does not detect manipulation.
    """
    known = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".json", ".jinja", ".safetensors", ".blocks") or path.name == CARD:
            continue
        sample_into(known, path)
    return known.hexdigest()[:16]
