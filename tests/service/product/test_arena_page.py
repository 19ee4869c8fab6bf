"""The arena's page over a real server: a battle by keyboard alone, its names, the leaderboard, a metric."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.fakes import FakeChat, saying
from tests.web.fake.server import BUILT

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MODELS = {
    "town/ppo-1": FakeChat(saying("The canal is **in the north**.\n\n- past the mill\n- before the gate")),
    "town/sft-1": FakeChat(saying("I do not know.")),
}


def shoot(page: Any, name: str) -> None:
    """A picture for people, where one is asked for."""
    if folder := os.environ.get("ARENA_SHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=False)


@pytest.mark.parametrize(("locale", "width", "scheme"), [("en-US", 1280, "light"), ("zh-CN", 360, "dark")])
def test_a_battle_by_keyboard_and_its_leaderboard(
    open_house: Callable[..., httpx.Client], browser: Any, locale: str, width: int, scheme: str
) -> None:
    if not (BUILT / "index.html").is_file():
        pytest.skip("the page is not built; `make page` builds it")
    client = open_house(MODELS)
    client.post("/v1/feedback/metrics", json={"name": "solved", "type": "boolean"})
    asked = {"model": "town/ppo-1", "messages": [{"role": "user", "content": "Where?"}]}
    made = client.post("/v1/chat/completions", json=asked).json()
    client.post("/v1/feedback", json={"metric_name": "solved", "value": True, "inference_id": made["id"]})
    tag = locale[:2]
    context = browser.new_context(
        locale=locale, viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    troubles: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(f"{client.base_url}/arena")
    field = page.locator("main textarea")
    field.wait_for()
    shoot(page, f"arena-{tag}-ask")
    field.fill("Where is the canal?")
    field.press("Enter")
    page.locator(".choices .button:enabled").first.wait_for()
    assert "ppo" not in page.locator("main").inner_text().lower()
    shoot(page, f"arena-{tag}-ready")
    better = 1 if "north" in page.locator("article").first.inner_text() else 2
    page.keyboard.press(str(better))
    page.locator("#arena-next").wait_for()
    assert "PPO" in page.locator("article.won h2").inner_text()
    shoot(page, f"arena-{tag}-voted")
    page.keyboard.press("n")
    field.wait_for()
    assert field.evaluate("one => one === document.activeElement")
    page.locator('nav a[href="/arena/leaderboard"]').click()
    rows = page.locator("table").first.locator("tbody tr")
    rows.nth(1).wait_for()
    assert "PPO" in rows.first.inner_text()
    page.locator("main input[type=checkbox]").check()
    page.wait_for_load_state("networkidle")
    shoot(page, f"arena-{tag}-board")
    page.locator('nav a[href="/arena/metrics"]').click()
    page.locator("main table td", has_text="100").first.wait_for()
    shoot(page, f"arena-{tag}-metrics")
    overflow = "document.querySelector('main').scrollWidth <= document.querySelector('main').clientWidth"
    assert page.evaluate(overflow)
    context.close()
    assert troubles == []
