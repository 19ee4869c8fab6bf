"""A finger that rests on a chat or a message opens its menu, as a right click or "More" does (MOB-1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.web.conftest import Visit, settled
from tests.web.fake.house import House
from tests.web.test_keeping import chat_with

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SELECTED = "getSelection().toString()"


@contextmanager
def finger_on(page: Any, target: Any, *, dx: int = 0, dy: int = 0) -> Iterator[None]:
    """Touches of the browser itself, so that its own long press, selection and clicks come with them. `dx`, `dy`: moved
    by so much before it rests."""
    box = target.bounding_box()
    x, y = box["x"] + min(40, box["width"] / 2), box["y"] + min(14, box["height"] / 2)
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for part in (0.5, 1.0) if dx or dy else ():
        moved = {"x": x + dx * part, "y": y + dy * part}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [moved]})
    yield
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    touch.detach()


def drawer(page: Any) -> None:
    page.get_by_role("button", name="Show the list").click()


def test_a_finger_on_a_chat_opens_its_menu_and_opens_no_chat(visit: Visit, house: House) -> None:
    chat = chat_with(house, "Hello", "Hi", "Old name")
    with visit(house, device="phone") as page:
        drawer(page)
        menu = page.get_by_role("menu", name="Options for “Old name”")
        with finger_on(page, page.get_by_role("link", name="Old name")):
            menu.get_by_role("menuitem", name="Rename").wait_for()
        assert menu.get_by_role("menuitem").all_inner_texts() == [
            "Rename", "Pin", "Move to a folder", "Share", "Export", "Archive", "Delete",
        ]  # fmt: skip
        assert page.url == page.address + "/"  # lifting the finger was no click on the link
        assert page.evaluate(SELECTED) == ""
        menu.get_by_role("menuitem", name="Pin").tap()
        page.get_by_role("heading", name="Pinned").wait_for()
        assert menu.count() == 0
        assert house.chats[chat["id"]]["pinned"]
        page.get_by_role("link", name="Old name").tap()  # and a short tap opens the chat as ever
        page.wait_for_url(f"**/c/{chat['id']}")


def test_the_menu_under_a_finger_is_closed_by_a_tap_beside_it(visit: Visit, house: House) -> None:
    chat_with(house, "Hello", "Hi", "Kept")
    with visit(house, device="phone") as page:
        drawer(page)
        with finger_on(page, page.get_by_role("link", name="Kept")):
            page.get_by_role("menuitem", name="Rename").wait_for()
        page.get_by_role("menuitem", name="Rename").wait_for()  # it stays when the finger is lifted
        page.touchscreen.tap(60, 20)
        page.get_by_role("menu").wait_for(state="detached")
        assert page.url == page.address + "/"


def test_a_finger_that_scrolls_opens_nothing(visit: Visit, house: House) -> None:
    for i in range(40):
        house.new_chat(title=f"chat number {i}")
    with visit(house, device="phone") as page:
        drawer(page)
        with finger_on(page, page.get_by_role("link", name="chat number 30"), dy=-120):
            page.wait_for_timeout(600)
        assert page.get_by_role("menu").count() == 0
        assert page.locator(".list").evaluate("e => e.scrollTop") > 0


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_finger_on_a_message_offers_what_can_be_done_with_it(visit: Visit, house: House, role: str) -> None:
    chat = chat_with(house, "Where does Mira live?", "By the canal.", "Mira")
    with visit(house, f"/c/{chat['id']}", device="phone") as page:
        answer = settled(page)
        text = page.locator(".bubble") if role == "user" else answer.locator("[data-answer]")
        with finger_on(page, text):
            page.get_by_role("menuitem", name="Select text").wait_for()
        items = page.get_by_role("menuitem").all_inner_texts()
        if role == "user":
            assert items == ["Copy", "Select text", "Edit the question"]
            page.get_by_role("menuitem", name="Edit the question").tap()
            page.get_by_role("textbox", name="Edit the question").wait_for()
        else:
            more = [
                "Why this answer",
                "Where this comes from",
                "Write a better answer",
                "Edit the answer",
                "New chat from here",
                "Report",
            ]
            assert items == ["Copy the answer", "Select text", "Answer again", *more]
            page.get_by_role("menuitem", name="Copy the answer").tap()
            page.get_by_text("Copied").wait_for()
            assert page.evaluate("navigator.clipboard.readText()") == "By the canal."
        assert page.evaluate(SELECTED) == ""


def test_text_is_selected_in_a_window_of_its_own(visit: Visit, house: House) -> None:
    chat = chat_with(house, "Hello", "By the *canal*.", "Mira")
    with visit(house, f"/c/{chat['id']}", device="phone", language="zh") as page:
        text = settled(page).locator("[data-answer]")
        assert text.evaluate("e => getComputedStyle(e).userSelect") == "none"
        with finger_on(page, text):
            page.get_by_role("menuitem", name="选择文字").wait_for()
        page.get_by_role("menuitem", name="选择文字").tap()
        word = page.get_by_role("dialog").locator("em")
        word.wait_for()
        assert word.evaluate("e => getComputedStyle(e).userSelect") == "text"


def test_a_finger_on_a_link_in_an_answer_is_the_browsers(visit: Visit, house: House) -> None:
    chat = chat_with(house, "Hello", "[a link](https://named.example/page)", "Link")
    with (
        visit(house, f"/c/{chat['id']}", device="phone") as page,
        finger_on(page, settled(page).get_by_role("link", name="a link")),
    ):
        page.wait_for_timeout(600)
        assert page.get_by_role("menu").count() == 0


def test_a_right_click_on_a_chat_opens_the_same_menu(visit: Visit, house: House) -> None:
    chat_with(house, "Hello", "Hi", "Old name")
    with visit(house) as page:
        link = page.get_by_role("link", name="Old name")
        link.hover()
        page.get_by_role("button", name="Options for “Old name”").click()
        by_button = page.get_by_role("menuitem").all_inner_texts()
        page.keyboard.press("Escape")
        link.click(button="right")
        menu = page.get_by_role("menu", name="Options for “Old name”")
        menu.get_by_role("menuitem", name="Rename").wait_for()
        assert menu.get_by_role("menuitem").all_inner_texts() == by_button
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.textContent").strip() == "Pin"
        page.keyboard.press("Escape")
        menu.wait_for(state="detached")
        link.click(button="right")
        menu.get_by_role("menuitem", name="Rename").click()
        page.get_by_role("textbox", name="Title").wait_for()


def in_focus(page: Any) -> str:
    return str(page.evaluate("document.activeElement.textContent")).strip()


def closed_by_escape(page: Any, menu: Any) -> None:
    """After the menu has the focus: Escape is for it alone."""
    menu.wait_for()
    page.wait_for_function("() => document.activeElement.role === 'menuitem'")
    page.keyboard.press("Escape")
    menu.wait_for(state="detached")


@pytest.mark.parametrize("opened_by", ["a right click", "the keyboard"])
def test_after_the_menu_of_a_chat_the_keyboard_opens_the_chat(
    visit: Visit, house: House, opened_by: str
) -> None:
    """Enter was swallowed as if it were the click of a lifted finger, and the keyboard opened the menu only once."""
    chat = chat_with(house, "Hello", "Hi", "Old name")
    with visit(house) as page:
        link, menu = page.get_by_role("link", name="Old name"), page.get_by_role("menu")
        for _ in range(2):
            if opened_by == "a right click":
                link.click(button="right")
            else:
                link.focus()
                page.keyboard.press("ContextMenu")
            closed_by_escape(page, menu)
            assert in_focus(page) == "Old name"
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/c/{chat['id']}")


def test_a_right_click_on_another_chat_opens_the_menu_of_that_one(visit: Visit, house: House) -> None:
    """The first menu closes late; it must not close the second."""
    chat_with(house, "Hello", "Hi", "Below")
    chat_with(house, "Hello", "Hi", "Above")
    with visit(house) as page:
        page.get_by_role("link", name="Below").click(button="right")
        page.get_by_role("menu", name="Options for “Below”").wait_for()
        page.get_by_role("link", name="Above").click(button="right")
        menu = page.get_by_role("menu", name="Options for “Above”")
        menu.get_by_role("menuitem", name="Rename").wait_for()
        page.wait_for_timeout(200)
        assert menu.is_visible()
        assert page.get_by_role("menu").count() == 1


def test_a_right_click_is_no_long_press_in_a_browser_that_does_not_name_what_pressed(
    visit: Visit, house: House
) -> None:
    """Older Firefox and Safari: their `contextmenu` event has no `pointerType`. Ours opened, and the selection was gone."""
    chat = chat_with(house, "Where does Mira live?", "By the canal.", "Mira")
    with visit(house, f"/c/{chat['id']}") as page:
        text = settled(page).locator("[data-answer]")
        page.evaluate(
            "addEventListener('contextmenu', event =>"
            " { Object.defineProperty(event, 'pointerType', { value: undefined }) }, true)"
        )
        text.evaluate("e => getSelection().selectAllChildren(e)")
        text.click(button="right", position={"x": 12, "y": 12})
        assert page.get_by_role("menu").count() == 0
        assert page.evaluate(SELECTED).strip() == "By the canal."
        # Where a right click is for us, it still is.
        page.get_by_role("link", name="Mira").click(button="right")
        page.get_by_role("menuitem", name="Rename").wait_for()
