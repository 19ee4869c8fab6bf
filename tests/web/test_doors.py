"""Accounts: set-up, registration, login, leaving; keys and sessions."""

from __future__ import annotations

import pytest
from tests.web.conftest import Visit, ask, settled
from tests.web.fake.house import House

pytestmark = [pytest.mark.browser, pytest.mark.slow]
GOOD = "correct horse battery"


def test_the_first_person_sets_the_house_up(visit: Visit) -> None:
    house = House(mode="setup")
    with visit(house, "/setup?token=twice") as page:
        page.get_by_role("heading", name="Set up Ziggurat").wait_for()
        page.get_by_label("Name").fill("Ada")
        page.get_by_label("Email").fill("ada@example.org")
        page.get_by_label("Password").fill(GOOD)
        page.get_by_role("button", name="Set up").click()
        page.get_by_text("The token is wrong, or was used already.").wait_for()
        assert page.get_by_label("Password").input_value() == ""
        page.get_by_label("Set-up token").fill("once")
        page.get_by_label("Password").fill(GOOD)
        page.get_by_role("button", name="Set up").click()
        page.get_by_text("What would you like to know?").wait_for()


def test_login_says_what_is_wrong_and_then_lets_in(visit: Visit) -> None:
    house = House(mode="accounts")
    with visit(house, language="zh") as page:
        page.get_by_label("邮箱").fill("ada@example.org")
        page.get_by_label("密码").fill("wrong password")
        page.keyboard.press("Enter")
        page.get_by_text("邮箱或密码不正确。").wait_for()
        page.get_by_label("密码").fill(GOOD)
        page.keyboard.press("Enter")
        page.get_by_text("想知道什么？").wait_for()
        ask(page, "你好")  # the CSRF token goes with it
        settled(page)
        kept = page.evaluate(
            "JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie"
        )
        assert "token-1" not in kept
        assert GOOD not in kept


def test_registration_by_invitation_and_leaving(visit: Visit) -> None:
    house = House(mode="accounts")
    house.registration = "invitation"
    with visit(house, "/register?invitation=invite-once") as page:
        assert page.get_by_label("Invitation").input_value() == "invite-once"
        page.get_by_label("Name").fill("Ben")
        page.get_by_label("Email").fill("ben@example.org")
        page.get_by_label("Password").fill(GOOD)
        page.get_by_role("button", name="Register").click()
        page.locator("#question").fill("a draft of Ben's")
        page.get_by_role("button", name="Ada Owner").click()
        page.get_by_role("menuitem", name="Log out").click()
        page.get_by_role("heading", name="Welcome back").wait_for()
        assert "draft of Ben" not in page.evaluate("JSON.stringify(localStorage)")


def test_registration_is_not_offered_where_it_is_closed(visit: Visit) -> None:
    house = House(mode="accounts")
    house.registration = "closed"
    with visit(house) as page:
        page.get_by_role("heading", name="Welcome back").wait_for()
        assert page.get_by_role("link", name="Register").count() == 0


def test_a_session_that_ended_asks_for_a_login_and_keeps_the_draft(visit: Visit) -> None:
    house = House(mode="accounts")
    house.logged_in = True
    with visit(house) as page:
        ask(page, "first")
        settled(page)
        house.logged_in = False
        ask(page, "second")
        page.get_by_role("heading", name="Welcome back").wait_for()
        page.get_by_label("Email").fill("ada@example.org")
        page.get_by_label("Password").fill(GOOD)
        page.keyboard.press("Enter")
        page.get_by_role("link", name="first").click()
        settled(page)
        assert page.locator("#question").input_value() == "second"


def test_a_key_is_shown_once(visit: Visit, house: House) -> None:
    with visit(house) as page:
        page.keyboard.press("Control+.")
        page.get_by_role("tab", name="API keys").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("textbox", name="What is the key for?").fill("my script")
        dialog.get_by_role("button", name="New key").click()
        dialog.get_by_text("zk-abcdefghijklmnopqrstuvwxyz").wait_for()
        page.keyboard.press("Escape")
        page.keyboard.press("Control+.")
        page.get_by_role("tab", name="API keys").click()
        dialog.get_by_text("my script").wait_for()
        assert "zk-abcdefghijklmnop" not in dialog.inner_text()
        dialog.get_by_role("button", name="Revoke").click()
        dialog.get_by_text("my script").wait_for(state="detached")
