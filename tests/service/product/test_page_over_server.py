"""The built page over the real server and store: the whole way of a stranger (gate G2), in two languages and widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.needs import needs
from tests.service.fakes import FakeChat
from tests.web.chromium import Chromium
from tests.web.conftest import LOCALES, WIDTHS, settled, text_of
from tests.web.fake.server import BUILT

Open = Callable[..., httpx.Client]
pytestmark = [pytest.mark.browser, pytest.mark.slow]
CANARY = "xylophone-canary-77"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Chromium]:
    if not (BUILT / "index.html").is_file():
        pytest.skip("the page is not built; `make page` builds it")
    playwright = needs("playwright.sync_api", reason="playwright is not installed")
    running = Chromium()
    running.start(playwright.sync_playwright, chromium)
    yield running
    running.stop()


def pieces(messages: Any, params: Any) -> list[str]:
    asked = messages[-1].content
    if "slow" in asked:
        return [f"word{i} " for i in range(60)]
    return [f"You said {asked}. ", "运河边有一位面包师。"]


@pytest.fixture
def model() -> FakeChat:
    return FakeChat(pieces, delay_s=0.01)


@pytest.fixture(params=[("en", "desktop", "light"), ("zh", "phone", "dark")], ids=["en-desktop", "zh-phone"])
def tab(request: Any, browser: Any, open_house: Open, model: FakeChat) -> Iterator[Any]:
    language, device, scheme = request.param
    client = open_house({"fake": model})
    context = browser.new_context(
        viewport=WIDTHS[device], locale=LOCALES[language], color_scheme=scheme, has_touch=device == "phone"
    )
    page = context.new_page()
    page.set_default_timeout(15_000)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(str(client.base_url)) else troubles.append(r.url))
    page.goto(str(client.base_url))
    page.locator("#question").wait_for()
    page.api, page.language = client, language
    yield page
    context.close()
    assert troubles == []


def send(page: Any, text: str) -> None:
    page.locator("#question").fill(text)
    page.locator("button.send").click()


def chats(page: Any) -> list[dict[str, Any]]:
    return list(page.api.get("/api/chats").json()["data"])


def test_a_chat_is_kept_found_judged_and_goes_on_after_a_reload(tab: Any, tmp_path: Path) -> None:
    send(tab, "Hello")
    assert text_of(settled(tab)).startswith("You said Hello.")
    send(tab, "slow please")
    tab.wait_for_function("() => document.querySelectorAll('[data-answer]')[1]?.innerText.length > 20")
    tab.reload()
    answer = settled(tab, 2)
    assert text_of(answer).split() == [f"word{i}" for i in range(60)]
    chat_id = chats(tab)[0]["id"]
    kept = tab.api.get(f"/api/chats/{chat_id}").json()["messages"]
    assert [one["state"] for one in kept] == ["complete"] * 4
    hits = tab.api.get("/api/search", params={"q": "运河"}).json()["data"]
    assert any(hit["chat_id"] == chat_id for hit in hits)
    good = {"en": "A good answer", "zh": "回答很好"}[tab.language]
    answer.get_by_role("button", name=good).click()
    tab.wait_for_timeout(500)
    judged = tab.api.get(f"/api/chats/{chat_id}").json()["messages"][-1]["judgement"]
    assert judged is not None
    assert judged["value"] == 1


def test_what_is_stopped_is_what_was_seen(tab: Any) -> None:
    send(tab, "slow please")
    tab.wait_for_function("() => document.querySelector('[data-answer]')?.innerText.length > 60")
    tab.locator("button.send").click()  # it stops while an answer is written
    seen = text_of(settled(tab))
    chat_id = chats(tab)[0]["id"]
    kept = tab.api.get(f"/api/chats/{chat_id}").json()["messages"][-1]
    assert (kept["content"].rstrip(), kept["state"]) == (seen.rstrip(), "stopped")


def test_the_guard_answers_in_the_persons_language(tab: Any, model: FakeChat) -> None:
    asked = "我不想活了，想自杀" if tab.language == "zh" else "I want to kill myself tonight."
    send(tab, asked)
    said = text_of(settled(tab))
    assert ("12356" if tab.language == "zh" else "988") in said
    assert "You said" not in said


def test_a_temporary_chat_leaves_no_trace(tab: Any, tmp_path: Path) -> None:
    tab.goto(
        f"{tab.api.base_url}temporary"
        if str(tab.api.base_url).endswith("/")
        else f"{tab.api.base_url}/temporary"
    )
    tab.locator("#question").wait_for()
    send(tab, f"Remember {CANARY}")
    assert CANARY in text_of(settled(tab))
    assert chats(tab) == []
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("ziggurat.db*"))
    assert CANARY.encode() not in stored
