"""Entry points: what other packages add to Ziggurat. docs/extending.md has a worked example of each group.

    ziggurat.stages     a Stage (ziggurat.stages.stage)
    ziggurat.worlds     a function from Options to a World (ziggurat.ladder.world)
    ziggurat.families   a Family of models (ziggurat.model.hub.family)
    ziggurat.formats    a Format of data files (ziggurat.corpus.formats.common)

A broken entry point never stops a command that does not need it: `load_all` leaves it out and prints one sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from ziggurat.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Extension:
    """One entry point of an installed package."""

    point: EntryPoint

    @property
    def name(self) -> str:
        return self.point.name

    @property
    def package(self) -> str:
        return self.point.dist.name if self.point.dist else self.point.module

    def error(self, reason: str) -> ConfigError:
        """The one sentence about this entry point; `reason` continues "the entry point ..."."""
        return ConfigError(
            f'The package "{self.package}" brings the entry point "{self.name} = {self.point.value}" of '
            f"{self.point.group}, which {reason}; correct, update or remove the package."
        )

    def load(self) -> Any:
        """The object that the entry point names. Raises ConfigError where the import fails."""
        try:
            return self.point.load()
        except Exception as error:  # another package's code may raise anything
            raise self.error(f"cannot be imported ({type(error).__name__}: {error})") from error

    def load_as(self, kind: type[T]) -> T:
        """As `load`. Raises ConfigError also where the object is not of this class."""
        found = self.load()
        if not isinstance(found, kind):
            raise self.error(f"names a {type(found).__name__}, not a {kind.__name__}")
        return found


def installed(group: str) -> dict[str, Extension]:
    """The entry points of a group by name; nothing is imported. Of equal names the first on sys.path counts."""
    found: dict[str, Extension] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, Extension(point))
    return dict(sorted(found.items()))


def load_all(group: str, kind: type[T], refuse: Callable[[str, T], str | None]) -> dict[str, T]:
    """The objects of a group by name. A broken one is left out, with one sentence on stderr.

    refuse: a reason why an object of this name cannot be used, else None.
    """
    usable: dict[str, T] = {}
    for name, extension in installed(group).items():
        try:
            found = extension.load_as(kind)
            if reason := refuse(name, found):
                raise extension.error(reason)
        except ConfigError as error:
            from ziggurat.console import err

            err.print(f"Warning: {error}", soft_wrap=True)
        else:
            usable[name] = found
    return usable
