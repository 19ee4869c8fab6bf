"""Accounts: set-up, registration, login, leaving; keys, sessions and the administration's pages."""

from __future__ import annotations

import pytest
from tests.web.conftest import Visit, ask, settled
from tests.web.fake.basics import stamp
from tests.web.fake.furniture import furnish
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


def administered() -> House:
    house = House(mode="accounts")
    house.logged_in = True
    furnish(house)
    return house


def test_people_are_invited_given_roles_and_shut_out(visit: Visit) -> None:
    house = administered()
    with visit(house, "/manage/people") as page:
        page.get_by_role("combobox", name="Role of Ben").select_option("Reviewer")
        page.wait_for_timeout(150)
        assert house.admin.people["person_2"]["role"] == "reviewer"
        page.get_by_role("row", name="Ben").get_by_role("button", name="Disable").click()
        page.get_by_role("button", name="Enable").wait_for()
        page.get_by_role("button", name="Make a link").click()
        assert "/register?invitation=invite-once" in page.locator(".made code").inner_text()


def test_a_person_is_given_a_plan_and_a_budget(visit: Visit) -> None:
    house = administered()
    with visit(house, "/manage/people") as page:
        page.get_by_role("combobox", name="Plan of Ben").select_option("free")
        page.wait_for_timeout(150)
        budget = page.get_by_role("spinbutton", name="Tokens a day for Ben")
        for text in ("5000", ""):
            budget.fill(text)
            budget.press("Tab")
            page.wait_for_timeout(150)
        page.get_by_role("combobox", name="Plan of Ben").select_option("Default (paid)")
        page.wait_for_timeout(150)
        assert house.admin.changes == [{"plan": "free"}, {"budget": 5000}, {"budget": None}, {"plan": None}]


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_people_are_listed_with_plan_and_use_and_sorted_by_name(visit: Visit, device: str) -> None:
    house = administered()
    people = house.admin.people
    people["person_2"] |= {"plan": "free", "used_today": 50_000}
    people["person_3"] = people["person_2"] | {
        "id": "person_3",
        "name": "Émile",
        "budget": 1000,
        "used_today": 1500,
    }
    people["person_4"] = people["person_2"] | {
        "id": "person_4",
        "name": "zoe",
        "plan": "paid",
        "used_today": 70,
    }
    with visit(house, "/manage/people", device=device) as page:
        rows = page.locator("tbody tr")
        rows.nth(3).wait_for()
        used = [row.locator(".used > span").first.inner_text() for row in rows.all()]
        assert used == [
            "412K",
            "50K of 200K",
            "1.5K of 1K",
            "70",
        ]  # the default plan, paid, has no limit of tokens
        assert page.get_by_role("combobox", name="Plan of Ben").input_value() == "free"
        assert rows.nth(2).locator(".used.over").count() == 1
        assert page.get_by_role("img", name="Ben has used 50,000 of 200,000 tokens of today").is_visible()
        names = rows.locator(".who b")
        sort = page.get_by_role("button", name="Name")
        sort.click()
        assert names.all_inner_texts() == ["Ada", "Ben", "Émile", "zoe"]
        sort.click()
        assert names.all_inner_texts() == ["zoe", "Émile", "Ben", "Ada"]
        assert page.locator("th").first.get_attribute("aria-sort") == "descending"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator(".scroller").evaluate(
            "e => e.scrollWidth <= e.clientWidth"
        )  # nothing lies beside the screen


def test_only_the_plan_that_is_changed_is_sent(visit: Visit) -> None:
    house = administered()
    with visit(house, "/manage/limits") as page:
        page.get_by_label("Tokens a day").first.fill("1000")
        page.get_by_label("Tokens a day").first.press("Tab")
        page.get_by_text("Saved.").wait_for()
        page.get_by_role("button", name="Delete the plan free").click()
        page.get_by_role("button", name="Delete the plan free").wait_for(state="detached")
        assert page.get_by_role("button", name="Delete the plan").count() == 0  # the default one stays
        assert house.admin.changes == [
            {"plans": {"free": {"tokens_per_day": 1000, "requests_per_day": None}}},
            {"plans": {"free": None}},
        ]


def test_a_rule_is_made_tried_switched_off_and_removed(visit: Visit) -> None:
    house = administered()
    with visit(house, "/manage/rules") as page:
        page.get_by_role("button", name="New rule").click()
        page.get_by_label("Name").fill("no-swordfish")
        page.get_by_label("Kind").select_option("Pattern")
        page.get_by_label("Pattern").last.fill("swordfish")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("cell", name="no-swordfish", exact=True).wait_for()
        page.get_by_role("textbox", name="What would happen to this text?").fill("a swordfish")
        page.get_by_role("button", name="Try", exact=True).click()
        page.get_by_text("It would meet: no-swordfish").wait_for()
        page.get_by_role("switch", name="no-swordfish is on").uncheck()
        page.wait_for_timeout(150)
        assert next(iter(house.admin.rules.values()))["enabled"] is False
        page.get_by_role("button", name="Delete").click()
        page.get_by_text("No rules of your own yet.").wait_for()


def test_a_held_answer_is_decided(visit: Visit) -> None:
    house = administered()
    house.admin.held["held_1"] = {
        "id": "held_1",
        "prompt": "How?",
        "text": "Like *this*.",
        "rule_id": "r",
        "created_at": stamp(),
    }
    with visit(house, "/manage/held") as page:
        assert page.locator("article em").inner_text() == "this"
        page.get_by_role("button", name="Release").click()
        page.get_by_text("Nothing waits for a decision.").wait_for()


def test_limits_are_changed_and_running_answers_stopped(visit: Visit) -> None:
    house = administered()
    with visit(house) as page:
        ask(page, "slow long")
        page.locator("[data-state=running]").wait_for()
        page.goto(f"{page.address}/manage/answers")
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("No answer is being written.").wait_for()
        page.goto(f"{page.address}/manage/limits")
        page.get_by_role("button", name="By invitation").click()
        page.get_by_text("Saved.").wait_for()
        assert house.admin.settings["registration"] == "invitation"


def test_a_broken_audit_chain_is_said_aloud(visit: Visit) -> None:
    house = administered()
    with visit(house, "/manage/audit") as page:
        page.get_by_text("The chain is whole").wait_for()
        house.admin.broken = "the audit chain breaks at entry 3: it was changed from outside."
        page.reload()
        page.get_by_role("alert").get_by_text("breaks at entry 3").wait_for()


def test_a_member_has_no_administration(visit: Visit) -> None:
    house = administered()
    house.role = "member"
    with visit(house, "/manage/people") as page:
        page.get_by_text("You may not do that.").wait_for()
        assert page.get_by_role("link", name="Administration").count() == 0
