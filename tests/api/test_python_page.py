"""The examples of docs/python.md, in one process, in order."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
BLOCKS = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    code = "\n".join(BLOCKS.findall(PAGE.read_text(encoding="utf-8")))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=580
    )
    assert done.returncode == 0, done.stderr
    assert "needs --base RUN (base= in Python)" in done.stdout
    assert 'Did you mean "steps"?' in done.stdout
    assert (tmp_path / "runs" / "ppo-1" / "model" / "config.json").is_file()
    assert len((tmp_path / "to_rank.jsonl").read_text().splitlines()) >= 1
