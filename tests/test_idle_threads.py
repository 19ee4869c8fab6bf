"""An idle thread of the compute pool sleeps instead of taking a core from other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

import ziggurat

PROGRAM = """
import ziggurat
import time, torch
torch.set_num_threads(2)
x, used_s = torch.randn(1_000_000), 0.0
for _ in range(50):
    x.exp()
    before = time.process_time()
    time.sleep(0.02)
    used_s += time.process_time() - before
print(used_s)
"""
SLEPT_S = 50 * 0.02
NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def run(program: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="the figures are libgomp's")
def test_threads_that_wait_do_not_use_the_processor() -> None:
    assert float(run(PROGRAM, OMP_NUM_THREADS="2")) < 0.05 * SLEPT_S


@pytest.mark.parametrize(
    "chosen", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "200"}]
)
def test_what_the_user_has_set_is_kept(chosen: Mapping[str, str]) -> None:
    program = f"import os, ziggurat; print({{k: os.environ[k] for k in {NAMES} if k in os.environ}})"
    assert run(program, **chosen) == str(dict(chosen))
    assert run(program) == str(ziggurat.IDLE_THREADS)
