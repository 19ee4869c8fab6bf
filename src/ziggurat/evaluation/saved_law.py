"""A law that `ziggurat scaling` fitted, by the name of its series: what `--scaling NAME` reads.

Kept in $ZIGGURAT_HOME/runs/scaling-NAME/law.json. Its constants hold for its text and its vocabulary; on other text the
balance of size and data is a first guess, and the loss itself says little.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ziggurat.errors import UsageError, did_you_mean
from ziggurat.evaluation.scaling_laws import Law, read_law
from ziggurat.files import read_json, write_json
from ziggurat.places import ladder_folder, runs_home

LAW_FORMAT = 1
"""Version of law.json."""
LAW = "law.json"
PREFIX = "scaling-"
"""Of a series' folder under $ZIGGURAT_HOME/runs."""


@dataclass(frozen=True)
class SavedLaw:
    """L(N, D), and where it was fitted."""

    name: str
    text: str
    """What was learned from, for people."""
    law: Law
    vocabulary: int
    context: int
    parameters: tuple[float, float]
    """The smallest and the largest model of the fit."""
    tokens: tuple[float, float]
    """The fewest and the most tokens of the fit."""

    def reach(self, parameters: float) -> str:
        """How far a size is from those of the fit: "within the sizes of the fit" or "7.5 times its largest size"."""
        if parameters <= self.parameters[1]:
            return "within the sizes of the fit"
        return f"{parameters / self.parameters[1]:.2g} times its largest size"


def series_folder(name: str) -> Path:
    """Raises RunError for a name that leads elsewhere."""
    return ladder_folder(f"{PREFIX}{name}")


def save_law(saved: SavedLaw) -> None:
    write_json(series_folder(saved.name) / LAW, asdict(saved), LAW_FORMAT)


def load_law(name: str) -> SavedLaw:
    """Raises UsageError, with the names that there are, where no law was fitted."""
    file = series_folder(name) / LAW
    if not file.is_file():
        known = sorted(p.parent.name.removeprefix(PREFIX) for p in runs_home().glob(f"{PREFIX}*/{LAW}"))
        there = did_you_mean(name, known) or (f" There are {', '.join(known)}." if known else "")
        raise UsageError(f'There is no fitted law "{name}"; `ziggurat scaling` makes one.{there}')
    found = read_json(file, LAW_FORMAT)
    return SavedLaw(
        law=read_law(found.pop("law")),
        parameters=tuple(found.pop("parameters")),
        tokens=tuple(found.pop("tokens")),
        **found,
    )
