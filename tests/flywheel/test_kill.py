"""Kill -9 of the worker and of its phase: the next worker goes on, and the candidate has the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.stores import Clock

from ziggurat.files import sha256_file
from ziggurat.flywheel.turn import turns
from ziggurat.flywheel.work import jobs
from ziggurat.flywheel.work.worker import LEASE_S, Worker
from ziggurat.home import located
from ziggurat.product import people
from ziggurat.store.store import Store

QUICK: dict[str, Any] = {
    "train.dtype": "fp32",
    "train.threads": 1,
    "train.lr_adam": 1e-3,
    "train.optimizer": "adamw",
    "train.checkpoint_every_steps": 2,
    "train.steps": 24,
    "batch_comparisons": 4,
}


def wait(what: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def phases_of(worker: int) -> list[int]:
    """The processes that a worker began."""
    try:
        text = Path(f"/proc/{worker}/task/{worker}/children").read_text()
    except OSError:
        return []
    return [int(one) for one in text.split()]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_turn_killed_in_its_phase_ends_in_the_same_bytes(
    tmp_path: Path, letters: Path, ziggurat_home: Path
) -> None:
    clock = Clock()
    store = Store.open(tmp_path / "ziggurat.db", clock=clock)
    owner = people.local_principal(store)

    def start(name: str) -> turns.Turn:
        return turns.start(
            store,
            owner,
            files={"comparisons": [letters / "learn.jsonl"]},
            base=str(letters / "model"),
            trainable="all",
            settings={"dpo": QUICK},
            name=name,
        )

    killed = start("killed")
    command = [
        sys.executable,
        "-m",
        "ziggurat",
        "flywheel",
        "work",
        "--once",
        "--store",
        str(tmp_path / "ziggurat.db"),
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as worker:
        wait(lambda: list((ziggurat_home / "runs" / "flywheel").glob("dpo-1/checkpoints/step-*/COMPLETE")))
        phases = phases_of(worker.pid)
        worker.kill()
        for one in phases:
            os.kill(one, signal.SIGKILL)
    assert len(phases) == 1
    job = jobs.get(store, owner.workspace_id, str(killed.job_id))
    assert job.state == "running"  # nobody could say that it ended
    clock.move(seconds=LEASE_S + 1)
    assert Worker(store).once()
    whole = start("whole")
    assert Worker(store).once()
    found = [turns.get(store, owner.workspace_id, one.id) for one in (killed, whole)]
    assert [one.state for one in found] == ["candidate", "candidate"], [one.error for one in found]
    folders = [turns.model_folder(located(str(one.candidate))) for one in found]
    assert folders[0] != folders[1]
    assert sha256_file(folders[0] / "model.safetensors") == sha256_file(folders[1] / "model.safetensors")
    said = [one.message for one in jobs.events(store, str(killed.job_id))]
    assert "The job goes on where it stopped." in said
    store.close()
