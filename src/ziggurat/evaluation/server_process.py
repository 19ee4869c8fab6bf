"""A real server in a process of its own, as a user starts it: for whoever measures it from outside."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from ziggurat.errors import ZigguratError

START_S, STOP_S = 120.0, 40.0


class ServerProcess:
    """`ziggurat serve` that can be reached at `address`; `process` tells what it costs."""

    def __init__(self, process: psutil.Process, address: str) -> None:
        self.process, self.address = process, address

    @property
    def model(self) -> str:
        """The id of the first model."""
        return str(httpx.get(f"{self.address}/v1/models").json()["data"][0]["id"])

    def cpu_s(self) -> float:
        """Seconds of processor time so far, over all threads."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def serving(runs: Sequence[str | Path], *options: str) -> Iterator[ServerProcess]:
    """Start a server on a free port of loopback, wait until it is ready, and stop it as an operator would."""
    command = [sys.executable, "-m", "ziggurat", "serve", *map(str, runs), "--port", "0", *options]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield ServerProcess(psutil.Process(process.pid), _address(process))
        except ZigguratError as error:
            log.seek(0)
            said = log.read().decode(errors="replace").strip()[-2000:]
            raise ZigguratError(f"{error} Its log: {said or '(empty)'}") from None
        finally:
            process.terminate()
            try:
                process.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _address(process: subprocess.Popen[str]) -> str:
    """What the server says it can be reached at, once it is ready there."""
    assert process.stdout is not None
    for line in process.stdout:
        if "http://" not in line:
            continue
        address = "http://" + line.split("http://")[1].split()[0]
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if httpx.get(f"{address}/ready").status_code == 200:
                return address
            time.sleep(0.01)
    raise ZigguratError("the server did not start.")
