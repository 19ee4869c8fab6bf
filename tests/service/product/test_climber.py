"""A climb beside the server: what it makes is served as it appears, and it yields to chats."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.service.fakes import FakeChat
from tests.service.product.conftest import pieces
from tests.service.test_swap import save_run

from ziggurat.errors import RunError, UsageError
from ziggurat.service.http.limits import Limits
from ziggurat.service.models.library import Library
from ziggurat.service.models.shelf import Shelf
from ziggurat.service.options import ServeOptions
from ziggurat.service.product.climber import Climber, confine, threads_of, to_talk_to
from ziggurat.service.server import serve

SPIN = """
import threading
def spin():
    while True:
        pass
threads = [threading.Thread(target=spin, daemon=True) for _ in range(2)]
[thread.start() for thread in threads]
print("spinning", flush=True)
threads[0].join()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path))
    return tmp_path


def test_what_a_ladder_has_to_talk_to(home: Path) -> None:
    save_run(home, "town/pretrain-1", 1)
    save_run(home, "town/sft-1", 2)
    save_run(home, "town/reward-1", 3)
    assert [name for name, _ in to_talk_to("town")] == ["town/pretrain-1", "town/sft-1"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be moved here")
def test_yielding_moves_every_thread_to_one_core_and_back() -> None:
    process = subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        threads = list(threads_of(process.pid))
        assert len(threads) >= 3
        confine(process.pid, True)
        assert {len(os.sched_getaffinity(thread)) for thread in threads} == {1}
        confine(process.pid, False)
        assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {
            frozenset(os.sched_getaffinity(0))
        }
    finally:
        process.kill()
        process.communicate()


def test_a_climb_without_a_plan_is_refused(home: Path) -> None:
    climber = Climber(Shelf({}, {}, (), Limits()), Library())
    with pytest.raises(RunError, match="no climb called nothing"):
        climber.begin("nothing")


def test_a_climb_that_cannot_be_planned_ends_the_server_with_its_status(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The process goes on: it once sent SIGTERM to itself, and a shell saw 143 instead of the climb's status."""
    climbs = {"x": ["--world", str(home / "nowhere"), "--name", "x"]}
    assert serve(ServeOptions(port=0, climbs=climbs)) == UsageError.exit_code
    assert "neither a folder nor a known world" in capfd.readouterr().err


async def _watched(climber: Climber, shelf: Shelf, name: str) -> None:
    import asyncio

    watching = asyncio.create_task(climber.watch())
    deadline = time.monotonic() + 30
    while name not in {held.card.name for held in shelf.all()}:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    watching.cancel()


def test_a_stage_is_served_when_its_model_stands(home: Path) -> None:
    import asyncio

    shelf = Shelf({"fake": FakeChat(pieces(1))}, {}, (), Limits())
    climber = Climber(shelf, Library())
    climber.ladders.add("town")
    save_run(home, "town/pretrain-1", 1)
    asyncio.run(_watched(climber, shelf, "town/pretrain-1"))
    assert shelf["town/pretrain-1"].card.stage == "pretrain"
    shelf.close()
