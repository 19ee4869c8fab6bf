"""What is there: stages, worlds, model families and formats, those of other packages included."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ziggurat.corpus.formats.common import Format
    from ziggurat.ladder.world import WorldFactory
    from ziggurat.model.hub.family import Family
    from ziggurat.stages.stage import Stage


def available_stages() -> dict[str, Stage]:
    """Every stage by its name, those of other packages included."""
    from ziggurat.stages.stage import declared

    return dict(declared())


def available_worlds() -> dict[str, WorldFactory]:
    """Every world by its name, those of other packages included; a built-in name wins. Each takes `Options`."""
    from ziggurat.ladder.world import installed_worlds
    from ziggurat.town.world import open_world as open_town
    from ziggurat.verse.world import open_world as open_verse

    return {**installed_worlds(), "town": open_town, "verse": open_verse}


def available_families() -> dict[str, Family]:
    """The model family of each `model_type` in config.json, those of other packages included."""
    from ziggurat.model.hub.families import by_model_type

    return by_model_type()


def available_formats() -> dict[str, Format]:
    """Every format of data files by its name, those of other packages included. docs/data.md shows each."""
    from ziggurat.corpus.sniff import formats

    return {format.name: format for format in formats()}
