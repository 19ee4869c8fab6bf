"""What people think of answers: thumbs with reasons, a better answer, the better of two, a report."""

from __future__ import annotations

import pytest
from tests.web.conftest import Visit, ask, choose, settled, text_of
from tests.web.fake.house import House

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_thumb_with_reasons_and_its_withdrawal(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "one")
        settled(page)
        page.get_by_role("button", name="A bad answer").click()
        panel = page.get_by_role("region", name="Your judgement")
        assert "not used for training" in panel.inner_text()
        panel.get_by_role("button", name="Not correct").click()
        panel.get_by_role("button", name="Lazy").click()
        panel.get_by_role("textbox").fill("It is Tuesday.")
        panel.get_by_role("button", name="Send").click()
        page.get_by_text("Thank you.").wait_for()
        message = next(m for m in house.messages.values() if m["role"] == "assistant")
        assert message["judgement"] == {
            "value": -1,
            "reasons": ["wrong", "lazy"],
            "comment": "It is Tuesday.",
        }
        assert page.get_by_role("button", name="A bad answer").get_attribute("aria-pressed") == "true"
        page.reload()
        settled(page)
        page.get_by_role("button", name="A bad answer").click()
        page.wait_for_function(
            "() => document.querySelector('[aria-label=\"A bad answer\"]').ariaPressed === 'false'"
        )
        assert message["judgement"] is None


def test_a_better_answer_is_written(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "one")
        settled(page)
        choose(page, "More", "Write a better answer")
        dialog = page.get_by_role("dialog")
        assert dialog.get_by_role("button", name="Send").is_disabled()  # unchanged
        dialog.get_by_role("textbox").fill("Two.")
        dialog.get_by_role("button", name="Send").click()
        page.get_by_text("Your answer is kept as the better one.").wait_for()
        assert house.rewrites[0]["text"] == "Two."


def test_the_better_of_two_without_names(visit: Visit, house: House) -> None:
    with visit(house) as page:
        page.get_by_role("button", name="Two answers").click()
        ask(page, "which one")
        settled(page, 2)
        pair = page.get_by_role("region", name="Two answers")
        assert pair.locator(".who").all_inner_texts() == ["Answer 1", "Answer 2"]
        assert "smollm2" not in pair.inner_text()
        page.locator("#question").blur()
        page.reload()  # and it is still to be picked
        settled(page, 2)
        pair.get_by_role("button", name="The second is better").click()
        pair.get_by_text("The first was smollm2, the second Town · PPO 2.").wait_for()
        assert house.picks[0]["winner"] == house.picks[0]["shown"][1]
        pair.get_by_role("button", name="Go on with it").click()
        page.get_by_text("2/2").wait_for()
        assert page.locator("[data-role=assistant]").count() == 1


def test_both_answers_go_on_after_a_reload(visit: Visit, house: House) -> None:
    house.gate_open = False
    with visit(house) as page:
        page.get_by_role("button", name="Two answers").click()
        ask(page, "which one, gated")
        page.locator("[data-state=running]").nth(1).wait_for()
        page.reload()
        pair = page.get_by_role("region", name="Two answers")
        pair.locator("[data-state=running]").nth(1).wait_for()
        house.gate_open = True
        settled(page, 2)
        whole = "You said “which one, gated”. This is an answer."
        assert pair.locator("[data-answer]").all_inner_texts() == [whole, whole]
        pair.get_by_role("button", name="The first is better").click()
        pair.get_by_text("The first was smollm2").wait_for()


def test_a_pick_by_the_keyboard_and_not_while_one_writes(visit: Visit, house: House) -> None:
    with visit(house) as page:
        page.get_by_role("button", name="Two answers").click()
        ask(page, "which one")
        settled(page, 2)
        page.locator("#question").press("4")
        assert house.picks == []
        page.locator("#question").blur()
        page.keyboard.press("4")
        page.get_by_text("The first was").wait_for()
        assert house.picks[0]["winner"] == "both_bad"


def test_a_report(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "one")
        settled(page)
        choose(page, "More", "Report")
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Offensive").click()
        dialog.get_by_role("textbox").fill("It is rude.")
        dialog.get_by_role("button", name="Send").click()
        page.get_by_text("will see it").wait_for()
        assert (house.reports[0]["kind"], house.reports[0]["reason"]) == ("offensive", "It is rude.")


def test_why_this_answer(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "one")
        settled(page)
        choose(page, "More", "Why this answer")
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="You 95.1%").wait_for()
        dialog.get_by_role("button", name="You 95.1%").focus()
        page.keyboard.press("ArrowRight")
        assert dialog.locator(".others .chosen code").inner_text() == "said "
        assert "<|im_start|>user" in dialog.inner_text()
        assert "curl http" in dialog.inner_text()


def test_the_meter_shows_how_it_was_made(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "one")
        answer = settled(page)
        answer.locator("[data-tokens]").click()
        shown = answer.inner_text()
        for part in ("prompt 21 tokens", "first word after 0.04 s", "seed 7", "of 2,048 tokens of context"):
            assert part in shown


def test_data_use_is_off_until_it_is_switched_on(visit: Visit, house: House) -> None:
    with visit(house) as page:
        page.get_by_role("button", name="Not for training").click()
        dialog = page.get_by_role("dialog")
        assert "nothing of this chat is used to train" in dialog.inner_text()
        assert "Administrators still read an answer that somebody reports" in dialog.inner_text()
        assert not dialog.get_by_role("switch").is_checked()
        dialog.get_by_role("switch").check()
        assert "may be used to train the next release" in dialog.inner_text()
        page.keyboard.press("Escape")
        ask(page, "use this")
        settled(page)
        assert next(iter(house.chats.values()))["data_use"] is True
        page.get_by_role("button", name="New chat").first.click()
        assert page.get_by_role("button", name="Not for training").is_visible()


def test_a_persona_is_made_and_used(visit: Visit, house: House) -> None:
    with visit(house) as page:
        page.get_by_role("button", name="This machine").click()
        page.get_by_role("menuitem", name="Personas").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="New persona").click()
        dialog.get_by_label("Name").fill("Teacher")
        dialog.get_by_label("Instructions for the model").fill("Be patient.")
        dialog.get_by_role("button", name="Save").click()
        dialog.get_by_text("version 1").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Chat settings").click()
        page.get_by_label("Persona").select_option("Teacher")
        page.get_by_role("slider", name="Temperature").fill("0")
        page.keyboard.press("Escape")
        ask(page, "teach me")
        settled(page)
        chat = next(iter(house.chats.values()))
        assert chat["persona_id"] == next(iter(house.personas))
        assert chat["system_prompt"] == "Be patient."
        assert chat["settings"]["temperature"] == 0


def test_the_model_picker_says_what_each_is(visit: Visit, house: House) -> None:
    with visit(house) as page:
        page.locator("#model-button").click()
        menu = page.get_by_role("menu", name="Model")
        shown = menu.inner_text()
        for part in (
            "135M parameters",
            "2,048 tokens of context",
            "imitates answers people wrote",
            "Apache-2.0",
        ):
            assert part in shown
        page.keyboard.press("End")
        page.keyboard.press("Enter")
        assert "Town · Base" in page.locator("#model-button").inner_text()
        assert page.locator("#question").get_attribute("placeholder") == "Begin a text, and it goes on"
        page.reload()
        page.locator("#question").wait_for()
        assert "Town · Base" in page.locator("#model-button").inner_text()  # the default of this person
        ask(page, "The lamp")
        assert "Base" in settled(page).locator(".who").inner_text()
        assert text_of(page.locator("[data-role=assistant]"))
