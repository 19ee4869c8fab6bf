"""The built page in headless Chromium, over the fake server of `fake/`: fast, and every answer known before."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.needs import needs
from tests.web.chromium import Chromium, Server
from tests.web.fake.house import House
from tests.web.fake.server import BUILT

HERE = Path(__file__).resolve().parent
LOCALES = {"en": "en-US", "zh": "zh-CN"}
WIDTHS = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 360, "height": 740}}
CHROMIUM = Chromium()

Visit = Callable[..., AbstractContextManager[Any]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """The browser ends with the last test of this folder, before a test that starts an event loop of its own."""
    yield
    if nextitem is None or not nextitem.path.is_relative_to(HERE):
        CHROMIUM.stop()


@pytest.fixture
def browser(chromium: str) -> Chromium:
    if not (BUILT / "index.html").is_file():
        pytest.skip("the page is not built; `make page` builds it")
    playwright = needs("playwright.sync_api", reason="playwright is not installed")
    CHROMIUM.start(playwright.sync_playwright, chromium)
    return CHROMIUM


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def visit(browser: Chromium, server: Server) -> Visit:
    """`with visit(house, "/c/...", language="zh", device="phone") as page:`

    A script error, a refusal by the Content-Security-Policy, or a request to another origin fails the test. Motion is
    reduced, so that no test waits for it; `motion=True` leaves it, and `fresh=True` loads the page as for the first time.
    """

    @contextmanager
    def opened(
        house: House,
        path: str = "/",
        *,
        language: str = "en",
        device: str = "desktop",
        strict: bool = True,
        motion: bool = False,
        fresh: bool = False,
        **context: Any,
    ) -> Iterator[Any]:
        troubles: list[str] = []
        address = server.address
        server.door.open(house)
        touch = {"has_touch": True, "is_mobile": True} if device == "phone" else {}
        settings = {
            "viewport": WIDTHS[device],
            "locale": LOCALES[language],
            "permissions": ["clipboard-read", "clipboard-write"],
            "reduced_motion": "no-preference" if motion else "reduce",
        }
        with browser.tab(address, fresh=fresh, **(settings | touch | context)) as page:
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
