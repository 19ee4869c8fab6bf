"""For everyone: axe-core, the keyboard, screen readers, small screens, both languages, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.needs import IN_CI
from tests.web.conftest import Visit, ask, settled, text_of
from tests.web.fake.basics import stamp
from tests.web.fake.furniture import furnish
from tests.web.fake.house import House

pytestmark = [pytest.mark.browser, pytest.mark.slow]
AXE = Path(__file__).resolve().parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
RUN = """async ([within, rules]) => (await axe.run(within, {
    runOnly: rules ?? ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'],
})).violations.filter(v => ['serious', 'critical'].includes(v.impact))
   .map(v => v.id + ': ' + v.nodes.map(n => n.target.join(' ') + ' ' + n.failureSummary).join(' | '))"""
OF_COLOUR = ["color-contrast", "link-in-text-block"]
"""The rules that can tell light from dark."""


def serious(page: Any, within: str = "html", rules: list[str] | None = None) -> list[str]:
    """What axe-core finds serious or critical below `within` as it is now. Motion is reduced, so nothing is under way."""
    if not AXE.is_file():
        if IN_CI:
            pytest.fail("axe-core is not in web/node_modules; `make page` fetches it")
        pytest.skip("axe-core is not in web/node_modules; `make page` fetches it")
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8") + "; window.axe = axe; undefined")
    found: list[str] = page.evaluate(RUN, [within, rules])
    return found


def furnished() -> House:
    house = House()
    furnish(house)
    return house


@pytest.mark.parametrize("device", ["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_chat(visit: Visit, device: str, scheme: str) -> None:
    language = "zh" if scheme == "dark" else "en"
    with visit(furnished(), device=device, language=language, color_scheme=scheme, bypass_csp=True) as page:
        assert serious(page) == []
        page.locator("#question").fill("code, and think of a table")
        page.locator("button.send").click()
        answer = settled(page)
        answer.locator(".hljs-keyword").first.wait_for()
        answer.locator("[data-act=copy-answer] + button + button").click()
        assert serious(page) == []
        page.locator("#model-button").click()
        assert serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_elsewhere(visit: Visit, scheme: str) -> None:
    rules = OF_COLOUR if scheme == "dark" else None
    house = House(mode="accounts")
    house.logged_in = True
    furnish(house)
    house.climbs[0]["stages"][1] |= {"state": "failed", "error": "the loss is not finite; lower train.lr."}
    house.admin.held["held_1"] = {
        "id": "held_1",
        "prompt": "How?",
        "text": "So.",
        "rule_id": "r",
        "created_at": stamp(),
    }
    with visit(house, "/climb", color_scheme=scheme, bypass_csp=True) as page:
        page.locator("figure svg").first.wait_for()
        assert serious(page, rules=rules) == []
        page.get_by_role("link", name="Administration").click()
        tabs = page.locator("main > nav a")
        tabs.first.wait_for()
        for tab in tabs.all():
            name = tab.inner_text()
            tab.click()
            page.get_by_role("heading", name=name, level=1).wait_for()
            page.locator(".scroll td, .scroll article, .scroll label").first.wait_for()
            if name == "Safety rules":
                page.get_by_role("button", name="New rule").click()
            assert serious(page, rules=rules) == [], name
        assert tabs.count() == 8
        page.goto(page.address + "/temporary")
        page.locator("h1").wait_for()
        assert serious(page, rules=rules) == []


def test_axe_finds_nothing_serious_in_the_dialogs(visit: Visit) -> None:
    """Below the first, only the dialog: what stands behind it is inert, and was looked at."""
    with visit(furnished(), bypass_csp=True) as page:
        page.keyboard.press("Control+.")
        for tab in ("General", "Answers", "Personas", "Your data", "Archive and trash", "API keys"):
            page.get_by_role("tab", name=tab).click()
            assert serious(page, "html" if tab == "General" else "dialog") == [], tab
        page.keyboard.press("Escape")
        for keys in ("Control+k", "Control+/"):
            page.keyboard.press(keys)
            page.get_by_role("dialog").wait_for()
            assert serious(page, "dialog") == [], keys
            page.keyboard.press("Escape")
            page.get_by_role("dialog").wait_for(state="detached")
        page.get_by_role("button", name="Chat settings").click()
        page.get_by_role("slider").first.wait_for()
        assert serious(page, "dialog") == []


def test_the_first_tab_skips_to_the_question(visit: Visit, house: House) -> None:
    with visit(house) as page:
        page.evaluate("document.body.tabIndex = -1; document.body.focus()")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className").startswith("skip")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "question"


def test_a_screen_reader_hears_sentences_and_not_pieces(visit: Visit, house: House) -> None:
    with visit(house) as page:
        page.evaluate(
            "() => { window.said = []; const say = document.getElementById('say');"
            "new MutationObserver(() => said.push(say.textContent))"
            ".observe(say, {childList: true, characterData: true, subtree: true}) }"
        )
        ask(page, "slow long")
        page.locator("[data-state=running]").wait_for()
        log = page.get_by_role("log")
        assert log.get_attribute("aria-live") == "off"
        assert log.get_attribute("aria-busy") == "true"
        page.wait_for_function("() => said.some(s => s.includes('Sentence 2 of a long answer.'))")
        page.keyboard.press("Escape")
        settled(page)
        assert log.get_attribute("aria-busy") == "false"
        said = page.evaluate("said")
        assert said[0] == "The answer begins."
        assert all(s.endswith(".") for s in said), said
        assert page.get_by_role("article", name="smollm2 answered").count() == 1
        assert page.get_by_role("article", name="You", exact=True).count() == 1


def test_the_focus_goes_back_to_where_it_was(visit: Visit, house: House) -> None:
    with visit(house) as page:
        opener = page.get_by_role("button", name="Search")
        opener.focus()
        page.keyboard.press("Enter")
        page.get_by_role("combobox").wait_for()
        assert page.evaluate("document.activeElement.type") == "search"
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="detached")
        assert opener.evaluate("e => e === document.activeElement")
        menu = page.get_by_role("button", name="This machine")
        menu.focus()
        page.keyboard.press("Enter")
        page.get_by_role("menuitem", name="Settings").wait_for()
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.textContent").strip() == "Personas"
        page.keyboard.press("Escape")
        assert menu.evaluate("e => e === document.activeElement")


def test_every_shortcut_works_and_can_be_changed(visit: Visit) -> None:
    with visit(furnished()) as page:
        page.keyboard.press("Control+Shift+o")
        page.keyboard.press("Control+Shift+s")
        page.locator(".frame.closed").wait_for()
        page.keyboard.press("Control+Shift+s")
        page.keyboard.press("Control+Shift+m")
        page.get_by_role("menu", name="Model").wait_for()
        page.keyboard.press("Escape")
        page.keyboard.press("Control+Shift+'")
        page.get_by_text("A temporary chat", exact=True).wait_for()
        page.keyboard.press("Control+/")
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Change the keys of: New chat").click()
        page.keyboard.press("Control+Shift+y")
        page.keyboard.press("Escape")
        page.keyboard.press("Control+Shift+y")
        page.get_by_text("What would you like to know?").wait_for()
        page.locator("#question").blur()
        page.keyboard.press("Shift+Escape")
        assert page.evaluate("document.activeElement.id") == "question"


@pytest.mark.parametrize("path", ["/", "/climb", "/manage/models", "/temporary"])
def test_nothing_is_wider_than_a_small_screen(visit: Visit, path: str) -> None:
    with visit(furnished(), path, device="phone", viewport={"width": 320, "height": 640}) as page:
        page.locator("h1").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        if path == "/":
            page.locator("#question").fill("code table and more")
            page.locator("button.send").click()
            settled(page)
            assert page.evaluate("document.querySelector('.inner').scrollWidth") <= 320


def test_the_list_is_a_drawer_on_a_phone(visit: Visit) -> None:
    with visit(furnished(), device="phone") as page:
        link = page.get_by_role("link", name="Dinner for two")
        assert not link.is_visible()
        page.get_by_role("button", name="Show the list").click()
        link.click()
        page.get_by_text("A warm lentil salad").wait_for()
        link.wait_for(state="hidden")


def test_targets_are_large_enough_for_a_finger(visit: Visit, house: House) -> None:
    with visit(house, device="phone") as page:
        page.locator("#question").fill("one")
        page.locator("button.send").click()
        settled(page)
        small = page.evaluate(
            "() => [...document.querySelectorAll('main button, main a')].filter(e => e.checkVisibility())"
            ".map(e => [e.ariaLabel || e.textContent, e.getBoundingClientRect()])"
            ".filter(([, r]) => r.width && (r.width < 24 || r.height < 24)).map(([name]) => name)"
        )
        assert small == []


@pytest.mark.parametrize(
    ("language", "locale", "greeting"), [("en", "en", "What would"), ("zh", "zh-CN", "想知道什么")]
)
def test_the_browsers_language_is_the_pages(
    visit: Visit, house: House, language: str, locale: str, greeting: str
) -> None:
    with visit(house, language=language) as page:
        page.get_by_role("heading", name=greeting).wait_for()
        assert page.evaluate("document.documentElement.lang") == locale


def test_language_and_looks_are_kept(visit: Visit, house: House) -> None:
    with visit(house) as page:
        page.get_by_role("button", name="This machine").click()
        page.get_by_role("menuitem", name="中文").click()
        page.get_by_role("heading", name="想知道什么？").wait_for()
        page.get_by_role("button", name="本机").click()
        page.get_by_role("menuitem", name="深色").click()
        page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
        page.reload()
        page.get_by_role("heading", name="想知道什么？").wait_for()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert house.preferences["looks"]["theme"] == "dark"
        ask(page, "hello")
        assert "You said" in text_of(settled(page))  # the model speaks as it was spoken to


@pytest.mark.parametrize("wanted", [False, True])
def test_motion_is_still_where_it_is_not_wanted(visit: Visit, house: House, wanted: bool) -> None:
    with visit(house, motion=wanted) as page:
        ask(page, "slow long")
        page.locator("[data-state=running] .text.live").wait_for()
        name = page.evaluate(
            "() => getComputedStyle(document.querySelector('.text.live .block > :last-child'), '::after').animationName"
        )
        assert (name != "none") is wanted
        page.keyboard.press("Escape")
        settled(page)


def test_right_to_left_text_is_set_so(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "xss:مرحبا بالعالم")
        answer = settled(page)
        assert answer.locator("p[dir=auto]").evaluate("e => getComputedStyle(e).direction") == "rtl"
