"""A process of a job ends when its worker does, also below a shell that ignores Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ziggurat.flywheel.work.children import run_child
from ziggurat.flywheel.work.worker import Stopped


def test_a_process_is_interrupted_where_the_server_ignores_ctrl_c(tmp_path: Path) -> None:
    """`nohup ziggurat serve &` ignores SIGINT, and a process inherits that."""
    stop = threading.Event()
    work: Any = SimpleNamespace(stop=stop, check=lambda: None, say=lambda *a, **k: None)
    log = tmp_path / "log"

    def begun() -> None:
        if log.read_text():
            stop.set()

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        at = time.monotonic()
        with pytest.raises(Stopped):
            run_child(work, ["-uc", "import time; print('on'); time.sleep(25)"], log=log, watch=begun)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - at < 20
    assert "KeyboardInterrupt" in log.read_text()
