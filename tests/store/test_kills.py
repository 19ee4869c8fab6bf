"""`kill -9` under write load loses nothing that was acknowledged and corrupts nothing. benchmarks/ has 200 kills."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.stores import Databases

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "store_kills.py"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_kills_lose_nothing(databases: Databases) -> None:
    kills = 20 if databases.kind == "sqlite" else 5
    command = [sys.executable, str(SCRIPT), "--kills", str(kills), "--store", databases.fresh()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["kills"], found["lost"]) == (kills, 0)
    assert found["acknowledged"] > 2 * kills
    assert found["reaped"] > 0
