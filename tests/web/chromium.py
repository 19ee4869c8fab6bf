"""One Chromium and one server for all tests of the page in a process, and the contexts that they open tabs in.

What a page loads first (Chromium itself, the page's scripts read and compiled) costs more than most tests, so it is kept:
tests of the same language, device and settings open tabs of one context, whose storage is emptied between two of them. A
context in which a test failed is thrown away. `fresh` makes one of its own, with nothing in its cache.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from tests.web.fake.house import Door, House
from tests.web.fake.server import create_fake

from ziggurat.service.http.listening import address_of, listen

ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--process-per-site"]  # fmt: skip


class Chromium:
    """Started at the first use; `stop` may be called at any time."""

    def __init__(self) -> None:
        self._playwright: Any = None
        self._browser: Any = None
        self._contexts: dict[str, Any] = {}

    def start(self, sync_playwright: Any, executable: str) -> None:
        if self._browser is None:
            self._playwright = sync_playwright().start()
            self._browser = self._playwright.chromium.launch(executable_path=executable, args=ARGS)

    def stop(self) -> None:
        """Playwright runs an event loop in the main thread, beside which other tests could not start theirs."""
        self._contexts.clear()
        if self._browser is not None:
            self._browser.close()
            self._playwright.stop()
        self._browser = self._playwright = None

    def new_context(self, **settings: Any) -> Any:
        return self._browser.new_context(**settings)

    @contextmanager
    def tab(self, origin: str, *, fresh: bool, **settings: Any) -> Iterator[Any]:
        """A tab of a context with these settings, without cookies and stored data of `origin`."""
        key = repr(sorted(settings.items()))
        kept = None if fresh else self._contexts.pop(key, None)
        context = kept or self.new_context(**settings)
        try:
            page = context.new_page()
            if kept is not None:
                context.clear_cookies()
                session = context.new_cdp_session(page)
                what = (
                    "local_storage,indexeddb,cache_storage,service_workers"  # not what is cached of the page
                )
                session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": what})
                session.detach()
            yield page
            for one in context.pages:
                one.close()
            context.unroute_all()
        except BaseException:
            context.close()
            raise
        if fresh:
            context.close()
        else:
            self._contexts[key] = context


class Server:
    """The fake server in a thread; each test opens a house of its own behind its door."""

    def __init__(self) -> None:
        self.door, self._listener = Door(House()), listen("127.0.0.1", 0)
        self.address = address_of(self._listener)
        config = uvicorn.Config(create_fake(self.door), log_level="critical", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline, "the fake server is not ready"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()
