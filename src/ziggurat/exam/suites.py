"""Suites: names for lists of tasks, read from suites.yaml here and in $ZIGGURAT_HOME."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ziggurat.errors import UsageError, did_you_mean
from ziggurat.home import ziggurat_home
from ziggurat.yaml_text import parse_yaml

SHIPPED = Path(__file__).parent / "suites.yaml"


class Part(BaseModel):
    """One task of a suite, and the switches that it is sat with; None: as the command says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    limit: int | None = Field(default=None, ge=1)
    shots: int | None = Field(default=None, ge=0)
    think: bool | None = None
    generate: bool | None = None
    samples: int | None = Field(default=None, ge=1)


class Suite(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    title: dict[str, str] = {}
    tasks: list[Part]

    @field_validator("tasks", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return [{"task": one} if isinstance(one, str) else one for one in value or ()]


def known_suites() -> dict[str, Suite]:
    """Every suite by name; one's own before a shipped one. UsageError for a file that is wrong."""
    found: dict[str, Suite] = {}
    for path in (SHIPPED, ziggurat_home() / "suites.yaml"):
        if path.is_file():
            found |= read_suites(path)
    return found


def read_suites(path: Path) -> dict[str, Suite]:
    """The suites of a file. UsageError with the place."""
    try:
        value = parse_yaml(path.read_text(encoding="utf-8"))
        return {str(name): _suite(path, str(name), one) for name, one in value["suites"].items()}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML ({error}); mend it.") from None
    except (TypeError, KeyError, AttributeError):
        raise UsageError(f"{path} needs `suites:`, with a name and `tasks:` for each.") from None


def _suite(path: Path, name: str, given: Any) -> Suite:
    try:
        return Suite.model_validate(given)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"]))
        raise UsageError(
            f"{path}, {name}: {where}: {detail['msg']}; a suite has title and tasks, a task of it may have "
            f"{', '.join(key for key in Part.model_fields if key != 'task')}."
        ) from None


def parts_of(names: Sequence[str]) -> list[Part]:
    """Tasks by name; a suite's name stands for its tasks."""
    known = known_suites()
    return [part for name in names for part in (known[name].tasks if name in known else [Part(task=name)])]


def suite(name: str) -> Suite:
    """The suite of a name. UsageError where there is none."""
    known = known_suites()
    if name not in known:
        hint = did_you_mean(name, known) or f" There are {', '.join(known)}."
        raise UsageError(f'There is no suite "{name}".{hint}')
    return known[name]
