"""`ziggurat serve --accounts` and `ziggurat flywheel ...` as processes of their own, in one $ZIGGURAT_HOME."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

STARTS_WITHIN_S = 180.0
TOKEN = re.compile(r"with this token, once: (\S+)")
ADDRESS = re.compile(r"http://\S+")


class CommandFailed(Exception):
    """A command ended with a status other than 0. The message holds what it wrote."""

    def __init__(self, arguments: Sequence[str], status: int, said: str) -> None:
        super().__init__(f"ziggurat {' '.join(arguments)}: status {status}\n{said[-3000:]}")
        self.status, self.said = status, said


@dataclass
class Server:
    """A running server. Its set-up token is there at the first start of a home only."""

    runs: Sequence[str]
    home: Path
    more: Sequence[str] = ()
    address: str = ""
    token: str = ""
    said: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] = field(init=False)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ziggurat", "serve", *self.runs, "--accounts", "--port", "0", *self.more],
            env=environment(self.home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        up = threading.Event()
        threading.Thread(target=self._read, args=(up,), daemon=True).start()
        if not up.wait(STARTS_WITHIN_S) or not self.address:
            self.stop()
            raise CommandFailed(["serve", *self.runs], self.process.returncode or 1, "".join(self.said))

    def _read(self, up: threading.Event) -> None:
        """Its output to the end, so that the pipe never fills. The token may be broken over two lines."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if "Chat at" in line and (found := ADDRESS.search(line)):
                together = " ".join(" ".join(self.said).split())
                if token := TOKEN.search(together):
                    self.token = token.group(1)
                self.address = found.group(0)
                up.set()
        up.set()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "ZIGGURAT_HOME": str(home), "COLUMNS": "400", "NO_COLOR": "1"}


def command(home: Path, *arguments: str, allowed: Sequence[int] = (0,)) -> str:
    """Run a command of ziggurat to its end; what it printed. Raises CommandFailed where its status is not `allowed`."""
    done = subprocess.run(
        [sys.executable, "-m", "ziggurat", *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in allowed:
        raise CommandFailed(arguments, done.returncode, done.stdout + done.stderr)
    return done.stdout


def begin(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command that is to be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "ziggurat", *arguments],
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def kill(process: subprocess.Popen[str]) -> int:
    """`kill -9` of the process and of all that it started, also in sessions of their own; how many were killed."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        process.wait()
        return 0
    killed = 0
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()
            killed += 1
    process.wait()
    psutil.wait_procs(family, timeout=30)
    return killed
