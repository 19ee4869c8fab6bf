"""The exam page over a real server: sorting by keyboard, reference rows, blanks, advice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.exam.test_leaderboard import sat
from tests.service.fakes import FakeChat, saying
from tests.web.fake.server import BUILT

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def shoot(page: Any, name: str) -> None:
    """A picture for people, where one is asked for."""
    if folder := os.environ.get("EXAM_SHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=False)


@pytest.mark.parametrize(("locale", "width", "scheme"), [("en-US", 1280, "light"), ("zh-CN", 360, "dark")])
def test_the_board_is_sorted_by_keyboard_and_has_reference_rows(
    open_house: Callable[..., httpx.Client],
    browser: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    locale: str,
    width: int,
    scheme: str,
) -> None:
    if not (BUILT / "index.html").is_file():
        pytest.skip("the page is not built; `make page` builds it")
    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path))
    sat(tmp_path, "town/ppo", "facts", 0.8)
    sat(tmp_path, "town/ppo", "sums", 0.6, ability="reasoning")
    sat(tmp_path, "town/sft", "facts", 0.9)
    sat(tmp_path, "town/sft", "mt-bench", 0.5, ability="dialogue", metrics={"grade": {"score": 5.0}})
    client = open_house({"fake": FakeChat(saying("No."))})
    context = browser.new_context(
        locale=locale, viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    troubles: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(f"{client.base_url}/exam")
    names = page.locator("tbody th")
    names.nth(1).wait_for()
    assert ["SFT" in text.upper() for text in names.all_inner_texts()] == [True, False]
    shoot(page, f"exam-{locale[:2]}-board")
    heading = page.locator("thead th button").first
    heading.focus()
    page.keyboard.press("Enter")
    assert ["PPO" in text.upper() for text in names.all_inner_texts()] == [True, False]
    assert page.locator("thead th").first.get_attribute("aria-sort") == "ascending"
    page.locator("main input[type=checkbox]").first.focus()
    page.keyboard.press("Space")
    page.locator("tr.reference").nth(20).wait_for()
    grade = page.locator("thead th button", has_text="MT-Bench").first
    grade.click()
    assert "GPT-4" in names.first.inner_text()
    blank = page.locator("tr", has=page.locator("th", has_text="GPT-3.5-turbo")).locator("td").nth(2)
    assert blank.inner_text() in ("n/a", "无")
    shoot(page, f"exam-{locale[:2]}-reference")
    page.locator('nav a[href="/exam/suitable"]').click()
    field = page.locator("main form input")
    field.fill("Translate our menu" if locale == "en-US" else "翻译菜单")
    field.press("Enter")
    page.locator(".verdict[data-verdict=suitable]").wait_for()
    shoot(page, f"exam-{locale[:2]}-suitable")
    page.locator('nav a[href="/exam/time"]').click()
    page.locator("main table td", has_text="58").first.wait_for()
    shoot(page, f"exam-{locale[:2]}-time")
    assert page.evaluate(
        "document.querySelector('main').scrollWidth <= document.querySelector('main').clientWidth"
    )
    context.close()
    assert troubles == []
