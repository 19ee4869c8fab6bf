"""The built page in headless Chromium, over the fake server of `fake/`: fast, and every answer known before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import uvicorn
from tests.needs import needs
from tests.web.fake.house import Door, House
from tests.web.fake.server import BUILT, create_fake

from ziggurat.service.http.listening import address_of, listen

CHROMIUM_ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync"]  # fmt: skip
LOCALES = {"en": "en-US", "zh": "zh-CN"}
WIDTHS = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 360, "height": 740}}

Visit = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    if not (BUILT / "index.html").is_file():
        pytest.skip("the page is not built; `make page` builds it")
    playwright = needs("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        yield started
        started.close()


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture(scope="module")
def door() -> Iterator[tuple[str, Door]]:
    """One running server for a module; each test opens a house of its own behind it."""
    door, listener = Door(House()), listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(create_fake(door), log_level="critical", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the fake server is not ready"
        time.sleep(0.01)
    yield address_of(listener), door
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture
def visit(browser: Any, door: tuple[str, Door]) -> Visit:
    """`with visit(house, "/c/...", language="zh", device="phone") as page:`

    A script error, a refusal by the Content-Security-Policy, or a request to another origin fails the test.
    """

    @contextmanager
    def opened(
        house: House,
        path: str = "/",
        *,
        language: str = "en",
        device: str = "desktop",
        strict: bool = True,
        **context: Any,
    ) -> Iterator[Any]:
        troubles: list[str] = []
        address, entrance = door
        entrance.open(house)
        touch = {"has_touch": True, "is_mobile": True} if device == "phone" else {}
        tab = browser.new_context(
            **(
                {
                    "viewport": WIDTHS[device],
                    "locale": LOCALES[language],
                    "permissions": ["clipboard-read", "clipboard-write"],
                }
                | touch
                | context
            )
        )
        page = tab.new_page()
        page.set_default_timeout(10_000)
        page.address = address
        page.on("pageerror", lambda error: troubles.append(f"script: {error}"))
        page.on(
            "console",
            lambda m: troubles.append(f"policy: {m.text}") if "Content Security" in m.text else None,
        )
        page.on("dialog", lambda d: (troubles.append(f"dialog: {d.message}"), d.dismiss()))
        page.on(
            "request",
            lambda r: (
                None
                if r.url.startswith((address, "data:", "blob:"))
                else troubles.append(f"request: {r.url}")
            ),
        )
        page.goto(address + path)
        page.locator("#question, main, form").first.wait_for()
        yield page
        tab.close()
        if strict:
            assert troubles == []

    return opened


def ask(page: Any, text: str) -> None:
    page.locator("#question").fill(text)
    page.locator("#question").press("Enter")


def settled(page: Any, count: int = 1) -> Any:
    """Wait until so many answers stand and none is being written; the last one."""
    page.wait_for_function(
        "n => { const all = document.querySelectorAll('[data-role=assistant]');"
        " return all.length >= n && ![...all].some(a => a.dataset.state === 'running') }",
        arg=count,
    )
    return page.locator("[data-role=assistant]").last


def text_of(answer: Any) -> str:
    return str(answer.locator("[data-answer]").inner_text())


def choose(page: Any, menu: str, item: str) -> None:
    """Open the last menu of this name and choose an item."""
    page.get_by_role("button", name=menu, exact=True).last.click()
    page.get_by_role("menuitem", name=item).click()
