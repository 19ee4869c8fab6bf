"""What every test stands on: few threads, no network, a clean environment, a $ZIGGURAT_HOME of its own."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.needs import IN_CI

import ziggurat  # noqa: F401 - before torch: it sets how idle threads wait

MAX_THREADS = 2
for _name in (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
):  # read once, when torch is imported
    os.environ.setdefault(_name, str(min(MAX_THREADS, os.cpu_count() or 1)))
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

CORPORA_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "corpora"


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ZIGGURAT_") and name != "ZIGGURAT_DATA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only loopback: a test that reaches further is a bug in the product (nothing is downloaded at run time)."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if not (host.startswith("127.") or host in ("::1", "localhost")):
                raise RuntimeError(f"a test tried to reach {host}; tests and product use loopback only")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def ziggurat_home() -> Path:
    """This test's own $ZIGGURAT_HOME."""
    return Path(os.environ["ZIGGURAT_HOME"])


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real corpora: $ZIGGURAT_DATA, or ../shared/corpora beside the checkout."""
    given = os.environ.get("ZIGGURAT_DATA")
    folder = Path(given).expanduser() if given else CORPORA_BESIDE
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}; set ZIGGURAT_DATA to the folder that holds shakespeare.txt")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium for the tests marked `browser`."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("no Chromium here, so no browser test ran; on Debian: apt install chromium")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """In CI a browser test that is skipped is a browser test that failed."""
    report = yield
    if IN_CI and report.skipped and item.get_closest_marker("browser"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where browser tests must run: {report.longrepr}"
    return report
