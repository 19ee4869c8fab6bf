"""A server returns freed memory to the system while it runs."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, contextlib, os, psutil
from starlette.testclient import TestClient
from tests.service.fakes import FakeChat, echo, wait_until
from ziggurat.service.models import memory
from ziggurat.service.server import create_app

resident = lambda: psutil.Process().memory_info().rss / 2**20
blocks = [os.urandom(100_000) for _ in range(3_000)]  # 286 MiB in blocks that glibc keeps when they are freed
top = os.urandom(100_000)  # above all of them, so that glibc cannot shrink its heap from the end
full = resident()
del blocks
freed = resident()
memory.EVERY_S = 0.05
with TestClient(create_app({"m": FakeChat(echo)})):
    with contextlib.suppress(AssertionError):
        wait_until(lambda: resident() < full - 200)
    print(full - freed, full - resident(), len(top))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators return memory by themselves")
def test_a_running_server_returns_freed_memory() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    by_itself, with_the_server, _ = map(float, ran.stdout.split())
    assert by_itself < 50, "the allocator alone returns it: this test would prove nothing"
    assert with_the_server > 200
