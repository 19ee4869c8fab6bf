"""A real server on a free port around fake models, and a real browser where there is one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import openai
import pytest
import uvicorn
from tests.needs import needs
from tests.service.tiny import MODEL, tiny_chat

from ziggurat.dialogue.chat import Chat
from ziggurat.service.http.idle import IdleClosingProtocol
from ziggurat.service.http.listening import address_of, listen
from ziggurat.service.server import create_app

CHROMIUM_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Serving = Callable[[Any], AbstractContextManager[str]]


@contextmanager
def _serving(app: Any) -> Iterator[str]:
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, http=IdleClosingProtocol, log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server is not ready"
        time.sleep(0.01)
    try:
        yield address_of(listener)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture
def serving() -> Serving:
    """`with serving(app) as address:` runs the app behind a real socket."""
    return _serving


@pytest.fixture(scope="module")
def chat() -> Chat:
    return tiny_chat()


@pytest.fixture
def address(serving: Serving, chat: Chat) -> Iterator[str]:
    with serving(create_app({MODEL: chat})) as where:
        yield where


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Headless Chromium for one module: Playwright keeps an event loop in this thread for as long as it lives."""
    playwright = needs("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        yield started
        started.close()
