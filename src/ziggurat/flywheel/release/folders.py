"""The folder of a release: a copy of the model, read-only, and the settings that the next turn inherits."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ziggurat.errors import RunError
from ziggurat.files import read_json, replace_folder, sha256_file, to_json, write_json
from ziggurat.flywheel.release.releases import FORMAT, Release
from ziggurat.flywheel.turn import turns as turns_
from ziggurat.home import located, ziggurat_home
from ziggurat.lineage import MANIFEST_FORMAT, manifest_around
from ziggurat.places import model_folder, run_around
from ziggurat.settings import load_yaml


def releases_home() -> Path:
    return ziggurat_home() / "releases"


def copy(source: Path, name: str, row: Mapping[str, Any], origin: Path | None) -> str:
    """Copy the model into the release's folder, read-only; returns the hash of its weights.

    origin: the parent release, or for the first one the run itself: its settings are what the next turn inherits, so
    that learning rates do not shrink from turn to turn.
    """
    model, target = model_folder(source), releases_home() / name

    def write(aside: Path) -> None:
        shutil.copytree(model, aside / "model", ignore=shutil.ignore_patterns("optimizer*", "lock"))
        config, known = settings_of(origin), manifest_around(source) or lineage_beside(source)
        if config is not None and known is not None:
            shutil.copyfile(config, aside / "config.yaml")
            write_json(
                aside / "manifest.json", {**known, "finished_utc": known.get("finished_utc")}, MANIFEST_FORMAT
            )
        write_json(aside / "release.json", {key: row.get(key) for key in row}, FORMAT)
        for path in (aside / "model").iterdir():
            if path.suffix == ".safetensors":
                os.chmod(path, 0o444)

    releases_home().mkdir(parents=True, exist_ok=True)
    replace_folder(target, write)
    return turns_.weights_of(target)


def lineage_beside(folder: Path) -> dict[str, Any] | None:
    for place in (folder, folder.parent):
        if (place / "lineage.json").is_file():
            return read_json(place / "lineage.json", FORMAT)
    return None


def settings_of(folder: Path | None) -> Path | None:
    """The settings of the nearest run in a model's lineage with one optimizer; None for a model from elsewhere."""
    run = None if folder is None else run_around(folder)
    while run is not None:
        config = load_yaml(run / "config.yaml")
        train = config.get("train", config)
        if isinstance(train, dict) and "optimizer" in train:
            return run / "config.yaml"
        parent = (manifest_around(run) or {}).get("parent")
        above = located(str(parent["path"])) if isinstance(parent, dict) and parent.get("path") else None
        run = run_around(above) if above is not None and above.exists() else None
    return None


def files_hash(folder: Path) -> str:
    """SHA-256 over the names and whole contents of a model's files."""
    listed = [[path.name, sha256_file(path)] for path in sorted(folder.iterdir()) if path.is_file()]
    return hashlib.sha256(to_json(listed).encode()).hexdigest()


def check(release: Release) -> Path:
    """The folder of a release whose files (weights, configuration, tokenizer, template) are those that were signed.

    Raises RunError where they are gone or have changed.
    """
    folder = located(release.model)
    if not folder.is_dir():
        raise RunError(f"the folder of release {release.name} is gone ({folder}); restore it from a backup.")
    if files_hash(folder / "model") != release.files:
        raise RunError(
            f"the files of release {release.name} are not those that were signed; it does not serve."
        )
    return folder
