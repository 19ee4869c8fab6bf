"""A server gives back what requests freed, for as long as it runs."""

from collections.abc import Callable

import pytest
from tests.service.fakes import FakeChat, echo, wait_until

from ziggurat.service.server import create_app


def test_memory_is_given_back_now_and_then(serving: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[None] = []
    monkeypatch.setattr("ziggurat.service.models.memory.EVERY_S", 0.01)
    monkeypatch.setattr("ziggurat.service.models.memory.give_back_freed_memory", lambda: times.append(None))
    with serving(create_app({"m": FakeChat(echo)})):
        wait_until(lambda: len(times) >= 3)
