"""One request on a model's thread: what wakes it, what ends it, and what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import Answer, FakeChat, FakeDelta, FakeRequest, echo, failing, saying, wait_until

from ziggurat.engine.params import SamplingParams
from ziggurat.errors import ZigguratError
from ziggurat.records import Message
from ziggurat.service.http.limits import Limits
from ziggurat.service.models.tickets import Ticket
from ziggurat.service.models.worker import ModelWorker
from ziggurat.service.server import create_app


def request() -> FakeRequest:
    return FakeRequest([Message(role="user", content="a b")], SamplingParams(), (), 0)


def worker_of(chat: FakeChat) -> ModelWorker[FakeChat]:
    return ModelWorker("m", chat, chat.desk, max_running=1, max_waiting=4, max_waiting_each=4)


class CountingDesk(FakeChat):
    """Counts how often it is asked to cancel; `opened` is a weak reference to the latest desk."""

    cancels = 0
    opened: weakref.ref[Desk] | None = None

    def desk(self) -> Desk:  # type: ignore[override]
        made = Desk(self)
        self.opened = weakref.ref(made)
        return made


class Desk:
    """A desk of its own, as a real model opens it: with its cache, and gone when the worker drops it."""

    def __init__(self, chat: CountingDesk) -> None:
        self.chat = chat

    def begin(self, asked: FakeRequest) -> int:
        return self.chat.begin(asked)

    def step(self) -> list[tuple[int, FakeDelta]]:
        return self.chat.step()

    def cancel(self, handle: int) -> None:
        self.chat.cancels += 1
        self.chat.cancel(handle)

    def reset(self) -> None:
        self.chat.reset()

    def stats(self) -> dict[str, float]:
        return self.chat.stats()


def thread_alive() -> bool:
    return any(thread.name == "model:m" for thread in threading.enumerate())


async def to_the_end(ticket: Ticket) -> None:
    while await ticket.next() is not None:
        pass


@pytest.mark.parametrize("answer", [echo, failing(ZigguratError("no"))])
def test_a_ticket_that_has_ended_is_not_cancelled_on_the_desk(answer: Answer) -> None:
    """Every request is cancelled when its answer is sent; for one that has ended this must cost the model nothing."""

    async def cancels() -> int:
        chat = CountingDesk(answer)
        worker = worker_of(chat)
        for _ in range(
            2
        ):  # the second one steps the desk, so that a cancellation of the first would reach it
            ticket = worker.submit(request())
            with contextlib.suppress(ZigguratError):
                await to_the_end(ticket)
            ticket.cancel()
            assert not ticket.cancelled
        worker.close()
        return chat.cancels

    assert asyncio.run(cancels()) == 0


@pytest.mark.parametrize("idle_first", [False, True], ids=["at work", "idle"])
def test_a_retired_model_keeps_neither_thread_nor_cache(
    idle_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At work, or after its thread has ended for lack of work; a later request opens both again."""
    monkeypatch.setattr("ziggurat.service.models.worker.IDLE_S", 0.05 if idle_first else 600.0)

    async def retire() -> None:
        chat = CountingDesk(echo)
        worker = worker_of(chat)
        await to_the_end(worker.submit(request()))
        if idle_first:
            await asyncio.to_thread(wait_until, lambda: not thread_alive())
        desk = chat.opened
        assert desk is not None
        assert desk() is not None, "an idle model keeps its cache"
        worker.retire()
        await asyncio.to_thread(wait_until, lambda: not thread_alive())
        gc.collect()
        assert desk() is None
        await to_the_end(worker.submit(request()))
        await asyncio.to_thread(wait_until, lambda: not thread_alive())

    asyncio.run(retire())


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
