"""The folder of models from elsewhere: names, what is there, and a model put in its place as a whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from ziggurat.errors import UsageError, did_you_mean
from ziggurat.files import check_folder, fsync_tree
from ziggurat.places import models_home

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def folder_of(name: str) -> Path:
    """Where a model of this name is kept. UsageError for a name that is not one of letters, digits, ".", "-", "_"."""
    if not NAME.fullmatch(name):
        raise UsageError(f'"{name}" cannot name a model; use letters, digits, ".", "-" and "_".')
    return models_home() / name


def installed() -> list[Path]:
    """The folders of all models, by name."""
    return sorted(path.parent for path in models_home().glob("*/config.json"))


def found(name: str) -> Path:
    """The folder of a model that is here. UsageError, with the nearest name, where it is not."""
    folder = folder_of(name)
    if not (folder / "config.json").is_file():
        names = [path.name for path in installed()]
        hint = did_you_mean(name, names) or " `ziggurat models list` shows those that are here."
        raise UsageError(f'There is no model "{name}" in {models_home()}.{hint}')
    return folder


def check_free(name: str, *, overwrite: bool) -> Path:
    """The folder for a new model, before any work. UsageError if it is taken or cannot be written to."""
    folder = folder_of(name)
    if folder.exists() and not overwrite:
        raise UsageError(f"{folder} is there already; give another --name, or replace it with --overwrite.")
    check_folder(folder)
    return folder


def put(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a hidden folder beside `folder`, then rename it; after an error nothing is in place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        write(aside)
        fsync_tree(aside)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove(name: str) -> Path:
    """Remove a model with its files."""
    folder = found(name)
    shutil.rmtree(folder)
    return folder
