"""A phase of a job as a process of its own, so that the server that started it stays responsive.

    run_child(work, ["-m", "ziggurat.flywheel.turn.phase", ...], log=folder / "phase-1.log", locked=run_folder)

The process outlives a worker that is killed. Whoever takes the job then waits for it instead of beginning a second one:
a run locks its folder (`files.take_lock`), and `locked` names that folder. A worker that ends properly interrupts the
process, which saves its state first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ziggurat.errors import RunError
from ziggurat.files import is_locked
from ziggurat.flywheel.work.worker import Stopped, Work

LOOK_S = 0.2
SAVING_S = 60.0
"""A process that was interrupted may take so long to save; then it is killed, and goes on from its last checkpoint."""
DEATHS = 3
"""So often a process may be killed from outside (memory ran out, say) before the job fails."""
NICE = 10
SHOWN = 400
RUNNING: set[int] = set()
"""Processes that compute now; the server takes cores away from them while somebody chats."""


def run_child(
    work: Work,
    arguments: Sequence[str],
    *,
    log: Path,
    locked: Path | None = None,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Run `python arguments` to its end. `watch` is called now and then, to report progress.

    Raises:
        Stopped: the worker ends or the job was cancelled; the process has saved its state.
        RunError: the process failed, with its sentence.
    """
    for _ in range(DEATHS):
        _wait_for_orphan(work, locked, watch)
        status = _once(work, arguments, log, watch)
        if status == 0:
            return
        if status > 0:
            raise RunError(_sentence(log) or f"the process ended with status {status}; see {log}.")
        work.say(
            f"The process was killed by signal {-status}; it goes on from its last checkpoint.", level="warn"
        )
    raise RunError(f"the process was killed {DEATHS} times; the machine may lack memory; see {log}.")


def _once(work: Work, arguments: Sequence[str], log: Path, watch: Callable[[], None]) -> int:
    work.check()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C at the server reaches it through the worker alone
            preexec_fn=_be_nice,
        )
    RUNNING.add(process.pid)
    try:
        while (status := process.poll()) is None:
            if work.stop.wait(LOOK_S):
                _interrupt(process)
                raise Stopped
            watch()
        return status
    except KeyboardInterrupt:  # Ctrl-C in `ziggurat flywheel`: the phase saves first
        _interrupt(process)
        raise
    finally:
        RUNNING.discard(process.pid)
        if process.poll() is None:
            process.kill()
            process.wait()


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(SAVING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for_orphan(work: Work, locked: Path | None, watch: Callable[[], None]) -> None:
    """A process that an earlier worker began may still run: it is waited for."""
    said = False
    while locked is not None and locked.is_dir() and is_locked(locked):
        if not said:
            work.say("A process of an earlier worker still runs; it is waited for.")
            said = True
        if work.stop.wait(LOOK_S):
            raise Stopped
        watch()
        time.sleep(0)


def _sentence(log: Path) -> str:
    """The sentence with which a command ended (`Error: ...`), or the last line of its traceback."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        if line.startswith("Error: "):
            return line.removeprefix("Error: ")[:SHOWN]
    return lines[-1][:SHOWN] if lines else ""


def _be_nice() -> None:
    os.nice(max(0, NICE - os.nice(0)))
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # a server in a shell's background ignores it, and would hand that on
