"""The administration's pages: people, limits, rules, held answers, the audit."""

from __future__ import annotations

from typing import Any

import pytest
from tests.web.conftest import Visit, ask
from tests.web.fake.basics import stamp
from tests.web.fake.furniture import furnish
from tests.web.fake.house import House

pytestmark = [pytest.mark.browser, pytest.mark.slow]


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


def crowd(house: House) -> House:
    """Sixty people, which is more than one page; the last to come is the first by name."""
    people = house.admin.people
    for number in range(3, 61):
        people[f"person_{number}"] = people["person_2"] | {
            "id": f"person_{number}",
            "name": f"Member {number}",
        }
    people["person_60"]["name"] = "Aaron"
    return house


def test_people_of_every_page_are_sorted(visit: Visit) -> None:
    with visit(crowd(administered()), "/manage/people") as page:
        rows = page.locator("tbody tr")
        rows.nth(49).wait_for()
        assert rows.count() == 50
        page.get_by_role("button", name="Name").click()
        rows.nth(59).wait_for()
        in_order = ["Aaron", "Ada", "Ben", *(f"Member {number}" for number in range(3, 60))]
        assert rows.locator(".who b").all_inner_texts() == in_order
        assert page.get_by_role("button", name="Show more").count() == 0
        rows.first.get_by_role("button", name="Disable").click()
        rows.first.get_by_role("button", name="Enable").wait_for()
        assert rows.locator(".who b").all_inner_texts() == in_order  # all were read again


def test_a_change_keeps_the_pages_that_were_read(visit: Visit) -> None:
    with visit(crowd(administered()), "/manage/people") as page:
        rows = page.locator("tbody tr")
        page.get_by_role("button", name="Show more").click()
        rows.nth(59).get_by_role("button", name="Disable").click()
        rows.nth(59).get_by_role("button", name="Enable").wait_for()
        assert rows.count() == 60


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


def kept(number: int, **given: Any) -> dict[str, Any]:
    one = {"id": f"held_{number}", "prompt": "How?", "text": "Like *this*.", "rule_id": "r", "origin": None}
    return one | {"created_at": stamp()} | given


def test_an_answer_held_over_the_api_can_only_be_seen(visit: Visit) -> None:
    house = administered()
    origin = {"path": "/v1/chat/completions", "model": "smollm2", "key": "notebook", "key_id": "key_1"}
    house.admin.held["held_1"] = kept(1, origin=origin)
    with visit(house, "/manage/held") as page:
        article = page.locator("article")
        article.locator("em").wait_for()
        for part in (
            "Over the API: /v1/chat/completions, model smollm2 · key notebook",
            "The caller has already received the guard's text; this decision is only recorded.",
        ):
            assert part in article.inner_text()
        assert article.get_by_role("button").all_inner_texts() == ["Seen"]
        article.get_by_role("button").click()
        page.get_by_text("Nothing waits for a decision.").wait_for()
        assert house.admin.changes == [{"decision": "refuse"}]  # the caller received a refusal


def test_a_held_question_has_no_answer(visit: Visit) -> None:
    house = administered()
    origin = {"path": "/v1/responses", "model": "smollm2", "key": None, "key_id": None}
    house.admin.held = {"held_1": kept(1, text=""), "held_2": kept(2, text="", origin=origin)}
    with visit(house, "/manage/held") as page:
        page.get_by_text("The question itself was held").nth(1).wait_for()
        assert page.locator("article h2").all_inner_texts() == ["Question", "Question"]
        assert "without a key" in page.locator("article").nth(1).inner_text()


def test_held_answers_come_page_by_page(visit: Visit) -> None:
    house = administered()
    house.admin.held = {f"held_{i}": kept(i, prompt=f"Question {i}") for i in range(60)}
    with visit(house, "/manage/held") as page:
        articles = page.locator("article")
        articles.nth(49).wait_for()
        assert articles.count() == 50
        page.get_by_role("button", name="Show more").click()
        articles.nth(59).get_by_role("button", name="Release").click()
        articles.nth(59).wait_for(state="detached")
        assert articles.count() == 59
        assert list(house.admin.held) == [f"held_{i}" for i in range(59)]


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


def long_audit() -> House:
    """Three pages of entries."""
    house = administered()
    house.admin.audit = [house.admin.audit[0] | {"id": number} for number in range(250, 0, -1)]
    return house


def test_the_audit_says_when_the_whole_chain_was_verified(visit: Visit) -> None:
    house = long_audit()
    with visit(house, "/manage/audit") as page:
        verdict = page.locator(".fine")
        verdict.wait_for()
        said = verdict.inner_text()
        assert said.startswith("The chain is whole as of ")
        assert str(house.admin.verified_at)[:4] in said
        page.get_by_role("button", name="Show more").click()
        page.locator("tbody tr").nth(199).wait_for()
        assert house.admin.verified == [True, False]  # reading on does not verify everything again
        assert verdict.inner_text() == said


@pytest.mark.parametrize("found_by", ["the first page", "a later page"])
def test_a_chain_that_was_found_broken_stays_so_on_the_page(visit: Visit, found_by: str) -> None:
    house = long_audit()
    sentence = "the audit chain breaks at entry 3: it was changed from outside."
    if found_by == "the first page":
        house.admin.broken = sentence  # of which a later page says nothing
    with visit(house, "/manage/audit") as page:
        rows, more = page.locator("tbody tr"), page.get_by_role("button", name="Show more")
        rows.nth(99).wait_for()
        if found_by == "a later page":
            page.get_by_text("The chain is whole").wait_for()
            house.admin.broken_lately = sentence
        for read in (200, 250):
            more.click()
            rows.nth(read - 1).wait_for()
            assert page.get_by_role("alert").inner_text() == sentence
            house.admin.broken_lately = None
        assert page.get_by_text("The chain is whole").count() == 0


def test_a_member_has_no_administration(visit: Visit) -> None:
    house = administered()
    house.role = "member"
    with visit(house, "/manage/people") as page:
        page.get_by_text("You may not do that.").wait_for()
        assert page.get_by_role("link", name="Administration").count() == 0
