"""The files around the code agree with one another."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from tests import needs

ROOT = Path(__file__).resolve().parents[1]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def project() -> dict[str, list[str]]:
    loaded = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"run": loaded["dependencies"], **loaded["optional-dependencies"]}


def names(project: dict[str, list[str]]) -> set[str]:
    return {canonical(re.split(r"[<>=!~\[; ]", line)[0]) for lines in project.values() for line in lines}


def test_every_dependency_is_pinned_exactly(project: dict[str, list[str]]) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert names(project) <= pins.keys()
    assert pins["torch"] == "2.13.0"
    assert not [version for version in pins.values() if "+" in version], (
        "a local version is on no other index"
    )


def documented() -> dict[str, tuple[str, str]]:
    """Package to (reason, licence), from the tables of docs/dependencies.md."""
    rows = {}
    for line in (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells[0] != "package" and not cells[0].startswith("---"):
            packages, reason, licence = cells
            rows |= {canonical(name): (reason, licence) for name in packages.split(", ")}
    return rows


def of_the_page() -> set[str]:
    """The packages that build `web/`, and those that are bundled into it."""
    package = json.loads((ROOT / "web" / "package.json").read_text(encoding="utf-8"))
    return set(package["devDependencies"])


def test_every_dependency_has_a_row_with_its_reason_and_licence(project: dict[str, list[str]]) -> None:
    rows, page = documented(), of_the_page()
    assert names(project) - rows.keys() == set(), "a dependency without a row"
    assert rows.keys() - names(project) - {canonical(name) for name in page} == set(), (
        "a row for what is no dependency"
    )
    said = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    assert [name for name in page if not name.startswith("@types/") and name not in said] == []
    assert [name for name, (reason, licence) in rows.items() if not reason or not licence] == []


def test_make_says_what_it_can_do() -> None:
    done = subprocess.run(
        ["make", "--silent", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True
    )
    for target in ("demo", "test", "lint", "fix"):
        assert f"make {target} " in done.stdout


def test_an_old_python_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A stand-in that answers as Python 3.9 would: the version test fails, -V prints."""
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    arguments = ["make", "--silent", "-C", str(ROOT), "setup", f"PYTHON={old}", f"VENV={tmp_path}/venv"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Ziggurat needs Python 3.11 or newer, this is Python 3.9.2" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_in_ci_a_package_that_is_missing_fails_its_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "export CI=true" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    monkeypatch.setattr(needs, "IN_CI", False)
    with pytest.raises(pytest.skip.Exception):
        needs.needs("no_such_client")
    monkeypatch.setattr(needs, "IN_CI", True)
    with pytest.raises(ModuleNotFoundError):
        needs.needs("no_such_client")
    own = {"needs.py", Path(__file__).name}
    asking = [path for path in (ROOT / "tests").rglob("*.py") if path.name not in own]
    assert not [path for path in asking if "importorskip" in path.read_text(encoding="utf-8")]
