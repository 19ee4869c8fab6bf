"""Where a model comes from: parent, data, code, seed, machine. Every run's manifest.json holds it."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ziggurat.cards import UNKNOWN, read_card
from ziggurat.files import read_json, sha256_file
from ziggurat.home import portable
from ziggurat.version import __version__

MANIFEST_FORMAT = 2
"""Version of manifest.json and of the run folder around it: the names of its files, the rows of metrics.jsonl.
Version 1 has absolute paths also for what is in $ZIGGURAT_HOME."""

WEIGHTS = ("*.safetensors", "*.bin")


def data_entry(path: str | Path, count: int) -> dict[str, Any]:
    """The entry of one data file in a manifest."""
    return {"path": portable(path), "sha256": sha256_file(path), "records": count}


def base_manifest(
    stage: str, *, parent: Path | None, data: list[dict[str, Any]], seed: int
) -> dict[str, Any]:
    """The lineage that every stage records before its first step."""
    return {
        "stage": stage,
        "parent": None if parent is None else parent_entry(parent),
        "data": data,
        "seed": seed,
        "code": code_version(),
        "machine": machine(),
    }


def parent_entry(folder: Path) -> dict[str, Any]:
    """The model that a run starts from: its folder, the hashes of its weights, and its own lineage to the first run."""
    folder = Path(folder).resolve()
    entry: dict[str, Any] = {"path": portable(folder)}
    for place in (folder, folder / "model"):
        weights = sorted(file for pattern in WEIGHTS for file in place.glob(pattern))
        if weights:
            entry["weights_sha256"] = {file.name: sha256_file(file) for file in weights}
            break
    known = manifest_around(folder)
    if known is not None:
        entry |= {key: known.get(key) for key in ("stage", "seed", "data", "parent", "answer_tokens")}
    card = read_card(folder)
    if card is not None and card.licence != UNKNOWN:
        entry["licence"] = card.licence
    return entry


def manifest_around(folder: Path) -> dict[str, Any] | None:
    """The manifest of the run that holds a model: a run, its model/, or checkpoints/step-n/policy inside it."""
    for above in (folder, *folder.parents[:3]):
        if (above / "manifest.json").is_file():
            return read_json(above / "manifest.json", MANIFEST_FORMAT)
    return None


@cache
def code_version() -> dict[str, Any]:
    """The package version and, in a checkout, the commit and whether tracked files differ from it."""
    root = Path(__file__).resolve().parents[2]
    version: dict[str, Any] = {"ziggurat": __version__, "commit": None, "dirty": None}
    if (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        status = _git(root, "status", "--porcelain", "--untracked-files=no")
        version |= {"commit": commit or None, "dirty": None if status is None else bool(status)}
    return version


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """The machine and the versions that a run is computed with."""
    import psutil

    return {
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        **{name: installed_version(name) for name in ("torch", "numpy", "tokenizers")},
    }


def usable_cores() -> int:
    """Cores that this process may use: its affinity, limited by a container's quota (cgroup v2)."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass
    return cores


def cpu_name() -> str:
    """The processor's name in /proc/cpuinfo."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def installed_version(package: str) -> str | None:
    """A package's version without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
