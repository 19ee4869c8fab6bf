"""A climb beside the server: a process of its own, whose models are served as they appear.

    begin(ladder)       `ziggurat ladder ... --no-serve`, at low priority
    watch()             every LOOK_S: a new checkpoint or model is loaded; while somebody chats, the climb yields

Yielding takes cores away from the climb's threads and gives them back QUIET_S after the last answer. The climb keeps
its number of threads, on which its bytes depend; it only gets slower. Only Linux can move threads; elsewhere the low
priority has to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import anyio.to_thread

from ziggurat.checkpoint_folders import whole_checkpoints
from ziggurat.console import err
from ziggurat.errors import RunError, ZigguratError
from ziggurat.files import is_locked
from ziggurat.flywheel.work.children import RUNNING
from ziggurat.places import holds_model, ladder_folder
from ziggurat.runs import Run
from ziggurat.service.models.library import Library
from ziggurat.service.models.shelf import Shelf
from ziggurat.stages.stage import declared

log = logging.getLogger("ziggurat.service")

LOOK_S = 1.0
YIELD_LOOK_S = 0.1
QUIET_S = 3.0
NICE = 10
"""Of 19; the server's own threads have 0."""
WAIT_S = 60.0
"""For a climb to save its state when the server ends."""


class Climber:
    """The climbs that this server has begun or looks after."""

    def __init__(self, shelf: Shelf, library: Library) -> None:
        self.shelf, self.library = shelf, library
        self.ladders: set[str] = set()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._loaded: dict[str, Path] = {}  # name -> the folder that is served under it
        self._refused: set[Path] = set()
        self._chatted = -QUIET_S
        self._yielding = False

    # --- the process ----------------------------------------------------------------------------------------------

    def begin(self, ladder: str, *options: str) -> None:
        """Climb in a process of its own, with these options of `ziggurat ladder`; without any, go on with a climb.

        Raises:
            RunError: there is nothing to go on with, or another process climbs already.
        """
        folder = ladder_folder(ladder)
        if not options and not (folder / "plan.json").is_file():
            raise RunError(
                f"There is no climb called {ladder}; plan one with `ziggurat ladder --name {ladder}`."
            )
        if is_locked(folder) or self._running(ladder):
            raise RunError(f"{ladder} is being climbed already.")
        command = [sys.executable, "-m", "ziggurat", "ladder", *(options or ("--name", ladder, "--resume"))]
        self._processes[ladder] = subprocess.Popen(
            [*command, "--no-serve"], stdin=subprocess.DEVNULL, preexec_fn=_be_nice
        )
        self.ladders.add(ladder)

    @property
    def running(self) -> list[str]:
        """The ladders whose process runs, those that are being planned among them."""
        return [ladder for ladder in self._processes if self._running(ladder)]

    @property
    def refused(self) -> int | None:
        """The exit status of a climb that could not be planned, for which the server ends; None if there is none."""
        for ladder, process in self._processes.items():
            status = process.poll()
            if status not in (None, 0) and not (ladder_folder(ladder) / "plan.json").is_file():
                return status
        return None

    def _running(self, ladder: str) -> bool:
        process = self._processes.get(ladder)
        return process is not None and process.poll() is None

    def close(self) -> None:
        """Interrupt the climbs that this server began, and wait until they have saved."""
        running = [process for process in self._processes.values() if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + WAIT_S
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))

    # --- what it makes --------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Until it is cancelled."""
        yielding = asyncio.create_task(self._yield_to_chats())
        try:
            while True:
                try:
                    await self._load_new()
                except Exception:
                    log.exception("the climb's models could not be looked at; they are looked at again")
                await asyncio.sleep(LOOK_S)
        finally:
            yielding.cancel()

    async def _load_new(self) -> None:
        for ladder in sorted(self.ladders):
            for name, folder in await anyio.to_thread.run_sync(partial(to_talk_to, ladder)):
                if self._loaded.get(name) == folder or folder in self._refused:
                    continue
                try:
                    card, model = await anyio.to_thread.run_sync(partial(self.library.stage, name, folder))
                except (ZigguratError, OSError) as error:  # a checkpoint may be removed while it is read
                    log.warning("%s is not served: %s", name, error)
                    self._refused.add(folder)
                    continue
                if name in {held.card.name for held in self.shelf.all()}:
                    self.shelf.swap(card, model)
                else:
                    self.shelf.add(card, model)
                    err.print(f"{name} can be talked to now.")
                self._loaded[name] = folder

    # --- yielding -------------------------------------------------------------------------------------------------

    async def _yield_to_chats(self) -> None:
        while True:
            await asyncio.sleep(YIELD_LOOK_S)
            if any(figures["running"] or figures["waiting"] for figures in self.shelf.stats().values()):
                self._chatted = time.monotonic()
            should = time.monotonic() - self._chatted < QUIET_S
            if should != self._yielding:
                self._yielding = should
                climbs = [process.pid for process in self._processes.values() if process.poll() is None]
                for pid in (*climbs, *RUNNING):
                    await anyio.to_thread.run_sync(partial(confine, pid, should))

    @property
    def yielding(self) -> bool:
        """Whether the climbs have given cores away now."""
        return self._yielding and any(process.poll() is None for process in self._processes.values())


def to_talk_to(ladder: str) -> list[tuple[str, Path]]:
    """(name, folder) of each stage's newest model: the finished one, else its last complete checkpoint."""
    found = []
    for stage, one in declared().items():
        if not one.talks:
            continue
        for manifest in sorted(ladder_folder(ladder).glob(f"{stage}-*/manifest.json")):
            run = Run.open(manifest.parent)
            if holds_model(run.model_path):
                folder: Path | None = run.path
            else:
                folder = next(reversed(whole_checkpoints(run.checkpoints_path)), None)
            if folder is not None:
                found.append((f"{ladder}/{run.path.name}", folder))
    return found


def _be_nice() -> None:
    os.nice(NICE)


def confine(pid: int, small: bool) -> None:
    """Let all threads of a process and of its children run on one core (`small`), or on all that this process has."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    allowed = set(cores[-1:]) if small else set(cores)
    for thread in threads_of(pid):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, allowed)


def threads_of(pid: int) -> Iterable[int]:
    for tasks in Path(f"/proc/{pid}/task").glob("*"):
        yield int(tasks.name)
        with contextlib.suppress(OSError):
            for child in (tasks / "children").read_text().split():
                yield from threads_of(int(child))
