"""The page of the review in Chromium, over a real server: an expert decides by keyboard, and the customer sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.service.product.test_review_api import ask, items, reviewed

Open = Callable[..., httpx.Client]
pytestmark = [pytest.mark.browser, pytest.mark.slow]
WIDE = "() => document.documentElement.scrollWidth > innerWidth"


def visited(browser: Any, client: httpx.Client, path: str, **context: Any) -> tuple[Any, list[str]]:
    troubles: list[str] = []
    page = browser.new_context(reduced_motion="reduce", **context).new_page()
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(f"{client.base_url}{path}")
    return page, troubles


def test_an_expert_edits_by_keyboard_and_the_customer_sees_it(open_house: Open, browser: Any) -> None:
    client = reviewed(open_house, "Li Wei has a PhD.")
    chat, _ = ask(client, "Recommend Li Wei, a post-doc.")
    customer, first = visited(browser, client, f"/c/{chat}")
    customer.get_by_text("An expert checks this answer").wait_for()
    assert "PhD" not in customer.content()
    assert customer.get_by_role("button", name="Temporary").count() == 0
    expert, second = visited(browser, client, "/review/inbox")
    expert.locator("ul li a").first.wait_for()
    for name, other, own in (("Channel", "api", "chat"), ("Age", "24", ""), ("State", "delivered", "")):
        expert.get_by_label(name, exact=True).select_option(other)
        expert.get_by_text("Nothing waits here.").wait_for()
        expert.get_by_label(name, exact=True).select_option(own)
        expert.locator("ul li a").first.wait_for()
    expert.keyboard.press("j")
    expert.locator("mark", has_text="PhD").wait_for()
    expert.keyboard.press("e")  # claims first
    text = expert.locator("form textarea.box").first
    text.wait_for()
    text.fill("Li Wei is a post-doc.")
    expert.locator("ins", has_text="post-doc").wait_for()
    expert.get_by_text("Fact", exact=True).click()
    text.press("Control+Enter")
    expert.get_by_text("Nothing waits here.").wait_for()
    assert items(client) == []
    customer.get_by_text("Li Wei is a post-doc.").wait_for()
    customer.get_by_text("Checked by a person.").wait_for()
    customer.get_by_role("button", name="Something is wrong").click()
    customer.locator("form textarea.box").fill("The name is Wei Li.")
    customer.get_by_role("button", name="Send", exact=True).first.click()
    customer.get_by_text("An expert looks at it again.").wait_for()
    assert items(client)[0]["reopened"] is True
    assert [*first, *second] == []


def test_the_review_fits_a_phone_in_chinese(open_house: Open, browser: Any) -> None:
    client = reviewed(open_house, "需要三个工作日。")
    ask(client, "去东京的签证要多久？")
    assert client.post("/api/review/policies/from_template", json={"name": "tourism"}).status_code == 201
    phone = {
        "viewport": {"width": 360, "height": 740},
        "locale": "zh-CN",
        "has_touch": True,
        "is_mobile": True,
    }
    page, troubles = visited(browser, client, "/review/inbox", **phone)
    page.locator("ul li a").first.click()
    page.get_by_role("button", name="领取", exact=True).click()
    page.get_by_role("button", name="批准", exact=True).wait_for()
    assert not page.evaluate(WIDE)
    for part, sign in (("figures", "四分之一规则"), ("policies", "审核哪些回答"), ("second", "复审")):
        page.goto(f"{client.base_url}/review/{part}")
        page.get_by_text(sign).first.wait_for()
        assert not page.evaluate(WIDE), part
    assert troubles == []
