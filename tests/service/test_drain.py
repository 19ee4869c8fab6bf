"""A real process that is told to end: by SIGTERM, with answers under way, here and elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, saying, wait_until
from tests.service.tiny import asking

from ziggurat.service.server import create_app

SCRIPT = """
import sys
from tests.service.fakes import FakeChat, saying
from ziggurat.service.http.listening import listen, run_app
from ziggurat.service.server import create_app
from ziggurat.service.upstream.servers import Upstream

pieces, drain_s, far = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
app = create_app(
    {"m": FakeChat(saying(*["a "] * pieces), delay_s=0.05)}, upstreams=[Upstream("far", f"{far}/v1")]
)
run_app(app, listen("127.0.0.1", 0), lambda at: print(at, flush=True), drain_s=drain_s)
"""


class Process:
    """A server of the model m, which says `pieces` words, 20 a second."""

    def __init__(self, pieces: int, drain_s: float, far: str = "http://127.0.0.1:9") -> None:
        command = [sys.executable, "-c", SCRIPT, str(pieces), str(drain_s), far]
        places = [str(Path(__file__).parents[2]), *sys.path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
        self.running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.running.stdout is not None
        self.address = self.running.stdout.readline().strip()

    def post(self, **changes: Any) -> httpx.Response:
        body = asking(**{"model": "m", "max_tokens": 2_000, **changes})
        return httpx.post(f"{self.address}/v1/chat/completions", json=body, timeout=30)

    def writes(self) -> int:
        told = httpx.get(f"{self.address}/admin/health").json()["models"]["m"]
        return int(told["running"])

    def stop(self) -> None:
        self.running.send_signal(signal.SIGTERM)

    def ends_within(self, seconds: float) -> bool:
        return self.running.wait(seconds) in (0, -signal.SIGTERM)


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    begun: list[Process] = []

    def one(*given: Any) -> Process:
        begun.append(Process(*given))
        return begun[-1]

    yield one
    for process in begun:
        process.running.kill()
        process.running.communicate()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def test_what_was_begun_is_finished_and_new_connections_hear_that_it_ends(
    start: Start, pool: ThreadPoolExecutor
) -> None:
    process = start(40, 20)
    told = pool.submit(process.post)
    wait_until(lambda: process.writes() == 1)
    process.stop()
    wait_until(lambda: httpx.get(f"{process.address}/ready").status_code == 503, within_s=1)
    assert httpx.get(f"{process.address}/health").status_code == 200, "it lives"
    for model in ("m", "far/x"):
        refused = process.post(model=model)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert "shutting down" in refused.json()["error"]["message"]
        assert refused.json()["error"]["code"] == "shutting_down"
    assert told.result(20).json()["choices"][0]["message"]["content"] == "a " * 40
    assert process.ends_within(3), "nothing is under way any more"


def test_what_takes_longer_than_the_drain_ends_with_an_error(
    start: Start, pool: ThreadPoolExecutor, serving: Serving
) -> None:
    far = FakeChat(saying(*["a "] * 1_000), delay_s=0.05)
    with serving(create_app({"x": far})) as elsewhere:
        process = start(1_000, 1, elsewhere)
        asked = [
            pool.submit(process.post, model=model, stream=stream)
            for model in ("m", "far/x")
            for stream in (True, False)
        ]
        wait_until(lambda: process.writes() == 2 and len(far.requests) == 2)
        process.stop()
        told = [one.result(10) for one in asked]
        assert process.ends_within(3)
        wait_until(lambda: far.closed == 2)  # it was hung up on
    for answer in told[::2]:
        *_, last, done = [line for line in answer.text.split("\n") if line.startswith("data: ")]
        assert done == "data: [DONE]"
        assert "shutting down" in json.loads(last.removeprefix("data: "))["error"]["message"]
    for answer in told[1::2]:
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert "shutting down" in answer.json()["error"]["message"]


def test_a_second_signal_ends_it_now(start: Start, pool: ThreadPoolExecutor) -> None:
    process = start(1_000, 30)
    told = pool.submit(process.post, stream=True)
    wait_until(lambda: process.writes() == 1)
    process.stop()
    wait_until(lambda: httpx.get(f"{process.address}/ready").status_code == 503)
    began = time.monotonic()
    process.stop()
    assert process.ends_within(5)
    assert time.monotonic() - began < 3
    with pytest.raises(httpx.RemoteProtocolError):
        told.result(10)
