"""What computes beside a model's thread leaves no threads of OpenMP behind: they would slow the model's steps."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from tests.service.fakes import FakeChat, echo, wait_until

from ziggurat.engine.params import SamplingParams
from ziggurat.records import Message
from ziggurat.service.models import worker as workers
from ziggurat.service.models.apart import apart
from ziggurat.service.models.tickets import Ticket
from ziggurat.service.models.worker import ModelWorker

SCRIPT = """
import psutil, time, torch
from ziggurat.service.models.apart import apart
torch.set_num_threads(2)
sums = lambda: torch.ones(1 << 22).add_(1).sum().item()
count = psutil.Process().num_threads
before = count()
assert apart(sums) == 2 * (1 << 22)
deadline = time.monotonic() + 5  # they end a moment later
while (after_apart := count()) > before and time.monotonic() < deadline:
    time.sleep(0.01)
sums()
time.sleep(0.1)
print(before, after_apart, count())
"""


def test_threads_end_with_the_work_and_stay_without_it() -> None:
    told = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, after_apart, after_main = map(int, told.stdout.split())
    assert after_apart == before
    assert after_main > before  # what the main thread computes itself leaves its helpers


def test_what_the_work_raises_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        apart(lambda: 1 / 0)


def test_a_models_thread_ends_when_nobody_asks_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "IDLE_S", 0.05)
    chat = FakeChat(echo)
    opened = []

    def open_desk() -> FakeChat:
        opened.append(chat)
        return chat

    worker = ModelWorker("m", chat, open_desk, max_running=1, max_waiting=1, max_waiting_each=1)

    def threads() -> int:
        return sum(thread.name == "model:m" for thread in threading.enumerate())

    async def ask() -> str:
        request = chat.prepare([Message(role="user", content="well?")], SamplingParams())
        ticket: Ticket = worker.submit(request)  # type: ignore[arg-type]
        text = ""
        while (delta := await ticket.next()) is not None:
            text += delta.text
        return text

    for _ in range(3):
        assert asyncio.run(ask()) == "[1] well?"
        wait_until(lambda: threads() == 0)
    assert opened == [chat]  # its cache stayed
    worker.close()
