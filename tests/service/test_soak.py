"""Some seconds of everything at once against a real server leave nothing behind; the hour: benchmarks/soak.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ziggurat.evaluation.server_process import serving
from ziggurat.evaluation.serving import write_random


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "soak.py"
    spec = importlib.util.spec_from_file_location("soak_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_nothing_is_left_after_waves_of_everything(soak: ModuleType, tmp_path: Path) -> None:
    write_random(tmp_path, soak.TINY)
    with serving([tmp_path]) as server:
        found = soak.soak(server, 0.0, wave_s=1.0)
    assert len(found["rests"]) == 4
    assert found["left"] == {}
    assert {"chat", "stream", "cut off", "form", "embedding", "long prompt", "no JSON"} <= set(found["sent"])
    assert found["rests"][-1]["tasks"] > 0
    assert found["rests"][-1]["threads"] < 64  # 40 of the pool that reads requests, and the model's
    assert found["rests"][-1]["rss_mib"] < 900  # a growth of some MiB an hour takes the long one to see


def test_a_slope_has_an_interval(soak: ModuleType) -> None:
    """A MiB a minute is 60 an hour; noise of a MiB around nothing is told apart from it."""
    seconds = [60.0 * i for i in range(20)]
    slope, margin = soak.slope_per_hour(seconds, [300 + i for i in range(20)])
    assert slope == pytest.approx(60)
    assert margin == pytest.approx(0, abs=1e-6)
    slope, margin = soak.slope_per_hour(seconds, [300 + (-1) ** i for i in range(20)])
    assert abs(slope) < margin < 30
