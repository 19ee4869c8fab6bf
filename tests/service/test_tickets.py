"""The way of one request through a model's thread: who is woken, and who is counted."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, FakeRequest, echo, failing, saying, wait_until

from ziggurat.engine.params import SamplingParams
from ziggurat.records import Message
from ziggurat.service.http.limits import Limits
from ziggurat.service.models.worker import ModelWorker
from ziggurat.service.server import create_app


def request() -> FakeRequest:
    return FakeRequest([Message(role="user", content="a b")], SamplingParams(), (), 0)


def worker_of(chat: FakeChat) -> ModelWorker[FakeChat]:
    return ModelWorker("m", chat, chat.desk, max_running=1, max_waiting=4, max_waiting_each=4)


@pytest.mark.parametrize("answer", [echo, failing(ValueError("no"))])
def test_a_ticket_that_has_ended_wakes_nobody_when_it_is_let_go(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end() -> list[str]:
        worker = worker_of(FakeChat(answer))  # type: ignore[arg-type]
        ticket = worker.submit(request())
        try:
            while await ticket.next() is not None:
                pass
        except ValueError:
            pass
        woken: list[str] = []
        monkeypatch.setattr(worker._changed, "notify", lambda n=1: woken.append(f"{n}"))
        ticket.cancel()
        assert not worker._gone
        monkeypatch.undo()
        worker.close()
        return woken

    assert asyncio.run(end()) == []


def test_a_retired_model_keeps_neither_thread_nor_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is at work, or its thread has ended for want of work."""

    async def retire(idle_first: bool) -> None:
        worker = worker_of(FakeChat(echo))
        ticket = worker.submit(request())
        while await ticket.next() is not None:
            pass
        if idle_first:
            await asyncio.to_thread(wait_until, lambda: worker._thread is None)
            assert worker._desk is not None
        worker.retire()
        await asyncio.to_thread(wait_until, lambda: worker._thread is None)
        assert worker._desk is None

    asyncio.run(retire(idle_first=False))
    monkeypatch.setattr("ziggurat.service.models.worker.IDLE_S", 0.05)
    asyncio.run(retire(idle_first=True))


def test_one_that_still_writes_is_cancelled_and_its_thread_is_woken() -> None:
    async def leave() -> int:
        chat = FakeChat(saying(*["word "] * 1000))
        worker = worker_of(chat)
        ticket = worker.submit(request())
        await ticket.next()
        ticket.cancel()
        await asyncio.to_thread(wait_until, lambda: chat.closed == 1)
        worker.close()
        return chat.told

    assert asyncio.run(leave()) < 1000


def test_requests_given_up_while_they_wait_are_counted(serving: Serving) -> None:
    chat = FakeChat(saying("slow"))
    chat.gate = threading.Semaphore(0)
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}]}

    with serving(create_app({"m": chat}, limits=Limits(max_running=1))) as address:

        def figure(name: str) -> float:
            lines = httpx.get(f"{address}/metrics").text.splitlines()
            own = [line for line in lines if line.startswith(f"{name}{{") and 'model="m"' in line]
            return sum(float(line.rsplit(" ", 1)[1]) for line in own)

        def post(timeout: float) -> int:
            return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=timeout).status_code

        told: list[int] = []
        first = threading.Thread(target=lambda: told.append(post(30)))
        first.start()
        wait_until(lambda: len(chat.requests) == 1)
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                post(0.2)
        wait_until(lambda: figure("app_cancelled_total") == 2)
        assert figure("app_generation_waiting") == 0
        chat.gate.release()
        first.join(20)
        assert told == [200]
        assert len(chat.requests) == 1, "nothing was computed for them"
        wait_until(lambda: figure("app_generation_requests_total") == 1)
        assert figure("app_cancelled_total") == 2
