"""The scanner's exercise beside a linter: ruff's rules on security (flake8-bandit) find some faults, and not others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ziggurat.exam.generators.code_faults import FAULTS, rows
from ziggurat.exam.item import Found, Mark
from ziggurat.exam.metrics import binary


def test_a_linter_is_a_baseline_with_gaps(tmp_path: Path) -> None:
    """ruff finds 9 of 14 faults: those that a pattern shows. It misses what needs understanding: path traversal, script
    injection, a leaking comparison, a missing check of the owner, an open redirect. It flags one corrected function,
    which starts a process: precision 9/10, recall 9/14, so that F1 is 18/24."""
    exercise = rows(2 * len(FAULTS), 0)
    for row in exercise:
        (tmp_path / f"{row['id']}.py").write_text(row["code"])
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "S",
        "--output-format",
        "json",
    ]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    flagged = {Path(one["filename"]).stem for one in json.loads(done.stdout)}
    found = [
        Found(
            row["id"],
            "",
            row["pair"],
            "",
            ("",),
            Mark({}, detail={"picked": 0 if row["id"] in flagged else 1, "right": row["answer"]}),
        )
        for row in exercise
    ]
    figures = binary.summary(found, {})
    missed = {row["fault"] for row in exercise if row["answer"] == 0 and row["id"] not in flagged}
    assert missed == {"CWE-22", "CWE-79", "CWE-208", "CWE-639", "CWE-601"}
    assert {row["fault"] for row in exercise if row["answer"] == 1 and row["id"] in flagged} == {"CWE-78"}
    values = {name: figures[name].value for name in ("precision", "recall", "f1")}  # type: ignore[union-attr]
    assert values == pytest.approx({"precision": 9 / 10, "recall": 9 / 14, "f1": 18 / 24})
