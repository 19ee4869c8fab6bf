"""Where rules come from here: those of the package, and a file of the operator that is read again when it changes.

    # guard.yaml
    builtin: true                  # keep the built-in rules (the default)
    moderation:                    # what a category of /v1/moderations' layers does: block, hold or log
      violence: block
    rules:
      - id: house.names
        kind: words
        category: harassment
        action: block
        words: [some word, 某个词]
      - {id: topic.politics, enabled: false, ...}     # a rule of the same id replaces a built-in one

If the file is broken or missing, the last good rules stay in use; the log reports it once, and `trouble` says so until
it is repaired.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ziggurat.errors import DataError, did_you_mean
from ziggurat.safety.layers import CATEGORIES
from ziggurat.safety.rules import Rule, RuleSource

log = logging.getLogger("ziggurat.service")

Acting = Literal["block", "hold", "log"]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    builtin: bool = True
    moderation: dict[str, Acting] = {}
    rules: list[Rule] = []


@cache
def builtin_rules() -> tuple[Rule, ...]:
    """The rules of the package, in `data/rules.yaml`."""
    text = (files("ziggurat.safety") / "data" / "rules.yaml").read_text(encoding="utf-8")
    return tuple(_File.model_validate(yaml.safe_load(text)).rules)


class Builtin:
    """The built-in rules; they never change."""

    def version(self) -> int:
        return 1

    def rules(self) -> Sequence[Rule]:
        return builtin_rules()


class FileRules:
    """The rules of a YAML file, the built-in ones included unless it says `builtin: false`.

    Raises:
        DataError: the file cannot be used. Later, a broken file is only reported.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen, self._version = self._state(), 1
        self._read = _read(path)
        self.trouble: str | None = None

    def version(self) -> int:
        with self._lock:
            state = self._state()
            if state != self._seen:
                self._seen = state
                try:
                    self._read = _read(self.path)
                except DataError as error:
                    self.trouble = str(error)
                    log.warning("%s The last good rules stay in use.", error)
                else:
                    self.trouble = None
                    self._version += 1
            return self._version

    def rules(self) -> Sequence[Rule]:
        own = self._read.rules
        return merged([*(builtin_rules() if self._read.builtin else ()), *own])

    @property
    def moderation(self) -> dict[str, Acting]:
        """Category of `/v1/moderations` -> what happens where its layers flag a text."""
        return self._read.moderation

    def _state(self) -> tuple[int, ...] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


class Several:
    """Rules of several sources; a rule of a later source replaces one of the same id."""

    def __init__(self, *sources: RuleSource) -> None:
        self.sources = sources
        self._lock = threading.Lock()
        self._versions: tuple[int, ...] = ()
        self._version = 0

    def version(self) -> int:
        versions = tuple(source.version() for source in self.sources)
        with self._lock:
            if versions != self._versions:
                self._versions, self._version = versions, self._version + 1
            return self._version

    def rules(self) -> Sequence[Rule]:
        return merged([rule for source in self.sources for rule in source.rules()])


def merged(rules: Sequence[Rule]) -> list[Rule]:
    """The last rule of each id, in the order in which the ids first come."""
    return list({rule.id: rule for rule in rules}.values())


def _read(path: Path) -> _File:
    try:
        parsed: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the rules cannot be read ({error}); write a YAML file.", path=path) from None
    except yaml.YAMLError as error:
        raise DataError(f"this is not YAML ({' '.join(str(error).split())}).", path=path) from None
    if not isinstance(parsed, dict):
        raise DataError("expected `rules:` with a list of rules.", path=path)
    try:
        found = _File.model_validate(parsed)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or None
        raise DataError(f"{first['msg'].removeprefix('Value error, ')}.", path=path, field=place) from None
    ids = [rule.id for rule in found.rules]
    if twice := next((one for one in ids if ids.count(one) > 1), None):
        raise DataError(f"the rule {twice} is there twice; give each its own id.", path=path)
    for category in found.moderation:
        if category not in CATEGORIES:
            hint = did_you_mean(category, CATEGORIES)
            raise DataError(f"there is no category {category!r}.{hint}", path=path, field="moderation")
    return found
