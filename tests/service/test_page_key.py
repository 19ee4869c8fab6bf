"""The chat page in front of a server that wants keys: asked for once, kept in the tab, refused in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, saying

from ziggurat.service.access.keys import Key, Keyring, hash_of, new_key
from ziggurat.service.server import create_app

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


@pytest.fixture
def key(file: Path) -> str:
    return new_key(file, "ana")


@contextmanager
def visiting(browser: Any, address: str, **context: Any) -> Iterator[Any]:
    """A page, and no error of its script or of its policy."""
    troubles: list[str] = []
    tab = browser.new_context(**({"locale": "en-US"} | context))
    page = tab.new_page()
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda m: troubles.append(m.text) if "Content Security" in m.text else None)
    page.goto(address)
    yield page
    tab.close()
    assert troubles == []


def enter(page: Any, key: str) -> None:
    page.get_by_label("API key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()


def ask(page: Any, text: str) -> None:
    page.get_by_role("textbox").fill(text)
    page.keyboard.press("Enter")


def test_the_key_is_asked_for_once_and_stays_in_its_tab(
    browser: Any, serving: Serving, file: Path, key: str
) -> None:
    app = create_app({"m": FakeChat(saying("as you ", "wish"))}, keyring=Keyring(file))
    with serving(app) as address, visiting(browser, address) as page:
        page.get_by_role("dialog").get_by_text("This server asks for an API key.").wait_for()
        assert page.get_by_label("API key", exact=True).get_attribute("type") == "password"
        assert page.get_by_role("alert").count() == 0 or not page.locator("#key-trouble").is_visible()
        enter(page, key)
        ask(page, "hello")
        page.locator("[data-answer]").get_by_text("as you wish", exact=True).wait_for()
        assert page.evaluate("() => sessionStorage.getItem('ziggurat.key')") == key
        assert key not in page.evaluate("() => JSON.stringify(localStorage)")
        page.reload()
        page.locator("[data-answer]").get_by_text("as you wish", exact=True).wait_for()
        assert not page.locator("#ask-key").is_visible()
        with visiting(browser, address) as other:  # another visitor is asked
            other.get_by_label("API key", exact=True).wait_for()


@pytest.mark.parametrize("wrong", ["zig-wrong", "密钥"])
def test_a_wrong_key_is_one_sentence_and_the_right_one_goes_on(
    browser: Any, serving: Serving, file: Path, key: str, wrong: str
) -> None:
    app = create_app({"m": FakeChat(saying("yes"))}, keyring=Keyring(file))
    with serving(app) as address, visiting(browser, address) as page:
        enter(page, wrong)
        page.locator("#key-trouble").get_by_text("The server does not know this key.", exact=True).wait_for()
        assert page.get_by_label("API key", exact=True).input_value() == ""
        assert page.evaluate("() => sessionStorage.getItem('ziggurat.key')") is None
        enter(page, f" {key} ")
        ask(page, "hello")
        page.locator("[data-answer]").get_by_text("yes", exact=True).wait_for()


def test_a_key_that_is_revoked_is_asked_for_again_and_the_question_is_kept(
    browser: Any, serving: Serving, file: Path, key: str
) -> None:
    app = create_app({"m": FakeChat(saying("yes"))}, keyring=Keyring(file))
    with serving(app) as address, visiting(browser, address, locale="zh-CN") as page:
        page.get_by_label("API 密钥", exact=True).fill(key)
        page.get_by_role("button", name="使用此密钥").click()
        page.locator("#ask-key").wait_for(state="hidden")
        file.write_text(Key(name="ana", sha256=hash_of("zig-new")).model_dump_json())
        ask(page, "hello")
        page.locator("#key-trouble").get_by_text("服务器不认识这个密钥。", exact=True).wait_for()
        page.get_by_label("API 密钥", exact=True).fill("zig-new")
        page.get_by_role("button", name="使用此密钥").click()
        page.get_by_role("button", name="重试").click()
        page.locator("[data-answer]").get_by_text("yes", exact=True).wait_for()


def test_a_server_without_keys_asks_for_none(browser: Any, serving: Serving) -> None:
    app = create_app({"m": FakeChat(saying("yes"))})
    with serving(app) as address, visiting(browser, address) as page:
        ask(page, "hello")
        page.locator("[data-answer]").get_by_text("yes", exact=True).wait_for()
        assert not page.locator("#ask-key").is_visible()
