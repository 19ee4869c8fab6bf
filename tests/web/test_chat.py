"""A conversation on the page: streamed, stopped, branched, found again, and nothing lost on the way (gate G2)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.web.conftest import Visit, ask, choose, settled, text_of
from tests.web.fake.house import House

pytestmark = [pytest.mark.browser, pytest.mark.slow]
DEVICES = pytest.mark.parametrize("device", ["desktop", "phone"])


def send(page: Any, text: str) -> None:
    """By the button: on a touch keyboard Enter begins a line."""
    page.locator("#question").fill(text)
    page.locator("button.send").click()


@DEVICES
def test_a_question_is_answered_streamed_and_counted(visit: Visit, house: House, device: str) -> None:
    with visit(house, device=device) as page:
        assert "You are talking to an AI" in page.locator("main").inner_text()
        send(page, "Hello there")
        answer = settled(page)
        assert text_of(answer) == "You said “Hello there”. This is an answer."
        assert answer.get_by_text("AI-generated").is_visible()
        assert "tokens" in answer.locator("[data-tokens]").inner_text()
        assert re.fullmatch(r".*/c/chat_\w+", page.url)
        assert page.title() == "Hello there · Ziggurat"
        if device == "desktop":
            assert page.get_by_role("link", name="Hello there").is_visible()


def test_an_example_question_begins_a_chat(visit: Visit, house: House) -> None:
    with visit(house) as page:
        page.get_by_role("button", name="Hello! Who are you?").click()
        assert "Hello! Who are you?" in text_of(settled(page))


def test_stop_keeps_exactly_what_was_seen(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "slow long answer")
        page.wait_for_function("() => document.querySelector('[data-answer]')?.innerText.length > 60")
        page.keyboard.press("Escape")
        seen = text_of(page.locator("[data-role=assistant]"))
        answer = settled(page)
        assert text_of(answer) == seen
        assert answer.get_by_text("stopped").is_visible()
        stored = next(m for m in house.messages.values() if m["role"] == "assistant")
        assert stored["content"].rstrip() == seen.rstrip()
        page.wait_for_timeout(400)  # what the server had under way does not grow back
        assert text_of(answer) == seen
        page.reload()
        assert text_of(settled(page)).rstrip() == seen.rstrip()


@DEVICES
def test_an_answer_goes_on_after_a_reload(visit: Visit, house: House, device: str) -> None:
    with visit(house, device=device) as page:
        send(page, "long: a slow tale")
        page.wait_for_function("() => document.querySelector('[data-answer]')?.innerText.length > 40")
        page.reload()
        page.locator("[data-state=running]").wait_for()
        page.wait_for_function("() => document.querySelector('[data-answer]')?.innerText.length > 120")
        begun = text_of(page.locator("[data-role=assistant]"))
        assert begun.startswith("Sentence 1 of a long answer. Sentence 2 of a long answer.")
        page.locator("button.send").click()
        settled(page)


def test_a_broken_connection_is_taken_up_again_without_a_gap(visit: Visit, house: House) -> None:
    with visit(house, strict=False) as page:
        house.delay_s = 0.003
        ask(page, "a long one")
        page.wait_for_function("() => document.querySelector('[data-answer]')?.innerText.length > 60")
        house.cut_streams()
        answer = settled(page)
        assert text_of(answer) == " ".join(f"Sentence {i} of a long answer." for i in range(1, 101))
        streams = [one for one in house.requests if one.endswith("/events") and "generations" in one]
        assert len(streams) >= 2


def test_a_stream_without_its_end_loses_nothing(visit: Visit, house: House) -> None:
    house.silent = True
    with visit(house) as page:
        ask(page, "one")
        assert text_of(settled(page)) == "You said “one”. This is an answer."
        page.locator("[data-role=assistant][data-state=complete]").wait_for()


def test_what_was_stored_is_shown_if_the_events_are_gone(visit: Visit, house: House) -> None:
    with visit(house, strict=False) as page:
        ask(page, "a slow long one")
        page.wait_for_function("() => document.querySelector('[data-answer]')?.innerText.length > 60")
        house.generations.clear()  # as a restarted server has lost them
        house.cut_streams()
        page.get_by_text("The connection is gone.").wait_for()
        stored = next(m for m in house.messages.values() if m["role"] == "assistant")
        stored["state"] = "interrupted"
        page.get_by_text("The answer was interrupted.").wait_for()
        shown = text_of(page.locator("[data-role=assistant]"))
        assert len(shown) > 60
        assert stored["content"].startswith(shown)


def test_answering_again_makes_a_sibling_and_the_pager_moves(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "one")
        settled(page)
        page.get_by_role("button", name="Answer again", exact=True).click()
        answer = settled(page)
        pager = answer.get_by_role("group", name="Versions")
        assert pager.inner_text().split() == ["2/2"]
        page.get_by_role("button", name="Previous version").click()
        page.get_by_text("1/2").wait_for()
        assert len([m for m in house.messages.values() if m["role"] == "assistant"]) == 2


def test_answering_again_with_another_model(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "one")
        settled(page)
        choose(page, "Answer again in another way", "With Town · SFT")
        page.get_by_text("2/2").wait_for()
        assert "Town · SFT" in settled(page).locator(".who").inner_text()


def test_an_edited_question_is_a_branch_and_the_old_one_stays(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "first")
        settled(page)
        ask(page, "second")
        settled(page, 2)
        page.locator("[data-role=user]").first.hover()
        page.get_by_role("button", name="Edit the question").first.click()
        page.get_by_role("textbox", name="Edit the question").fill("changed")
        page.keyboard.press("Enter")
        page.locator("[data-answer]", has_text="You said “changed”").wait_for()
        assert page.locator("[data-role=user]").count() == 1
        settled(page)
        page.get_by_role("button", name="Previous version").first.click()
        page.get_by_text("You said “second”").wait_for()
        assert page.locator("[data-role=user]").count() == 2
        choose(page, "Options for this chat", "Branches")
        dialog = page.get_by_role("dialog")
        dialog.locator("li").nth(5).wait_for()
        dialog.get_by_role("button", name="You changed").click()
        page.locator("[data-answer]", has_text="You said “changed”").wait_for()


def test_arrow_up_in_an_empty_field_edits_the_last_question(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "first")
        settled(page)
        page.locator("#question").press("ArrowUp")
        assert page.get_by_role("textbox", name="Edit the question").input_value() == "first"
        page.keyboard.press("Escape")
        assert page.locator("[data-role=user] .bubble").inner_text() == "first"


def test_a_cut_answer_can_go_on(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "cut it")
        settled(page)
        page.get_by_role("button", name="Go on").click()
        page.locator("[data-answer]", has_text="And this is continued.").wait_for()
        assert text_of(settled(page)).startswith("You said “cut it”. This is an answer. And this is")
        assert page.locator("[data-role=assistant]").count() == 1


def test_a_chat_goes_on_from_any_message(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "one")
        settled(page)
        before = page.url
        choose(page, "More", "New chat from here")
        page.wait_for_url(lambda url: url != before)
        settled(page)
        assert len(house.chats) == 2


def test_an_answer_can_be_corrected(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "one")
        settled(page)
        choose(page, "More", "Edit the answer")
        page.get_by_role("dialog").get_by_role("textbox").fill("My own words.")
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        page.get_by_text("My own words.").wait_for()
        assert page.get_by_text("edited by you").is_visible()
        assert page.get_by_text("2/2").is_visible()


def test_the_view_stays_where_one_reads(visit: Visit, house: House) -> None:
    with visit(house) as page:
        house.delay_s = 0.001
        ask(page, "long")
        settled(page)
        ask(page, "long again, slow")
        page.locator("[data-state=running]").wait_for()
        page.wait_for_timeout(300)
        assert (
            page.evaluate(
                "(s => s.scrollHeight - s.scrollTop - s.clientHeight)(document.querySelector('.scroll'))"
            )
            < 60
        )
        page.evaluate("document.querySelector('.scroll').scrollTop = 0")
        page.get_by_role("button", name="Latest").wait_for()
        page.wait_for_timeout(300)
        assert page.evaluate("document.querySelector('.scroll').scrollTop") == 0
        page.get_by_role("button", name="Latest").click()
        page.get_by_role("button", name="Latest").wait_for(state="detached")
        page.keyboard.press("Escape")
        settled(page, 2)


def test_enter_sends_shift_enter_does_not_and_composing_never_does(visit: Visit, house: House) -> None:
    with visit(house) as page:
        field = page.locator("#question")
        field.fill("one")
        field.press("Shift+Enter")
        field.press_sequentially("two")
        assert field.input_value() == "one\ntwo"
        for how in ({"isComposing": True}, {"keyCode": 229}):
            field.evaluate(
                "(e, how) => e.dispatchEvent(new KeyboardEvent('keydown',"
                " {key: 'Enter', bubbles: true, cancelable: true, ...how}))",
                how,
            )
        assert field.input_value() == "one\ntwo"
        assert house.messages == {}
        field.press("Enter")
        settled(page)
        assert field.input_value() == ""
        assert page.evaluate("document.activeElement.id") == "question"


def test_on_a_touch_keyboard_enter_is_a_line(visit: Visit, house: House) -> None:
    with visit(house, device="phone") as page:
        page.locator("#question").fill("one")
        page.locator("#question").press("Enter")
        assert page.locator("#question").input_value() == "one\n"
        assert house.messages == {}


def test_a_draft_survives_a_reload_and_stays_with_its_chat(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "first chat")
        settled(page)
        page.locator("#question").fill("half a thought")
        page.get_by_role("button", name="New chat").first.click()
        assert page.locator("#question").input_value() == ""
        page.get_by_role("link", name="first chat").click()
        page.reload()
        settled(page)
        assert page.locator("#question").input_value() == "half a thought"


def test_a_dead_server_loses_nothing(visit: Visit, house: House) -> None:
    with visit(house, strict=False) as page:
        ask(page, "first")
        settled(page)
        page.context.set_offline(True)
        ask(page, "are you there")
        page.get_by_text("The server cannot be reached.").wait_for()
        assert page.locator("#question").input_value() == "are you there"
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
        assert "are you there" in text_of(settled(page, 2))
        assert page.locator("[data-role=user]").count() == 2


def test_a_refused_turn_says_why_and_keeps_the_text(visit: Visit, house: House) -> None:
    house.refuse_turns = 1
    with visit(house, language="zh") as page:
        ask(page, "你好")
        page.get_by_text("现在正在写的回答太多").wait_for()
        assert page.locator("#question").input_value() == "你好"
        page.get_by_role("button", name="重试").click()
        assert "你好" in text_of(settled(page))


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("zh", "内容太大，无法一次发送。服务器的原话：The body has 9 bytes too many."),
        ("en", "The body has 9 bytes too many."),
    ],
)
def test_a_refusal_without_a_code_is_told_in_the_language_of_the_page(
    visit: Visit, house: House, language: str, said: str
) -> None:
    error = {
        "message": "The body has 9 bytes too many.",
        "type": "request_too_large",
        "param": None,
        "code": None,
    }
    with visit(house, language=language) as page:
        page.route("**/api/chats", lambda route: route.fulfill(status=413, json={"error": error}))
        ask(page, "one")
        alert = page.get_by_role("alert")
        alert.wait_for()
        assert alert.locator("p").inner_text() == said
        assert page.locator("#question").input_value() == "one"


@pytest.mark.parametrize(
    ("status", "language", "said"),
    [
        (409, "en", "This cannot be done right now."),
        (409, "zh", "现在无法这样做。"),
        (429, "en", "You have sent too many requests in a short time. Wait a moment."),
        (429, "zh", "短时间内请求太多，请稍等片刻。"),
    ],
)
def test_a_refusal_without_a_sentence_is_told_by_its_status(
    visit: Visit, house: House, status: int, language: str, said: str
) -> None:
    with visit(house, language=language) as page:
        page.route("**/api/chats", lambda route: route.fulfill(status=status, body="not JSON"))
        ask(page, "one")
        alert = page.get_by_role("alert")
        alert.wait_for()
        assert alert.locator("p").inner_text() == said


def test_a_failed_answer_offers_another_try(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "please fail")
        page.get_by_text("The answer failed.").wait_for()
        assert "You said" in text_of(page.locator("[data-role=assistant]"))


def test_a_chat_whose_model_is_gone_is_answered_by_the_one_that_is_shown(visit: Visit, house: House) -> None:
    chat = house.new_chat(title="Old", model="town/gone-1")
    with visit(house, f"/c/{chat['id']}") as page:
        assert "smollm2" in page.locator("#model-button").inner_text()
        ask(page, "one")
        assert "smollm2" in settled(page).locator(".who").inner_text()
        page.get_by_role("button", name="Answer again", exact=True).click()
        page.get_by_text("2/2").wait_for()
        settled(page)
        assert [body["model"] for body in house.asked] == ["smollm2", "smollm2"]
        page.get_by_role("button", name="Two answers").click()
        ask(page, "which one")
        settled(page, 3)
        assert house.chats[chat["id"]]["model"] == "smollm2"


@pytest.mark.parametrize(("kept", "sent"), [("zh", "zh-CN"), ("en", "en")])
def test_every_request_carries_the_language_of_the_page(
    visit: Visit, house: House, kept: str, sent: str
) -> None:
    with visit(house, language="en" if kept == "zh" else "zh") as page:
        page.evaluate("language => localStorage.setItem('ziggurat.language', language)", kept)
        page.goto("about:blank")
        house.languages.clear()
        page.goto(page.address)
        ask(page, "one")
        settled(page)
        assert len(house.languages) >= 5
        assert set(house.languages) == {sent}


@pytest.mark.parametrize(
    ("decision", "said"), [("release", "released it"), ("refuse", "decided not to show it")]
)
def test_a_held_answer_says_so_until_a_person_has_decided(
    visit: Visit, house: House, decision: str, said: str
) -> None:
    with visit(house) as page:
        ask(page, "held please")
        page.get_by_text("Somebody here reads this answer first.").wait_for()
        page.locator("[data-role=assistant][data-state=held]").wait_for()
        page.get_by_text("Somebody here reads this answer first.").wait_for()  # also when the stream is over
        page.reload()
        page.get_by_text("A person looks at this answer").wait_for()
        house.decide(next(iter(house.admin.held)), decision)
        page.reload()
        page.get_by_text(said).wait_for()
        shown = text_of(page.locator("[data-role=assistant]"))
        assert shown.strip() == (
            "You said “held please”. This is an answer." if decision == "release" else ""
        )


def test_thinking_is_shown_folded(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "think first")
        settled(page)
        fold = page.locator("[data-role=assistant] details")
        assert fold.locator("summary").inner_text() == "How it thought"
        fold.locator("summary").click()
        assert "The person greets me" in fold.inner_text()


def test_a_chat_of_somebody_else_is_not_here(visit: Visit, house: House) -> None:
    with visit(house, "/c/chat_of_another") as page:
        page.get_by_text("It is not here: deleted, or someone else's.").wait_for()


def test_code_has_its_language_and_is_copied(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "code please")
        answer = settled(page)
        assert answer.locator(".code-bar span").inner_text() == "python"
        answer.locator(".hljs-keyword").first.wait_for()
        answer.get_by_role("button", name="Copy", exact=True).click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.startswith("def hello(name: str) -> str:\n    ")
        answer.get_by_role("button", name="Wrap").click()
        assert answer.get_by_role("button", name="Wrap").get_attribute("aria-pressed") == "true"
        page.keyboard.press("Control+Shift+c")
        assert page.evaluate("navigator.clipboard.readText()").startswith("Here it is:")


def test_formulas_are_set_and_prices_are_not(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "math please")
        answer = settled(page)
        answer.locator(".katex").nth(1).wait_for()
        assert answer.locator(".katex-display").count() == 1
        assert "It costs $5 and $6." in text_of(answer)


def test_tables_tasks_and_footnotes(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "table please")
        answer = settled(page)
        assert answer.locator("td").all_inner_texts() == ["apple", "1.20", "pear", "1.50"]
        assert answer.locator("li.task").all_inner_texts() == ["☑ done", "☐ to do"]
        assert "Of the market." in answer.locator(".footnotes").inner_text()


def test_a_long_chat_is_loaded_in_pages(visit: Visit, house: House) -> None:
    chat, parent = house.new_chat(title="long"), None
    for i in range(120):
        role = "user" if i % 2 == 0 else "assistant"
        parent = house.new_message(chat["id"], role, f"message {i}", parent, model="smollm2")["id"]
    with visit(house, f"/c/{chat['id']}") as page:
        page.get_by_text("message 119", exact=True).wait_for()
        page.wait_for_function("() => document.querySelectorAll('[data-message]').length === 50")
        page.evaluate("document.querySelector('.scroll').scrollTop = 0")
        page.get_by_text("message 50", exact=True).wait_for(state="attached")
        assert (
            0 < page.get_by_text("message 70", exact=True).bounding_box()["y"] < 400
        )  # the view did not jump


def test_an_address_with_a_malformed_sign_is_an_unknown_chat(visit: Visit, house: House) -> None:
    with visit(house, "/c/100%") as page:
        page.get_by_role("alert").wait_for()
        assert page.locator("#question").is_visible()
