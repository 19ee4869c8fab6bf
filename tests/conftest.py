"""What every test gets: few threads, no network, a clean environment, a $ZIGGURAT_HOME of its own.

`make test` runs two workers (pytest-xdist) of one thread each. A file stays on one worker; the longest begin first. A
test marked `alone` runs while the other worker waits.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import socket
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from tests import compiled_once
from tests.needs import IN_CI

import ziggurat  # noqa: F401 - before torch: it sets how idle threads wait
from ziggurat.product import passwords

MAX_THREADS = 2
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    if WORKER:  # it inherits what the main process set below
        os.environ[_name] = "1"
    else:  # read once, when torch is imported
        os.environ.setdefault(_name, str(min(MAX_THREADS, os.cpu_count() or 1)))
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

compiled_once.share()

HERE = Path(__file__).resolve().parent
CORPORA_BESIDE = HERE.parents[1] / "shared" / "corpora"
HOMES = itertools.count()
passwords.HASHER = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
"""A password costs what it must in the product (test_accounts.py) and in the programs that tests start, not here."""

LONGEST_FIRST = (
    "ladder/test_town",
    "api/test_extending",
    "verse/test_climb",
    "ladder/",
    "service/test_page",
    "service/product/test_programs",
    "cli/test_stages",
    "store/test_kills",
    "flywheel/",
    "stages/",
    "service/",
    "engine/",
    "model/",
)
"""Two workers end together when what takes longest begins first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(HERE).as_posix()
        return next(
            (i for i, start in enumerate(LONGEST_FIRST) if name.startswith(start)), len(LONGEST_FIRST)
        )

    items.sort(key=place)
    for_a_gpu = [item for item in items if item.get_closest_marker("cuda")]
    if for_a_gpu:
        import torch

        if not torch.cuda.is_available():
            for item in for_a_gpu:
                item.add_marker(pytest.mark.skip(reason="torch finds no GPU here"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test marked `alone` waits until the other worker's test has ended, and the next one waits for it.

    Two locks, on two files that are always there. Tests hold the second, shared or alone; the first is a queue, so
    that one that wants to be alone is not overtaken for ever. Waiting is outside the time-out of a test.
    """
    if WORKER is None:
        return (yield)
    with open(HERE / "conftest.py") as queue, open(HERE / "needs.py") as floor:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(floor, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(floor, fcntl.LOCK_UN)


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ZIGGURAT_") and name != "ZIGGURAT_DATA":
            monkeypatch.delenv(name)
    home = tmp_path_factory.getbasetemp() / f"home-{next(HOMES)}"  # mktemp would list all others each time
    home.mkdir()
    monkeypatch.setenv("ZIGGURAT_HOME", str(home))
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
