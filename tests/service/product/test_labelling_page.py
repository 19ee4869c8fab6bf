"""The labelling page in Chromium over the real server: by keyboard alone, with the next item on the screen at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from tests.needs import needs
from tests.service.fakes import FakeChat
from tests.web.chromium import Chromium
from tests.web.conftest import LOCALES, WIDTHS
from tests.web.fake.server import BUILT

Open = Callable[..., httpx.Client]
pytestmark = [pytest.mark.browser, pytest.mark.slow]
SETTINGS = {"overlap_pct": 0, "gold_pct": 0}
NEXT_MS = 100
NEXT = """() => new Promise((done) => {
  const page = document.querySelector("main"), before = page.dataset.item, began = performance.now();
  new MutationObserver((_, watch) => {
    if (page.dataset.item === before) return;
    watch.disconnect();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
  }).observe(page, { attributes: true });
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
  setTimeout(() => done(Infinity), 5000);
})"""
"""Milliseconds from Enter to the next item painted."""


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Chromium]:
    if not (BUILT / "index.html").is_file():
        pytest.skip("the page is not built; `make page` builds it")
    playwright = needs("playwright.sync_api", reason="playwright is not installed")
    running = Chromium()
    running.start(playwright.sync_playwright, chromium)
    yield running
    running.stop()


@pytest.fixture
def tab(browser: Any, open_house: Open) -> Iterator[Callable[..., Any]]:
    client, contexts = open_house({"fake": FakeChat(lambda _messages, _params: ["Yes."])}), []
    troubles: list[str] = []

    def opened(language: str = "en", device: str = "desktop", scheme: str = "light") -> Any:
        context = browser.new_context(
            viewport=WIDTHS[device],
            locale=LOCALES[language],
            color_scheme=scheme,
            has_touch=device == "phone",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.api, page.origin = client, str(client.base_url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def a_project(client: httpx.Client, template: str, *entries: dict[str, Any], **settings: Any) -> str:
    body = {"name": "A trial", "template": template, "settings": {**SETTINGS, **settings}}
    made = client.post("/api/label/projects", json=body)
    assert made.status_code == 201, made.text
    added = client.post(f"/api/label/projects/{made.json()['id']}/items", json={"items": list(entries)})
    assert added.json()["refused"] == [], added.text
    return str(made.json()["id"])


def entry(n: int, k: int = 4, **more: Any) -> dict[str, Any]:
    texts = [f"Answer {n}.{i}: **water** and grain, {i} of each." for i in range(k)]
    return {"messages": [{"role": "user", "content": f"Question {n}?"}], "completions": texts, **more}


def answers(client: httpx.Client, project: str) -> int:
    return int(client.get(f"/api/label/projects/{project}/progress").json()["answers"])


def test_a_ranking_of_four_takes_five_keys_and_the_next_is_there_within_100_ms(
    tab: Callable[..., Any],
) -> None:
    """The best of six is held against the limit: other tests run on this machine too, and only add time."""
    page = tab()
    project = a_project(page.api, "ranking", *(entry(n) for n in range(9)))
    page.goto(f"{page.origin}/label/work/{project}")
    page.locator("article").nth(3).wait_for()
    times = []
    for _ in range(6):
        page.wait_for_timeout(300)  # a labeller reads; the next item comes meanwhile
        for key in "2113":
            page.keyboard.press(key)
        assert page.locator(".bar p").inner_text() == "B = C > A > D"
        times.append(page.evaluate(NEXT))
    assert min(times) <= NEXT_MS, times
    page.wait_for_function("() => !document.querySelector('main [role=alert]')")
    page.wait_for_timeout(300)
    assert answers(page.api, project) == 6
    (person,) = page.api.get(f"/api/label/projects/{project}/people").json()["data"]
    assert person["answers"] == 6
    assert person["median_seconds"] is not None


def test_everything_else_is_one_key_away(tab: Callable[..., Any]) -> None:
    page = tab()
    project = a_project(
        page.api, "pairwise", *(entry(n, 2, sensitive=["violence"] if n == 1 else []) for n in range(4))
    )
    page.goto(f"{page.origin}/label/work/{project}")
    page.locator("article").first.wait_for()
    page.keyboard.press("g")
    page.get_by_role("dialog").get_by_text("How to compare answers").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.get_by_role("dialog").get_by_role("textbox").fill("Is this the right pair?")
    page.get_by_role("checkbox").check()
    page.keyboard.press("Tab")
    page.get_by_role("dialog").get_by_role("button", name="Send").click()
    page.get_by_role("dialog").get_by_text("Is this the right pair?").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    page.get_by_text("This item holds sensitive content: violence.").wait_for()
    page.keyboard.press("1")  # hidden: nothing is chosen
    assert page.locator("[aria-checked=true]").count() == 0
    page.keyboard.press("v")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.get_by_text("Question 2?").wait_for()
    page.wait_for_timeout(300)
    assert answers(page.api, project) == 1
    (asked,) = page.api.get(f"/api/label/projects/{project}/comments?open_only=true").json()["data"]
    assert asked["text"] == "Is this the right pair?"
    page.keyboard.press("l")
    page.get_by_role("button", name="Change").click()
    page.get_by_text("You change an answer that you have submitted.").wait_for()


def test_labels_and_a_draft_that_survives_a_reload(tab: Callable[..., Any]) -> None:
    page = tab()
    labels = a_project(page.api, "instructgpt_answer", entry(0, 1))
    page.goto(
        f"{page.origin}/label/work/{labels}?about=violent%20content"
    )  # a link to what is said of a label
    assert "A quotation or a story" in page.locator(".sought").inner_text()
    page.keyboard.press("Escape")
    page.locator("article").wait_for()
    assert page.url == f"{page.origin}/label/work/{labels}"
    for key in "620":  # quality 6, does not fail the task, can't tell whether it fits a customer assistant
        page.keyboard.press(key)
    page.keyboard.press("Control+s")
    page.get_by_text("Draft saved").wait_for()
    page.reload()
    page.locator("[aria-pressed=true]").nth(2).wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Nothing is left for you").wait_for()
    assert answers(page.api, labels) == 1


def test_a_demonstration_in_chinese_on_a_phone(tab: Callable[..., Any]) -> None:
    page = tab("zh", "phone", "dark")
    entry_zh = {"messages": [{"role": "user", "content": "运河是什么？"}], "lang": "zh"}
    project = a_project(page.api, "demonstration", entry_zh)
    page.goto(f"{page.origin}/label")
    page.get_by_role("link", name="开始标注").click()
    box = page.get_by_role("textbox").first
    box.fill("This is plainly English and not Chinese.")
    page.get_by_text("这似乎不是条目的语言（zh）。").wait_for()
    box.fill("运河是人工开凿的水道。")
    page.get_by_role("button", name="预览").click()
    page.get_by_role("button", name="提交").click()
    page.get_by_role("heading", name="没有可做的条目了").wait_for()
    assert answers(page.api, project) == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_lead_makes_a_project_by_hand(tab: Callable[..., Any]) -> None:
    page = tab()
    page.goto(f"{page.origin}/label/lead")
    page.get_by_role("button", name="New project").click()
    page.get_by_label("Name").fill("Rivers")
    page.get_by_text("Pairs with strength").click()
    page.get_by_role("button", name="Create").click()
    page.get_by_role("link", name="Items").click()
    page.get_by_role("button", name="Add an item").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Prompt").fill("Which river?")
    dialog.get_by_label("Answer A").fill("The first.")
    dialog.get_by_label("Answer B").fill("The second.")
    dialog.get_by_label("Kind").select_option("gold")
    dialog.get_by_role("radio", name="A much better").click()
    dialog.get_by_role("button", name="Add an item").click()
    page.get_by_role("cell", name="Which river?").wait_for()
    (project,) = page.api.get("/api/label/projects").json()["data"]
    (item,) = page.api.get(f"/api/label/projects/{project['id']}/items").json()["data"]
    assert (item["kind"], item["gold"]) == ("gold", {"strength": -3, "verdict": None})
